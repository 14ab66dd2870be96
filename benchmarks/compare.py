"""Compare: sides of a workload measured in turns, so that a disturbance does not hit one side alone."""

from __future__ import annotations

import asyncio
import gc
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

try:
    import uvloop
except ImportError:  # no wheel for this platform
    LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
else:
    LOOPS = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}

# Wall time is what users wait for; processor time is what a machine that others use too can tell of it.
CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}

BASELINE, SUBJECT = "queue", "eventbus"


@dataclass(frozen=True, slots=True)
class Settings:
    """How much is measured: `scale` multiplies the number of events, `rounds` is how often each side has its turn."""

    loop: str = next(iter(LOOPS))
    rounds: int = 15
    scale: float = 1.0
    with_peers: bool = True
    clock: str = "wall"

    def events(self, usual: int) -> int:
        return max(10, int(usual * self.scale))


Now = Callable[[], float]
Run = Callable[[int, Now], Awaitable[float]]


class Side(NamedTuple):
    """One way to do the work: handles so many events and returns the seconds that took, by the clock it is given."""

    run: Run
    events: int


def in_turns(settings: Settings, sides: Mapping[str, Side]) -> dict[str, list[float]]:
    """Nanoseconds per event, by side and round. A first round warms up and does not count; who begins changes every round."""
    taken: dict[str, list[float]] = {name: [] for name in sides}
    names = list(sides)
    for turn in range(settings.rounds + 1):
        for name in names:
            gc.collect()
            count = settings.events(sides[name].events)
            with asyncio.Runner(loop_factory=LOOPS[settings.loop]) as runner:
                seconds = runner.run(_coroutine(sides[name].run, count, CLOCKS[settings.clock]))
            if turn:
                taken[name].append(seconds / count * 1e9)
        names.append(names.pop(0))
    return taken


async def _coroutine(run: Run, count: int, now: Now) -> float:
    return await run(count, now)


def ratios(over: list[float], under: list[float]) -> list[float]:
    """One ratio per round: both sides had the same weather then."""
    return [one / other for one, other in zip(over, under, strict=True)]


def versus(settings: Settings, baseline: Side, subject: Side, *, reach: float) -> dict[str, Any]:
    """How many times the speed of the baseline the bus reaches: medians, and the middle half of the ratios."""
    taken = in_turns(settings, {BASELINE: baseline, SUBJECT: subject})
    return summary(taken, reach=reach)


def summary(taken: Mapping[str, list[float]], baseline: str = BASELINE, *, reach: float) -> dict[str, Any]:
    """The figures of a baseline and the bus."""
    each = ratios(taken[baseline], taken[SUBJECT])
    low, middle, high = statistics.quantiles(each, n=4, method="inclusive") if len(each) > 1 else [*each] * 3
    return {
        f"{baseline}_ns": statistics.median(taken[baseline]),
        f"{SUBJECT}_ns": statistics.median(taken[SUBJECT]),
        "ratio": middle,
        "ratio_from": low,
        "ratio_to": high,
        "reach": reach,
    }


def rss_bytes() -> int:
    """Resident memory of this process; its peak where the system does not tell the present."""
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:
            pages = int(statm.read().split()[1])
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    import os

    return pages * os.sysconf("SC_PAGE_SIZE")
