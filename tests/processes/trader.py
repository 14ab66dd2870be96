"""A trading run in a process of its own, over a server or a file; it may have to die. Prints the digest of what it came to.

Arguments: the folder of the run, the URL of the bus ("" for a file in the folder), at which event to die ("" for never).
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from eventbus import Event
from quantum_trader.app import load_feed
from quantum_trader.config import load_config
from quantum_trader.runs.durable import DurableRun
from quantum_trader.runs.folder import RunFolder

CONFIG = load_config(
    environ={},
    overrides={
        "app": {"checkpoint_every": 20},
        "universe": {"end": "2001-04-30"},
        "strategies": {"all_live": True},
    },
)


async def main(path: str, url: str, die_at: str) -> None:
    """Do what is left of the run."""
    folder, seen = RunFolder(Path(path)), 0
    if not folder.is_unfinished and not (folder.path / "config.json").exists():
        folder.begin(CONFIG)
    run = DurableRun(folder, CONFIG, load_feed(CONFIG), bus_url=url or None)

    async def die(_event: Event) -> None:
        nonlocal seen
        seen += 1
        if seen == int(die_at):
            os.kill(os.getpid(), signal.SIGKILL)

    if die_at:
        run.bus.subscribe("*", die)
    async with run:
        completed = await run.run()
        assert completed is not None
        fills = [event.event_id async for event in run.bus.replay(types="trade.executed")]
    print(completed.digest, len(fills))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
