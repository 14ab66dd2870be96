"""`qt run`: everything that works on a run of the shipped strategies works on one of a user's own file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from quantum_trader.config import load_config
from quantum_trader.runs.folder import RunFolder

if TYPE_CHECKING:
    from tests.quantum_trader.conftest import Terminal

YEAR = ("--to", "2000-09-30", "--symbols", "AAPL,IBM")

Write = Callable[[str, str], Path]


def test_a_file_is_run_and_its_orders_are_explained(dip: str, terminal: Terminal, write: Write) -> None:
    write("dip.py", dip)
    out = terminal.ok("run", "dip.py", *YEAR, "--set", "depth=0.05", "--output", "r")
    assert "dip (window 10, depth 0.05): LIVE by your word" in out
    order = next(line.split()[2] for line in out.splitlines() if line.startswith("qt why"))
    told = terminal.ok("why", order, "--run", "r")
    assert "reason dip" in told
    assert "weight 0.2" in told
    assert "fill" in told
    assert terminal.json("report", "r", "--json")["fills"] > 4
    terminal.ok("verify", "r")


def test_a_module_of_the_users_own_is_run(dip: str, terminal: Terminal, write: Write) -> None:
    write("helper_of_mine.py", "DEPTH = 0.04\n")
    write(
        "dip.py", dip.replace("class Dip", "from helper_of_mine import DEPTH\n\n\nclass Dip").replace("0.03", "DEPTH")
    )
    report = terminal.json("run", "dip.py:Dip", *YEAR, "--json", "--output", "r")
    assert report["fills"] > 0
    assert RunFolder(Path("r")).config().own.params["depth"] == 0.04


def test_a_class_may_have_the_name_of_a_shipped_family(terminal: Terminal, write: Write, dip: str) -> None:
    write("dip.py", dip.replace("class Dip", "class Trend"))
    terminal.ok("run", "dip.py", *YEAR, "--output", "r")
    assert RunFolder(Path("r")).config().own.strategy_id == "own_trend"


def test_parameters_are_part_of_the_identity_of_a_run(dip: str, terminal: Terminal, write: Write) -> None:
    write("dip.py", dip)
    for name, depth in (("a", "0.03"), ("b", "0.03"), ("c", "0.05")):
        terminal.ok("run", "dip.py", *YEAR, "--set", f"depth={depth}", "--output", name)
    terminal.ok("diff", "a", "b")
    assert terminal.qt("diff", "a", "c") == 1
    assert "own.params.depth: 0.03 | 0.05" in terminal.out


STATEFUL = """
import os, signal
from collections import deque
from quantum_trader.api import Strategy, Target


class Counted(Strategy):
    every: int = 7
    _seen: dict = {}
    _last: deque = deque(maxlen=3)

    def on_bar(self, bars, ctx):
        self._seen[bars.symbol] = self._seen.get(bars.symbol, 0) + 1
        self._last.append(float(bars.close[-1]))
        if ctx.session == int(os.environ.get("DIE_AT", -1)):
            os.kill(os.getpid(), signal.SIGKILL)
        count = self._seen[bars.symbol]
        if count % self.every:
            return None
        return Target(weight=round(0.05 + 0.3 * float(ctx.rng.random()), 4) if count % (2 * self.every) else 0.0)
