"""A trading run over a server is the run that it is over a file, killed or not, and another process hears its trades."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from eventbus import Event, create_event_bus
from quantum_trader.runs.audit import audit
from quantum_trader.runs.folder import RunFolder
from tests.backends import BACKENDS, Backend
from tests.processes.fleet import Fleet

pytestmark = pytest.mark.server

TRADER = Path(__file__).with_name("trader.py")


@pytest.fixture(
    params=[name if name == "postgres" else pytest.param(name, marks=pytest.mark.long) for name in BACKENDS]
)
def backend(request: pytest.FixtureRequest) -> Backend:
    """Each of them; all but one where there is time."""
    return BACKENDS[request.param]


def run(folder: Path, url: str, die_at: str = "") -> subprocess.CompletedProcess[str]:
    """Do it, in a process of its own."""
    command = [sys.executable, str(TRADER), str(folder), url, die_at]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.long
async def test_the_digest_is_the_same_over_a_file_and_a_server_and_after_a_kill(fleet: Fleet, tmp_path: Path) -> None:
    url = f"{fleet.url}&lease=5"
    hearer = fleet.start(plain=True, selector="trade.executed")
    await fleet.ready(hearer)
    whole = run(tmp_path / "file", "")
    killed = run(tmp_path / "server", url, "2000")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    resumed = run(tmp_path / "server", url)
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout == whole.stdout
    fills = int(whole.stdout.split()[1])
    assert fills > 3
    await fleet.until(lambda: len(fleet.of("heard", hearer)) >= fills)
    async with create_event_bus(fleet.url) as bus:
        traded: list[Event] = [event async for event in bus.replay(types="trade.executed")]
    assert len(fleet.of("heard", hearer)) == len(traded) == fills
    findings = await asyncio.to_thread(lambda: asyncio.run(audit(RunFolder(tmp_path / "server", fleet.url))))
    assert [finding.check for finding in findings if finding.is_well] == ["journal", "origin", "digest", "books"]
    assert whole.stdout.split()[0] in findings[2].detail
