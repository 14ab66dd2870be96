"""What do the gates find where there is nothing to find? The whole system over shuffled demo days, one line per shuffle.

Whatever goes LIVE there was lucky. `make null` asks; the seeds are fixed, so the table is the same each time.
"""

from __future__ import annotations

import sys
from typing import Final

from quantum_trader.app import TradingSystem, load_feed, run_replay
from quantum_trader.config import Config, load_config
from quantum_trader.events import StrategyPromotedEvent
from quantum_trader.market.calendar import Feed
from quantum_trader.market.shuffle import shuffled
from quantum_trader.model import StrategyLifecycle
from quantum_trader.monitoring.report import make_report

SHUFFLES: Final = 20
HEAD: Final = f"{'bars':<12}{'candidates':>11}{'to SHADOW':>11}{'to LIVE':>9}{'equity':>14}{'Sharpe':>8}{'invested':>10}{'fills':>7}"


def line(name: str, config: Config, feed: Feed) -> int:
    """Run over `feed` and print what it came to; how many promotions to LIVE there were."""
    system, _ = run_replay(config, feed)
    report = make_report(system.record)
    live = promotions(system, StrategyLifecycle.LIVE)
    trials = 0 if system.generator is None else system.generator.trials
    print(
        f"{name:<12}{trials:>11}{promotions(system, StrategyLifecycle.SHADOW):>11}{live:>9}{report.equity:>14,.0f}"
        f"{report.annual_sharpe:>8.2f}{report.exposure:>10.1%}{report.fills:>7}",
        flush=True,
    )
    return live


def promotions(system: TradingSystem, stage: StrategyLifecycle) -> int:
    told = (event for event in system.record.promotions if isinstance(event, StrategyPromotedEvent))
    return sum(event.to_stage is stage for event in told)


def main() -> int:
    config = load_config(profile="demo", environ={})
    demo = load_feed(config)
    print(HEAD)
    line("real", config, demo)
    lucky = sum(line(f"shuffle {seed}", config, shuffled(demo, seed=seed)) for seed in range(SHUFFLES))
    print(f"{lucky / SHUFFLES:.2f} lucky promotions to LIVE a run")
    return 0 if lucky < SHUFFLES else 1


if __name__ == "__main__":
    sys.exit(main())