"""


def test_a_run_killed_and_resumed_decides_what_the_whole_one_does(terminal: Terminal, write: Write) -> None:
    write("counted.py", STATEFUL)
    overrides = {"QT_APP__CHECKPOINT_EVERY": "20"}
    environment = {**os.environ, **overrides, "DIE_AT": "47"}
    command = [
        sys.executable,
        "-c",
        "from quantum_trader.cli import main; main()",
        "run",
        "counted.py",
        *YEAR,
        "--output",
    ]
    whole = subprocess.run([*command, "whole"], env={**os.environ, **overrides}, check=False, capture_output=True)
    assert whole.returncode == 0, whole.stderr
    killed = subprocess.run([*command, "killed"], env=environment, check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    assert list((terminal.home / "killed").glob("checkpoint-*"))
    resumed = terminal.json("resume", "killed", "--json")
    assert resumed["digest"] == terminal.json("report", "whole", "--json")["digest"]
    assert resumed["fills"] > 10
    terminal.ok("verify", "killed")
    terminal.ok("diff", "whole", "killed")


def test_a_run_takes_commands_and_stops_where_it_is_told(dip: str, terminal: Terminal, write: Write) -> None:
    write("dip.py", dip)
    terminal.ok("run", "dip.py", *YEAR, "--output", "r", "--until-session", "60")
    terminal.ok("kill", "reduce-only", "--reason", "enough", "--run", "r")
    report = terminal.json("resume", "r", "--json")
    assert report["stops"][0]["reason"] == "enough"
    assert report["denials"]["KILL_SWITCH"] > 0


def test_a_changed_file_does_not_go_on_with_the_run_of_another(dip: str, terminal: Terminal, write: Write) -> None:
    write("dip.py", dip)
    terminal.ok("run", "dip.py", *YEAR, "--output", "r", "--until-session", "60")
    write("dip.py", dip + "\n# changed\n")
    line = terminal.complaint("resume", "r")
    assert "is not the file that the run was started with; restore it" in line


def test_limits_of_a_file_come_back_and_what_was_cut_is_told(terminal: Terminal, write: Write) -> None:
    write(
        "all_in.py",
        "from quantum_trader.api import Strategy, Target\n\n\nclass AllIn(Strategy):\n"
        "    def on_bar(self, bars, ctx):\n        return Target(weight=0.9)\n",
    )
    write("limits.toml", "max_order_notional = 0.25\n")
    terminal.ok("run", "all_in.py", "--symbols", "IBM", "--to", "2000-03-31", "--output", "free")
    terminal.ok(
        "run", "all_in.py", "--symbols", "IBM", "--to", "2000-03-31", "--output", "cut", "--limits", "limits.toml"
    )
    sizes = [terminal.ok("events", run, "--type", "orders.sized", "--json") for run in ("free", "cut")]
    assert '"limited_by":"WEIGHT"' in sizes[0].replace(" ", "")
    assert '"limited_by":"ORDER_WEIGHT"' in sizes[1].replace(" ", "")


def test_gates_block_a_gated_strategy_and_the_report_says_which(dip: str, terminal: Terminal, write: Write) -> None:
    write("dip.py", dip)
    report = terminal.json("run", "dip.py", *YEAR, "--gated", "--json", "--output", "r")
    assert report["fills"] == 0
    assert report["funnel"]["went_live"] == 0
    assert terminal.ok("strategies", "--run", "r").startswith("dip ")


def test_an_ungated_run_tells_what_every_gate_would_have_said(dip: str, terminal: Terminal, write: Write) -> None:
    write("dip.py", dip)
    command = ("run", "dip.py", "--symbols", "AAPL", "--to", "2002-04-30", "--output")
    report = terminal.json(*command, "r", "--json")
    gates = {gate["gate"]: gate for gate in report["gates"]}
    assert list(gates) == ["BACKTEST", "SHADOW", "LIVE_REVIEW"]
    assert [gate["metrics"]["sessions"] for gate in gates.values()] == [504, 126, 252]
    trades = terminal.ok("export", "r", "--trades", "t.csv") and Path("t.csv").read_text().splitlines()[1:]
    sessions = [int(row.split(",")[1]) for row in trades]
    last = report["sessions"] - 1
    for gate, window in (("BACKTEST", 504), ("LIVE_REVIEW", 252)):
        entries = sum(session > last - window for session in sessions) / 2
        assert gates[gate]["metrics"]["trades"] == pytest.approx(entries, abs=2), "positions that overlap the window"
    for gate in gates.values():
        assert (gate["verdict"] == "PASS") is (not gate["missed"])
    assert any(gate["verdict"] == "FAIL" for gate in gates.values())
    told = terminal.ok("report", "r")
    failed = next(gate for gate in gates.values() if gate["verdict"] == "FAIL")
    assert f"would refuse it: {', '.join(failed['missed'])}" in told
    assert failed["missed"][0].replace("<", "&lt;") in Path("r/report.html").read_text()
    assert "gates.reported" not in dict(report["funnel"])
    terminal.ok("verify", "r")


def test_the_gates_tell_nothing_of_a_run_that_goes_through_them(dip: str, terminal: Terminal, write: Write) -> None:
    write("dip.py", dip)
    report = terminal.json("run", "dip.py", "--symbols", "IBM", "--to", "2000-05-31", "--gated", "--json")
    assert report["gates"] == []


def test_the_own_profile_opens_limits_and_keeps_the_collar() -> None:
    own, usual = load_config(profile="own", environ={}), load_config(environ={})
    assert own.risk.price_collar == usual.risk.price_collar
    assert own.policy.normal.gross_limit == 1.0
    assert not own.ranker.enabled
