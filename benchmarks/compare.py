"""Compare: the sides of a row measured in turns, so that a disturbance does not hit one side alone."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from benchmarks.rows import Now, Place, Row, Run

try:
    import uvloop
except ImportError:  # no wheel for this platform
    LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
else:
    LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}

# Wall time is what users wait for; processor time is what a machine that others use too can tell of it.
CLOCKS: dict[str, Now] = {"cpu": time.process_time, "wall": time.perf_counter}

_BUS, _BASELINE = "eventbus", "baseline"


@dataclass(frozen=True, slots=True)
class Settings:
    """How much is measured: `rounds` is how often each side has its turn, `scale` multiplies the number of events."""

    loop: str = "asyncio"
    rounds: int = 9
    scale: float = 1.0
    with_peers: bool = True

    @property
    def place(self) -> Place:
        return Place(sys.version_info[:2], self.loop)

    def events(self, row: Row) -> int:
        return max(20, int(row.count * self.scale))


@dataclass(frozen=True, slots=True)
class Figure:
    """What a row came to: the median over the rounds, and the middle half of them."""

    number: float
    low: float
    high: float
    bus: float  # seconds an event, or the figure itself where nothing is compared
    baseline: float | None = None
    peers: Mapping[str, float] = field(default_factory=dict)


def measure(row: Row, settings: Settings) -> Figure:
    """A first round warms up and does not count, unless one is all there is; who begins changes every round."""
    if row.is_alone:
        return _figure(row, {_BUS: [_in_own_process(row, settings)]})
    sides = {_BUS: row.bus}
    if row.baseline is not None:
        sides[_BASELINE] = row.baseline
    if settings.with_peers:
        sides |= row.peers
    taken: dict[str, list[float]] = {name: [] for name in sides}
    names, rounds = list(sides), min(settings.rounds, row.rounds or settings.rounds)
    with nothing_old_collected():
        for turn in range(rounds + 1 if rounds > 1 else 1):
            for name in names:
                cost = once(sides[name], settings.events(row), settings.loop, row.clock)
                if turn or rounds == 1:
                    taken[name].append(cost)
            names.append(names.pop(0))
    return _figure(row, taken)


def once(run: Run, count: int, loop: str, clock: str = "cpu") -> float:
    """One turn of one side, on a loop of its own and without the garbage of the one before."""
    gc.collect()
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        return runner.run(_coroutine(run, count, CLOCKS[clock]))


@contextmanager
def nothing_old_collected() -> Iterator[None]:
    """What is there already is not looked at by the collector meanwhile: sides pay for what they make."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


async def _coroutine(run: Run, count: int, now: Now) -> float:
    return await run(count, now)


def _in_own_process(row: Row, settings: Settings) -> float:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_alone, row.name, settings.events(row), settings.loop).result()


def _alone(name: str, count: int, loop: str) -> float:
    from benchmarks.table import row_named  # it knows the rows, which are made of what is in here

    with nothing_old_collected():
        return once(row_named(name).bus, count, loop)


def _figure(row: Row, taken: Mapping[str, list[float]]) -> Figure:
    """A ratio is taken in each round: both sides had the same weather then."""
    bus, baseline = taken[_BUS], taken.get(_BASELINE)
    if baseline is None:
        each = bus
    elif row.aim.is_floor:
        each = [theirs / ours for theirs, ours in zip(baseline, bus, strict=True)]
    else:
        each = [ours / theirs for theirs, ours in zip(baseline, bus, strict=True)]
    low, middle, high = statistics.quantiles(each, n=4, method="inclusive") if len(each) > 1 else each * 3
    others: dict[str, Any] = {
        name: statistics.median(costs) for name, costs in taken.items() if name not in (_BUS, _BASELINE)
    }
    return Figure(
        middle, low, high, statistics.median(bus), None if baseline is None else statistics.median(baseline), others
    )
