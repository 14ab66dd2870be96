"""The dashboard: of a bus that is served and used over HTTP, and of a run."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

PATIENCE_S = 120


@contextmanager
def serving(*command: str) -> Iterator[str]:
    """A server that says where it is; at the end it is asked to end, and does so with 0."""
    with open("said", "w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    until = time.monotonic() + PATIENCE_S
    while not (found := re.search(r"http://127\.0\.0\.1:\d+(?=/?\s)", Path("said").read_text())):
        assert process.poll() is None, Path("said").read_text()
        assert time.monotonic() < until
        time.sleep(0.02)
    try:
        yield found.group()
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0, Path("said").read_text()


def main() -> None:
    with serving("eventbus", "serve", "--bus", "sqlite:///desk.db", "--allow-adhoc", "--port", "0") as url:
        event = {"type": "task.added", "payload": {"n": 1}, "event_id": "t-1"}
        first = httpx.post(f"{url}/api/v1/events", json=event, timeout=PATIENCE_S)
        assert first.status_code < 300, first.text
        assert httpx.post(f"{url}/api/v1/events", json=event, timeout=PATIENCE_S).json() == first.json()
        found = httpx.get(f"{url}/api/v1/events", params={"type": "task.*", "after": 0}, timeout=PATIENCE_S).json()
        assert "t-1" in str(found)
        page = httpx.get(url, timeout=PATIENCE_S).text
        assert "<html" in page
        assert not re.search(r"(src|href)=.https?://", page), "it asks somebody else"
        assert "eventbus_published_events_total" in httpx.get(f"{url}/metrics", timeout=PATIENCE_S).text
    assert (
        "task.added"
        in subprocess.run(["eventbus", "events", "desk.db"], capture_output=True, text=True, check=True).stdout
    )

    subprocess.run(["qt", "demo", "--to", "2000-05-31", "--no-web", "--output", "run"], capture_output=True, check=True)
    with serving("qt", "serve", "run", "--port", "0") as url:
        page = httpx.get(url, timeout=PATIENCE_S).text
        assert "<html" in page
        assert "Equity" in page or "equity" in page
    assert os.path.exists("run/report.html")
    print("both dashboards are served")


main()
