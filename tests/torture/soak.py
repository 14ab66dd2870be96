"""Soak: a bus over a journal at half of its maximum, for as long as you like, with a fault a minute. `make soak` runs it.

Every five seconds a line of CSV says what the process holds. In the end nothing may be missing: per subscription the accepted
deliveries are the sum of the outcomes, and threads, tasks and descriptors are as many as after the warm-up. Slopes are those of
the second half: each kind of fault has been shown by then, and history and histograms are as full as they get.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import gc
import math
import os
import platform
import random
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from eventbus import BusStopped, Event, EventBus, EventBusError, Kind, Retry, create_event_bus

_MEASURE_S = 5.0
_LOOK_S = 5.0
_BATCH = 50  # events published between two looks at the clock


class Soaked(Event, type="soak.told", key="desk"):
    """An ordinary fact, of one of seven desks."""

    desk: int
    n: int


class Priced(Event, type="soak.priced", kind=Kind.QUOTE, key="desk"):
    """A value that the next one replaces."""

    desk: int
    n: int


class Soak:
    """One bus, its subscriptions, and what is done to them."""

    def __init__(self, bus: EventBus, chance: random.Random) -> None:
        self.bus = bus
        self.chance = chance
        self.published = 0
        self.refused = 0
        self.fault = ""  # that handlers show now
        self.hung = threading.Event()
        bus.subscribe(Soaked, self.stepped, name="stepped")
        bus.subscribe(Soaked, self.waits, name="waits", concurrency=8, timeout=1.0)
        bus.subscribe(Soaked, self.retried, name="retried", retry=Retry(attempts=3, delay=0.02), where=_of_desk_0)
        bus.subscribe(Soaked, self.alone, name="task", isolation="task", where=_of_desk_0)
        bus.subscribe(Soaked, self.in_thread, name="thread", timeout=2.0, where=_of_desk_0)
        bus.subscribe(Soaked, self.stepped, name="ledger", group="ledger", where=_of_desk_0)
        bus.subscribe(Priced, self.slow, name="quotes")

    async def stepped(self, _event: Event) -> None:
        if self.fault == "raises":
            raise ValueError("a second of bad luck")

    async def waits(self, event: Soaked) -> None:
        await asyncio.sleep(0)
        if event.n % 500 == 0:
            if self.fault == "hangs":
                await asyncio.sleep(60)
            if self.fault == "ignores":
                try:
                    await asyncio.sleep(3)
                except asyncio.CancelledError:
                    await asyncio.sleep(3)

    async def retried(self, event: Soaked) -> None:
        if event.n % 100 == 0 and self.chance.random() < 0.5:
            raise OSError("again, please")

    async def alone(self, _event: Event) -> None:
        await asyncio.sleep(0)

    def in_thread(self, event: Soaked) -> None:
        if self.fault == "thread" and event.n % 500 == 0:
            self.hung.wait(5)

    async def slow(self, _event: Event) -> None:
        await asyncio.sleep(0.001)

    # --- load --------------------------------------------------------------------------------------------------------

    async def publish(self, events: int) -> None:
        """So many facts, a quote with every tenth."""
        first = self.published
        facts: list[Event] = [Soaked(desk=n % 7, n=n) for n in range(first, first + events)]
        facts += [Priced(desk=n % 7, n=n) for n in range(first, first + events, 10)]
        try:
            await self.bus.publish_many(facts)
        except BusStopped:
            raise
        except EventBusError:
            self.refused += events
        else:
            self.published += events

    async def maximum(self) -> float:
        """Facts a second that it takes when nothing else is asked of it."""
        began, before = time.monotonic(), self.published
        while time.monotonic() - began < _MEASURE_S:
            await self.publish(_BATCH * 4)
        await self.bus.drain()
        return (self.published - before) / (time.monotonic() - began)

    async def load(self, rate: float, until: float) -> None:
        """So many facts a second until then; subscriptions come and go, events are expected, outcomes awaited."""
        due = time.monotonic()
        while time.monotonic() < until:
            await self.publish(_BATCH)
            due = max(due + _BATCH / rate, time.monotonic() - 1)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if self.chance.random() < 0.1:
                await self.bus.subscribe("soak.*", self.stepped, name="guest").cancel()
                expected = self.bus.expect(Soaked, timeout=5)
                await self.bus.publish(Soaked(desk=0, n=self.published))
                self.published += 1
                await expected

    # --- faults ------------------------------------------------------------------------------------------------------

    async def faults(self, every: float, until: float) -> None:
        """One after the other, each for a second or so."""
        turns: tuple[Callable[[], Awaitable[None]], ...] = (
            lambda: self._show("raises", 1.0),
            lambda: self._show("hangs", 1.0),
            lambda: self._show("ignores", 1.0),
            lambda: self._show("thread", 1.0),
            self._cancel_publishers,
            self._halt_and_rearm,
        )
        number = 0
        while time.monotonic() + every < until:
            await asyncio.sleep(every)
            await turns[number % len(turns)]()
            await self.bus.dead_letters.purge()  # 10,000 are kept, which would look like a leak until they are there
            number += 1

    async def _show(self, fault: str, seconds: float) -> None:
        self.fault = fault
        await asyncio.sleep(seconds)
        self.fault = ""
        self.hung.set()
        self.hung = threading.Event()

    async def _cancel_publishers(self) -> None:
        publishers = [asyncio.create_task(self.bus.publish(Priced(desk=n % 7, n=n))) for n in range(200)]
        await asyncio.sleep(0)
        for publisher in publishers:
            publisher.cancel()
        await asyncio.gather(*publishers, return_exceptions=True)

    async def _halt_and_rearm(self) -> None:
        token = self.bus.halt("soaked")
        await asyncio.sleep(0.5)
        await self.bus.rearm(token)


def _of_desk_0(event: Soaked) -> bool:
    return event.desk == 0


def _rss_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _holds() -> tuple[int, int, int]:
    """Tasks, threads, descriptors."""
    return len(asyncio.all_tasks()), threading.active_count(), len(os.listdir("/proc/self/fd"))


def slope(points: list[tuple[float, float]]) -> tuple[float, float]:
    """How much more an hour by least squares, and half the width of its 95 % interval (normal errors)."""
    n, mean_t = len(points), sum(t for t, _ in points) / len(points)
    mean_m = sum(m for _, m in points) / n
    spread = sum((t - mean_t) ** 2 for t, _ in points)
    rise = sum((t - mean_t) * (m - mean_m) for t, m in points) / spread
    rest = sum((m - mean_m - rise * (t - mean_t)) ** 2 for t, m in points) / max(1, n - 2)
    return rise * 3600, 1.96 * math.sqrt(rest / spread) * 3600


async def soak(seconds: float, seed: int, out: Path, fault_every: float) -> int:
    """Soak for so long; gives the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        bus = create_event_bus(f"sqlite:///{folder}/soak.db", retention_bytes=64 * 2**20, seed=seed)
        run = Soak(bus, random.Random(seed))
        async with bus:
            rate = await run.maximum() / 2
            gc.collect()
            before, began = _holds(), time.monotonic()
            until, points, blocks = began + seconds, list[tuple[float, float]](), list[tuple[float, float]]()
            working = [asyncio.create_task(run.load(rate, until)), asyncio.create_task(run.faults(fault_every, until))]
            with out.open("w", newline="", encoding="ascii") as file:
                table = csv.writer(file)
                table.writerow(
                    [
                        "seconds",
                        "rss_mib",
                        "tasks",
                        "threads",
                        "descriptors",
                        "pending",
                        "published",
                        "dead_letters",
                        "p99_ms",
                        "blocks",
                    ]
                )
                while time.monotonic() < until:
                    await asyncio.sleep(min(_LOOK_S, seconds / 20))
                    stats, at = bus.get_stats(), time.monotonic() - began
                    points.append((at, _rss_mib()))
                    blocks.append((at, float(sys.getallocatedblocks())))
                    row = [f"{at:.1f}", f"{points[-1][1]:.1f}", *_holds(), stats["pending"], run.published]
                    row += [stats["dead_lettered"], f"{stats['dispatch_p99_ms']:.2f}", f"{blocks[-1][1]:.0f}"]
                    table.writerow(row)
                    file.flush()
            await asyncio.gather(*working)
            drained = await bus.drain(timeout=60)
            await asyncio.sleep(seconds / 100)
            gc.collect()
            rows, after = bus.stats().subscriptions, _holds()
        lost = [
            row.name
            for row in rows
            if row.accepted != row.succeeded + row.dead_lettered + row.dropped + row.expired + row.cancelled
        ]
        (rise, error), (more, unsure) = (slope(taken[len(taken) // 2 :]) for taken in (points, blocks))
    print(
        f"soak: {seconds / 60:.1f} min at {rate:,.0f} facts/s, seed {seed}, {run.published:,} published, {run.refused} refused, "
        f"RSS {points[0][1]:.0f} -> {points[-1][1]:.0f} MiB, slope {rise:+.1f} +- {error:.1f} MiB/h in the second half, "
        f"live blocks {blocks[0][1]:,.0f} -> {blocks[-1][1]:,.0f}, slope {more:+,.0f} +- {unsure:,.0f} an hour, "
        f"tasks/threads/descriptors {before} -> {after}, drained {drained}, not conserved: {lost or 'none'}; "
        f"CPython {platform.python_version()}, {os.cpu_count()} cores"
    )
    return int(bool(lost) or not drained)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--fault-every", type=float, default=60.0, help="seconds")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("soak.csv"))
    chosen = parser.parse_args()
    return asyncio.run(soak(chosen.minutes * 60, chosen.seed, chosen.out, chosen.fault_every))


if __name__ == "__main__":
    sys.exit(main())
