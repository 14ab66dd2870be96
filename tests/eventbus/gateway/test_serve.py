"""`eventbus serve`, as an operator runs it: a process that says where it listens, and ends when it is asked to."""

from __future__ import annotations

import signal
from pathlib import Path

import httpx

from tests.eventbus.gateway.processes import serving_process


def test_it_says_where_it_listens_and_is_well_and_ends_when_asked(tmp_path: Path) -> None:
    with serving_process(tmp_path, "--bus", "memory://") as served:
        assert httpx.get(f"{served.url}/healthz").json() == {"status": "ok"}
        assert httpx.get(f"{served.url}/readyz").json() == {"status": "ok"}
        assert httpx.get(f"{served.url}/api/v1/status").json()["halted"] is False
        assert "<title>" in httpx.get(f"{served.url}/").text
        served.process.send_signal(signal.SIGTERM)
        assert served.wait() == 0
