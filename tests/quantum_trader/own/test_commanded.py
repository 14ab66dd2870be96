"""What is asked of a run of a user's own file while it goes on, or is stopped: seen from another process, acknowledged, halted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from websockets.sync.client import connect
from websockets.typing import Origin

if TYPE_CHECKING:
    from tests.quantum_trader.conftest import Terminal

Write = Callable[[str, str], Path]
QT = [sys.executable, "-c", "from quantum_trader.cli import main; main()"]
PATIENCE_S = 120
CHARTS = Origin("https://charts.example")


@contextmanager
def process(*command: str) -> Iterator[subprocess.Popen[str]]:
    """A `qt` of its own, which ends with the block."""
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([*QT, *command], env={**os.environ, "CI": ""}, **streams) as running:  # type: ignore[call-overload]
        try:
            yield running
        finally:
            running.kill()


def url_of(running: subprocess.Popen[str], hello: str) -> str:
    assert running.stdout is not None
    for line in running.stdout:
        if line.startswith(hello):
            return line.removeprefix(hello).strip()
    raise AssertionError(running.communicate())


def until(look: Callable[[], Any]) -> Any:
    """What it finds, once it finds something: another process makes it so."""
    end = time.monotonic() + PATIENCE_S
    while not (found := look()):
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)
    return found


@pytest.mark.long
def test_a_run_that_goes_on_in_another_process_is_explained_and_halted_from_here(
    terminal: Terminal, write: Write, dip: str
) -> None:
    write("dip.py", dip)
    # Long enough not to be over before it was looked at and halted, whatever that takes.
    command = ("run", "dip.py", "--symbols", "AAPL,IBM", "--to", "2003-12-31", "--speed", "15", "--output", "r")
    with process(*command) as running:
        until(lambda: Path("r/run.db").exists() or running.poll() is not None)
        with process("serve", "r", "--port", "0", "--allow-origin", CHARTS) as serving:
            url = url_of(serving, "serving on ")
            with httpx.Client(base_url=f"{url}/api/v1", trust_env=False, timeout=PATIENCE_S) as client:

                def view(name: str) -> Any:
                    return client.get(f"/views/{name}").json()["data"]

                fill = until(lambda: view("orders")["fills"])[0]
                assert view("run")["stage"] == "running"
                with connect(f"{url.replace('http', 'ws')}/api/v1/ws", origin=CHARTS) as page:
                    page.send(json.dumps({"type": "subscribe", "characteristic_ids": [*range(1, 100)]}))
                    while json.loads(page.recv(PATIENCE_S))["type"] != "sample":
                        pass
                causes = client.get(f"/events/{fill['event_id']}/explain").json()["nodes"]
                assert "trade.executed" in {node["event"]["type"] for node in causes}
                story = client.get(f"/orders/{fill['order']}").json()["nodes"]
                told = [node["event"]["type"] for node in story]
                assert told[:2] == ["market.bar", "signals.generated"]
                assert told.index("orders.sized") < told.index("order.approved") < told.index("trade.executed")
                session = client.get("/sessions/3").json()
                decided = client.get(f"/events/{session['event_id']}").json()["payload"]
                assert (decided["type"], decided["payload"]["session"]) == ("session.decide", 3)
                assert client.get("/sessions/99999").json()["type"] == "unknown_session"
                assert "redrive" not in client.get("/status").json()["capabilities"]
                halted = client.post("/killswitch", json={"mode": "halt", "reason": "seen enough"})
                assert halted.status_code == 202
                until(lambda: view("run")["kill_switch"]["mode"] == "HALT")
                running.send_signal(signal.SIGINT)
                running.communicate(timeout=PATIENCE_S)
            serving.send_signal(signal.SIGINT)
            assert serving.wait(PATIENCE_S) == 0
    assert "HALT, latched, by dashboard: seen enough" in terminal.ok("kill", "show", "--run", "r")
    assert terminal.qt("resume", "r", "--json") == 4
    assert terminal.err.endswith("qt: the run ended halted: seen enough\n")
    terminal.ok("verify", "r")


def test_a_violation_of_a_run_of_ones_own_is_acknowledged(terminal: Terminal, write: Write, dip: str) -> None:
    write("dip.py", dip)
    terminal.ok("run", "dip.py", "--symbols", "IBM", "--to", "2001-06-29", "--output", "r", "--until-session", "320")
    one = terminal.json("spc", "--run", "r", "--open", "--json")["violations"][-1]["violation_id"]
    assert "acknowledged before its next session" in terminal.ok("ack", one, "--reason", "seen", "--run", "r")
    terminal.ok("resume", "r", "--json")
    still_open = terminal.json("spc", "--run", "r", "--open", "--json")["violations"]
    assert one not in {each["violation_id"] for each in still_open}
    terminal.ok("verify", "r")


def test_a_run_that_is_resumed_shows_what_it_was_before(terminal: Terminal, write: Write, dip: str) -> None:
    write("dip.py", dip)
    short = ("--symbols", "AAPL,IBM", "--to", "2000-09-30")
    terminal.ok("run", "dip.py", *short, "--output", "r", "--until-session", "90")
    with process("resume", "r", "--web", "--port", "0", "--speed", "0") as resumed:
        url = url_of(resumed, "dashboard at ")
        with httpx.Client(base_url=f"{url}/api/v1", trust_env=False, timeout=PATIENCE_S) as client:
            until(lambda: client.get("/views/run").json()["data"]["stage"] == "over")
            run, orders, equity, strategies = (
                client.get(f"/views/{name}").json()["data"] for name in ("run", "orders", "equity", "strategies")
            )
            dead = client.post("/dead-letters/1/redrive", json={}).json()
        resumed.send_signal(signal.SIGINT)
        _, err = resumed.communicate(timeout=PATIENCE_S)
    assert resumed.returncode == 0, err
    report = terminal.json("report", "r", "--json")
    assert (run["session"], run["bars"]) == (report["sessions"], report["bars"])
    assert len(equity["minute"]) == report["sessions"]
    assert orders["filled"] == report["fills"]
    assert [row["id"] for row in strategies["rows"]] == ["dip"]
    assert dead["type"] == "unknown_letter"
    assert json.loads(Path("r/report.json").read_text())["digest"] == run["digest"]
