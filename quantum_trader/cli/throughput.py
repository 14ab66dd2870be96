"""Throughput: the strategy-only graph, timed. Replayer, session clock and one SMA 20/50 strategy, nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

from eventbus import InMemoryEventBus, SystemClock
from quantum_trader.alpha.families import StrategySpec
from quantum_trader.alpha.roster import FixedRoster
from quantum_trader.alpha.runtime import StrategyRuntimeEngine
from quantum_trader.alpha.trials import Trials
from quantum_trader.app import QUEUE_SIZE
from quantum_trader.config import Costs, StrategiesConfig
from quantum_trader.events import RunStartedEvent, SignalsGeneratedEvent
from quantum_trader.market.calendar import Feed, SessionBars
from quantum_trader.market.replayer import MarketReplayer
from quantum_trader.market.synthetic import SyntheticFeed
from quantum_trader.session import SessionClock

SYMBOLS = ("AAA", "BBB", "CCC", "DDD", "EEE")


class _Held:
    """A feed whose bars are made before the clock starts: what is timed is the graph, as with the engines it is compared to."""

    def __init__(self, feed: Feed) -> None:
        self.symbols = feed.symbols
        self._sessions = tuple(feed)

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[SessionBars]:
        return iter(self._sessions)


@dataclass(frozen=True, slots=True)
class Throughput:
    """How many bars went through in how many seconds of wall time."""

    bars: int
    signals: int
    seconds: float
    loop: str

    @property
    def bars_per_second(self) -> float:
        return self.bars / self.seconds


async def strategy_only(bars: int, feed: Feed | None = None) -> Throughput:
    """Replay `feed`, or `bars` synthetic bars of five symbols, through the runtime."""
    source = _Held(feed or SyntheticFeed(SYMBOLS, bars // len(SYMBOLS), seed=1))
    bus = InMemoryEventBus(max_queue_size=QUEUE_SIZE)
    StrategyRuntimeEngine(
        bus, StrategiesConfig(), Trials(Costs(), StrategiesConfig(), cooldown=5), warrant=lambda _: True
    )
    FixedRoster(bus, [StrategySpec("trend", (20, 50))])
    signals = 0

    async def count(event: SignalsGeneratedEvent) -> None:
        nonlocal signals
        signals += len(event.items)

    bus.subscribe(SignalsGeneratedEvent, count, name="bench.signals")
    clock, session_clock = SystemClock(), SessionClock(bus, MarketReplayer(source))
    async with bus:
        await bus.publish(
            RunStartedEvent(run_id="bench", seed=1, config_sha256="", code_version="", universe=source.symbols)
        )
        await bus.drain()
        started = clock.monotonic_ns()
        await session_clock.run()
        seconds = (clock.monotonic_ns() - started) / 1e9
    return Throughput(session_clock.bars, signals, seconds, type(asyncio.get_running_loop()).__module__.split(".")[0])
