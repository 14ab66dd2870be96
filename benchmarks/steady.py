"""A million events through one bus, in a process of its own: resident memory after the first tenth, and the most after that."""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
from typing import Any

from benchmarks.compare import LOOPS, Settings, rss_bytes
from benchmarks.sides import Counted
from eventbus import InMemoryEventBus

EVENTS = 1_000_000
MIB = 1024 * 1024


def run(settings: Settings) -> dict[str, Any]:
    answer = subprocess.run(
        [sys.executable, "-m", "benchmarks.steady", settings.loop, str(settings.events(EVENTS))],
        capture_output=True,
        text=True,
        check=True,
    )
    first, *later = json.loads(answer.stdout)
    return {
        "first_tenth_mib": first / MIB,
        "most_later_mib": max(later) / MIB,
        "growth_mib": (max(later) - first) / MIB,
        "reach": {"growth_mib": 1.0},
    }


async def _resident(count: int) -> list[int]:
    """Resident bytes after each tenth."""
    expected = 0

    async def on_counted(event: Counted) -> None:
        nonlocal expected
        if event.n != expected:
            raise AssertionError(f"event {event.n} came in place of {expected}")
        expected += 1

    readings: list[int] = []
    bus = InMemoryEventBus()
    bus.subscribe(Counted, on_counted)
    async with bus:
        for number in range(count):
            await bus.publish(Counted(n=number))
            if (number + 1) % (count // 10) == 0:
                await bus.drain()
                gc.collect()
                readings.append(rss_bytes())
    if expected != count:
        raise AssertionError(f"{expected} of {count} events were delivered")
    return readings


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=LOOPS[sys.argv[1]]) as runner:
        print(json.dumps(runner.run(_resident(int(sys.argv[2])))))
