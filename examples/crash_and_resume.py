"""A run killed in mid-event and continued: it decides, trades and earns what it would have if nothing had happened."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import tempfile
from decimal import Decimal
from pathlib import Path

from eventbus import Event
from quantum_trader.app import load_feed
from quantum_trader.config import load_config
from quantum_trader.runs.durable import DurableRun
from quantum_trader.runs.folder import RunFolder

CONFIG = load_config(
    environ={},
    overrides={
        "app": {"checkpoint_every": 50},
        "universe": {"end": "2001-05-31"},
        "strategies": {"all_live": True},
    },
)
EVENTS = 5_000  # of the whole run, about


async def run(folder: RunFolder, *, die_at: int | None = None) -> tuple[str, list[str], Decimal]:
    """Do what is left of the run in `folder`: its digest, its fills, its last equity."""
    durable = DurableRun(folder, CONFIG, load_feed(CONFIG))
    seen = 0

    async def die(event: Event) -> None:
        nonlocal seen
        seen += 1
        if seen == die_at:
            print(f"killed at event {seen:,}: {event.type}", flush=True)
            os.kill(os.getpid(), signal.SIGKILL)

    if die_at is not None:
        durable.bus.subscribe("*", die, name="assassin")
    async with durable:
        completed = await durable.run()
        if durable.bars_before:
            print(f"continued after {durable.bars_before:,} bars that earlier processes had replayed")
        fills = [event.event_id async for event in durable.bus.replay(types="trade.executed")]
    assert completed is not None
    last = durable.system.record.last
    assert last is not None
    return completed.digest, fills, last.equity


def folder_in(place: Path, name: str) -> RunFolder:
    folder = RunFolder(place / name)
    folder.begin(CONFIG)
    return folder


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        whole = asyncio.run(run(folder_in(place, "whole")))
        killed = folder_in(place, "killed")
        dice = random.Random()
        for _ in range(2):
            victim = subprocess.run(
                [sys.executable, __file__, str(killed.path), str(dice.randrange(1, EVENTS // 2))], check=False
            )
            assert victim.returncode == -signal.SIGKILL
        resumed = asyncio.run(run(killed))
        for name, (digest, fills, equity) in (("whole", whole), ("resumed", resumed)):
            print(f"{name:<8} digest {digest[:16]}  fills {len(fills)}  equity {equity:,.2f}")
        assert resumed == whole
        assert len(set(resumed[1])) == len(resumed[1]) > 10


if __name__ == "__main__":
    if len(sys.argv) == 3:  # the victim
        asyncio.run(run(RunFolder(Path(sys.argv[1])), die_at=int(sys.argv[2])))
    else:
        main()
