"""`eventbus serve`, as an operator runs it: a process that says where it listens, and ends when it is asked to."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

HELLO = "serving on "


@contextmanager
def serving(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process, and where it serves."""
    command = [sys.executable, "-c", "from eventbus.cli import main; main()", "serve", "--port", "0", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            first = process.stdout.readline()
            assert first.startswith(HELLO), process.communicate()[1]
            yield process, first.removeprefix(HELLO).strip()
        finally:
            process.kill()


def test_it_says_where_it_listens_and_is_well_and_ends_when_asked() -> None:
    with serving("--bus", "memory://") as (process, url):
        assert httpx.get(f"{url}/healthz").json() == {"status": "ok"}
        assert httpx.get(f"{url}/readyz").json() == {"status": "ok"}
        assert httpx.get(f"{url}/api/v1/status").json()["halted"] is False
        assert "<title>" in httpx.get(f"{url}/").text
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
