"""A demo run with its dashboard, as `qt demo` opens it: short, on a chart that judges early, with a desk that fails once.

Started by the tests as a program of its own. Prints where the dashboard is, then the digest, and stays until it is interrupted.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from quantum_trader.app import load_feed
from quantum_trader.cli.showing import Door, dashboard
from quantum_trader.config import AppConfig, Config, load_config
from quantum_trader.events import RunCompletedEvent
from quantum_trader.runs.durable import DurableRun
from quantum_trader.runs.folder import RunFolder

CHART = "pred.log_range"


def short() -> Config:
    """A year, in which strategies trade, orders are denied and a chart alarms."""
    chart = {"type": "imr", "baseline": 50, "rebase": 250, "rules": [1, 2, 5, 6], "subgroup": 1}
    return load_config(
        None,
        "fast",
        overrides={"universe": {"start": "2007-01-03", "end": "2007-12-31"}, "spc": {"charts": {CHART: chart}}},
    )


async def main(folder: Path, speed: float) -> None:
    config = short()
    feed = load_feed(config)
    RunFolder(folder).begin(config)
    has_failed = False

    async def archive(_event: RunCompletedEvent) -> None:
        nonlocal has_failed
        if not has_failed:
            has_failed = True
            raise TimeoutError("the archive did not answer in 2 s")

    async with DurableRun(RunFolder(folder), config, feed) as run:
        run.bus.subscribe(RunCompletedEvent, archive, name="archive.desk")
        async with dashboard(run, Door(port=0).at(AppConfig())) as page:
            print(page.url, flush=True)
            asyncio.get_running_loop().add_signal_handler(signal.SIGINT, run.stop)
            completed = await run.run(speed=speed)
            if completed is not None:
                print(completed.digest, flush=True)
                await page.stay()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), float(sys.argv[2])))
