"""Memory per queued event: what publishing adds beyond the event itself. Each measure has a process of its own."""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
import tracemalloc
from typing import Any

from benchmarks.compare import Settings, rss_bytes
from benchmarks.sides import counted
from eventbus import InMemoryEventBus

EVENTS = 200_000


def run(settings: Settings) -> dict[str, Any]:
    count = settings.events(EVENTS)
    figures: dict[str, Any] = {}
    for side in ("queue", "eventbus"):
        for by in ("traced", "resident"):
            answer = subprocess.run(
                [sys.executable, "-m", "benchmarks.memory", side, by, str(count)],
                capture_output=True,
                text=True,
                check=True,
            )
            figures[f"{side}_{by}_bytes"] = json.loads(answer.stdout)
    return figures | {"reach": {"eventbus_traced_bytes": 64.0, "eventbus_resident_bytes": 64.0}}


async def _queued(side: str, by: str, count: int) -> float:
    events = counted(count)
    for event in events:
        event.event_id  # noqa: B018 - whatever an event makes on first use belongs to the event
    queue, bus = asyncio.Queue[Any](), InMemoryEventBus(max_queue_size=count)
    gc.collect()
    if by == "traced":
        tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0] if by == "traced" else rss_bytes()
    if side == "queue":
        for event in events:
            await queue.put(event)
    else:
        for event in events:
            await bus.publish(event)
    gc.collect()
    after = tracemalloc.get_traced_memory()[0] if by == "traced" else rss_bytes()
    return (after - before) / count


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_queued(sys.argv[1], sys.argv[2], int(sys.argv[3])))))
