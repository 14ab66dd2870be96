"""A million synthetic bars through the whole trading system, in a process of its own: speed, and memory as it goes on."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from typing import Any

from benchmarks.compare import LOOPS, Settings, rss_bytes
from eventbus import InMemoryEventBus
from quantum_trader.app import QUEUE_SIZE, build
from quantum_trader.config import load_config
from quantum_trader.market.synthetic import SyntheticFeed

BARS = 1_000_000
SYMBOLS = ("AAA", "BBB", "CCC", "DDD", "EEE")
MIB = 1024 * 1024


def run(settings: Settings) -> dict[str, Any]:
    answer = subprocess.run(
        [sys.executable, "-m", "benchmarks.full_graph", settings.loop, str(settings.events(BARS))],
        capture_output=True,
        text=True,
        check=True,
    )
    told = json.loads(answer.stdout)
    first, *later = told["resident"]
    return {
        "cpu_bars_per_s": told["bars"] / told["cpu_seconds"],
        "first_tenth_mib": first / MIB,
        "most_later_mib": max(later) / MIB,
        "growth_bytes_per_bar": (later[-1] - first) / (0.9 * told["bars"]),
        "reach": {"cpu_bars_per_s": 5_000.0, "most_later_mib": 300.0},
    }


async def _replay(bars: int) -> dict[str, Any]:
    """Resident bytes after each tenth, and the processor time it took in all."""
    sessions = bars // len(SYMBOLS)
    readings: list[int] = []
    bus = InMemoryEventBus(max_queue_size=QUEUE_SIZE)
    system = build(bus, load_config(environ={}), SyntheticFeed(SYMBOLS, sessions, seed=1))

    async def read(session: int) -> None:
        if (session + 1) % max(1, sessions // 10) == 0:
            readings.append(rss_bytes())

    started = time.process_time()
    async with bus:
        await system.begin()
        await system.finish(await system.play(on_session=read))
    seconds = time.process_time() - started
    system.close()
    if len(bus.dead_letters):
        raise AssertionError(f"{len(bus.dead_letters)} dead letters")
    return {"bars": sessions * len(SYMBOLS), "cpu_seconds": seconds, "resident": readings}


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=LOOPS[sys.argv[1]]) as runner:
        print(json.dumps(runner.run(_replay(int(sys.argv[2])))))
