"""One strategy from BACKTEST to RETIRED and back to BACKTEST, with every evaluation that moved it or left it in place.

The whole system trades it while it is LIVE, and what the account did for it is what its live reviews judge.
The bars are made: a market with swings that a trend follower lives on, then one without any. The rules are the product's;
nobody tells the generator when the weather changes.
"""

from __future__ import annotations

import asyncio
import math
from datetime import UTC, datetime, timedelta

import numpy as np

from eventbus import InMemoryEventBus
from quantum_trader.app import QUEUE_SIZE, build
from quantum_trader.config import Config, SeedConfig, StrategiesConfig
from quantum_trader.events import EvaluationCompletedEvent, EvaluationRequestedEvent, StrategyPromotedEvent
from quantum_trader.learning.lifecycle import LEGAL
from quantum_trader.learning.registry_reads import STRATEGY
from quantum_trader.market.calendar import SessionBars
from quantum_trader.market.dataset import SHIPPED, Dataset
from quantum_trader.model import Bar

ONE = SeedConfig(family="trend", params=(5, 20))
STRATEGY_ID = "trend-5-20"
SWINGING, SESSIONS = 1_000, 1_800  # sessions of good weather, and in all
PERIOD = 40  # sessions of a swing
SYMBOLS = ("A", "B", "C", "D", "E")
START = datetime(2015, 1, 1, tzinfo=UTC)


def weather() -> Dataset:
    """Five symbols that swing, each in its own phase, and later only jitter around where they are."""
    random = np.random.Generator(np.random.Philox(key=8))
    noise = random.standard_normal((SESSIONS, len(SYMBOLS), 2))
    level = [math.log(100.0)] * len(SYMBOLS)
    groups = []
    for session in range(SESSIONS):
        ts = START + timedelta(days=session)
        bars = []
        for at, symbol in enumerate(SYMBOLS):
            phase = 2 * math.pi * (session / PERIOD + at / len(SYMBOLS))
            # Good weather: swings with a small drift. Bad: every move is taken back the next day but one.
            drift = 0.0005 + 0.012 * math.sin(phase) if session < SWINGING else 0.012 * math.sin(10 * phase)
            opened = level[at] + 0.001 * float(noise[session, at, 0])
            level[at] += drift + 0.006 * float(noise[session, at, 1])
            low, high = sorted((opened, level[at]))
            prices = [round(math.exp(x), 6) for x in (opened, high + 0.002, low - 0.002, level[at])]
            bars.append(Bar(symbol, session, ts, prices[0], prices[1], prices[2], prices[3], volume=5_000_000))
        groups.append(SessionBars(session, ts, tuple(bars)))
    return Dataset("weather", SHIPPED, "", SYMBOLS, tuple(groups))


def about_it(event: EvaluationRequestedEvent | EvaluationCompletedEvent) -> bool:
    return event.subject_kind == "STRATEGY"


async def main() -> None:
    asked: dict[str, EvaluationRequestedEvent] = {}
    moves: list[StrategyPromotedEvent] = []
    answers: list[EvaluationCompletedEvent] = []

    async def on_asked(event: EvaluationRequestedEvent) -> None:
        asked[event.evaluation_id] = event

    async def on_answer(event: EvaluationCompletedEvent) -> None:
        answers.append(event)
        window = asked[event.evaluation_id]
        why = f": {', '.join(event.reasons)}" if event.reasons else ""
        where = f"{event.purpose} {window.first_session}..{window.last_session}"
        print(f"  session {event.session:4} {where:22} {event.verdict}{why}")

    async def on_move(event: StrategyPromotedEvent) -> None:
        moves.append(event)
        print(f"session {event.session:5} {event.from_stage} -> {event.to_stage}: {event.reason}")

    config = Config(strategies=StrategiesConfig(seeds=(ONE,), breed_most=0))
    async with InMemoryEventBus(max_queue_size=QUEUE_SIZE) as bus:
        system = build(bus, config, weather())
        bus.subscribe(EvaluationRequestedEvent, on_asked, where=about_it)
        bus.subscribe(EvaluationCompletedEvent, on_answer, where=about_it)
        bus.subscribe(StrategyPromotedEvent, on_move)
        await system.run()
        history = [stage for _, stage, _ in system.registry.stages(STRATEGY, STRATEGY_ID)]
        system.close()
        assert len(bus.dead_letters) == 0

    path = [event.to_stage.value for event in moves]
    print(f"{STRATEGY_ID}: {' -> '.join(history)}, {len(answers)} evaluations")
    assert path[:3] == ["SHADOW", "LIVE", "RETIRED"], path
    assert history == ["BACKTEST", *path], "the registry tells another story"
    assert all((event.from_stage, event.to_stage) in LEGAL for event in moves)
    assert all(event.evaluation_id in asked for event in moves[:3]), "a stage was changed without an evaluation"
    entered = moves[0].session
    shadow = asked[moves[1].evaluation_id or ""]
    assert shadow.first_session == entered + 1, "what chose the strategy was counted again"
    assert moves[1].session - entered >= config.strategies.gates.shadow_sessions
    assert moves[2].session > SWINGING, "it was retired in good weather"


if __name__ == "__main__":
    asyncio.run(main())
