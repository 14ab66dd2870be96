"""`qt sweep` and `qt compare`: a grid of runs on every core, which survives its workers, and runs beside each other."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from quantum_trader.cli.sweeping import axes_of, cores
from quantum_trader.runs.folder import RunFolder

if TYPE_CHECKING:
    from tests.quantum_trader.conftest import Terminal

SHORT = ("--to", "2000-05-31", "--symbols", "IBM")
QT = [sys.executable, "-c", "from quantum_trader.cli import main; main()"]
Write = Callable[[str, str], Path]

# Leaves a trace of who ran what; ends its process once if it is told to, or waits for so many others, or for leave to go on.
TRACED = """
import os
import signal
import time
from pathlib import Path

from quantum_trader.api import Strategy, Target


class Traced(Strategy):
    depth: float = 0.03
    window: int = 10

    def on_bar(self, bars, ctx):
        if len(bars) == 5:
            with Path("trace").open("a") as file:
                file.write(f"{os.getpid()} {self.window} {self.depth}\\n")
            meets, end = int(os.environ.get("MEETS", 0)), time.monotonic() + 120
            while len({line.split()[0] for line in Path("trace").read_text().splitlines()}) < meets:
                if time.monotonic() > end:
                    raise TimeoutError("nobody else came")
                time.sleep(0.02)
        if len(bars) == 30 and self.window == int(os.environ.get("DIES", 0)) and not Path("died").exists():
            Path("died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if len(bars) == 30 and os.environ.get("WAITS") and self.window >= 30:
            Path(f"waiting-{os.getpid()}").touch()
            time.sleep(0.05)
        mean = bars.close[-self.window :].mean()
        return Target(weight=0.2 if bars.close[-1] < mean * (1 - self.depth) else 0.0)
"""


def test_every_run_of_a_grid_is_a_run_and_the_table_tells_of_all(
    terminal: Terminal, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("traced.py", TRACED)
    monkeypatch.setenv("MEETS", "2")
    command = ("sweep", "traced.py", *SHORT, "--grid", "window=5,10", "--grid", "depth=0.01:0.03:2", "--output", "s")
    told = terminal.json(*command, "--jobs", "2", "--json")
    assert [run["params"] for run in told["runs"]] == [
        {"window": window, "depth": depth} for window in (5, 10) for depth in (0.01, 0.03)
    ]
    by_hand = terminal.json(
        "run", "traced.py", *SHORT, "--set", "window=10", "--set", "depth=0.03", "--json", "--output", "r"
    )
    assert RunFolder(Path(told["runs"][3]["run"])).summary()["digest"] == by_hand["digest"]
    assert len({line.split()[0] for line in Path("trace").read_text().splitlines()[:4]}) == 2, "two processes"
    rows = list(csv.DictReader(Path("s/results.csv").read_text().splitlines()))
    assert [float(row["sharpe"]) for row in rows] == [run["sharpe"] for run in told["runs"]]
    assert Path("s/heatmap.svg").read_text().count("<rect") == 5
    before = {file: file.stat().st_mtime_ns for file in Path("s").glob("*/report.json")}
    out = terminal.ok(*command)
    assert "window" in out
    assert "best of 4" in out
    assert {file: file.stat().st_mtime_ns for file in Path("s").glob("*/report.json")} == before, "nothing done twice"


@pytest.mark.long
def test_the_death_of_a_worker_costs_no_run(terminal: Terminal, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write("traced.py", TRACED)
    monkeypatch.setenv("DIES", "10")
    told = terminal.json(
        "sweep", "traced.py", *SHORT, "--grid", "window=5,10,20", "--jobs", "2", "--json", "--output", "s"
    )
    assert Path("died").exists()
    assert told["worker_deaths"] == 1
    assert told["failed"] == {}
    assert [run["params"]["window"] for run in told["runs"]] == [5, 10, 20]
    terminal.ok("verify", told["runs"][1]["run"])


def test_a_run_that_fails_is_told_and_the_others_are_done(terminal: Terminal, write: Write) -> None:
    write(
        "picky.py",
        "from quantum_trader.api import Strategy\n\n\nclass Picky(Strategy):\n    x: int = 1\n\n"
        "    def __init__(self, **params):\n        super().__init__(**params)\n"
        "        import multiprocessing\n"
        "        if self.x == 2 and multiprocessing.parent_process():\n            raise ValueError('not two')\n\n"
        "    def on_bar(self, bars, ctx):\n        return None\n",
    )
    code = terminal.qt("sweep", "picky.py", *SHORT, "--grid", "x=1,2,3", "--jobs", "1", "--output", "s")
    assert code == 1
    assert "picky.py:11: ValueError: not two" in terminal.out
    assert "1 of 3 runs failed" in terminal.err
    assert len(list(Path("s").glob("*/report.json"))) == 2


@pytest.mark.long
def test_a_sweep_is_stopped_and_gone_on_with(terminal: Terminal, write: Write) -> None:
    write("traced.py", TRACED)
    command = ["sweep", "traced.py", *SHORT, "--grid", "window=5,30,40", "--jobs", "2", "--output", "s"]
    process = subprocess.Popen(
        [*QT, *command], env={**os.environ, "WAITS": "1"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while not list(Path().glob("waiting-*")):  # a worker is in the middle of a run
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "the same command goes on with them" in err
    assert len(list(Path("s").glob("*/report.json"))) < 3
    told = terminal.json(*command, "--json")
    assert [run["params"]["window"] for run in told["runs"]] == [5, 30, 40]


@pytest.mark.long
def test_a_hundred_runs_use_every_core_survive_a_death_and_are_stopped_and_gone_on_with(
    terminal: Terminal, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("traced.py", TRACED)
    monkeypatch.setenv("DIES", "90")
    monkeypatch.setenv("MEETS", str(cores()))
    grid = ("--grid", "window=3:102:100", "--to", "2000-04-20", "--symbols", "IBM", "--output", "s")
    command = ["sweep", "traced.py", *grid]
    process = subprocess.Popen([*QT, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while len(list(Path("s").glob("*/report.json"))) < 25:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    before = {file: file.stat().st_mtime_ns for file in Path("s").glob("*/report.json")}
    assert 25 <= len(before) < 100
    monkeypatch.setenv("MEETS", str(2 * cores()))
    told = terminal.json(*command, "--json")
    assert [run["params"]["window"] for run in told["runs"]] == list(range(3, 103))
    assert (told["failed"], told["worker_deaths"]) == ({}, 1)
    assert all(file.stat().st_mtime_ns == at for file, at in before.items()), "nothing done twice"
    lines = [line.split() for line in Path("trace").read_text().splitlines()]
    assert len({pid for pid, *_ in lines}) >= 2 * cores() + 1, "every core, before and after, and one for the dead"
    assert {int(window) for _, window, _ in lines} == set(range(3, 103))
    assert len(lines) <= 100 + cores() + 1, "only what was in hand is begun again"
    folders = {Path(run["run"]).name for run in told["runs"]}
    assert len(folders) == 100, "each has a folder of its own"
    assert len(list(csv.DictReader(Path("s/results.csv").read_text().splitlines()))) == 100


@pytest.mark.parametrize(
    ("grid", "said"),
    [
        ([], "--grid: is missing; write --grid window=10,20,40"),
        (["--grid", "window"], "'window' is no axis"),
        (["--grid", "window=a,b"], "window: Input should be a valid integer"),
        (["--grid", "depth=0:x:3"], "'0:x:3' is no range; write 0.01:0.05:5"),
        (["--grid", "depht=1,2"], "has no parameter depht; known are"),
        (["--grid", "window=1,2", "--grid", "window=3"], "window is given twice"),
        (["--grid", "depth=0:1:200000"], "is no range"),
    ],
)
def test_a_wrong_grid_is_one_line(terminal: Terminal, write: Write, dip: str, grid: list[str], said: str) -> None:
    write("dip.py", dip)
    assert said in terminal.complaint("sweep", "dip.py", *SHORT, *grid)


def test_a_range_is_spread_exactly(terminal: Terminal, write: Write, dip: str) -> None:
    write("dip.py", dip)
    axes = axes_of("dip.py", ["window=10,20,40", "depth=0.01:0.05:5"], {})
    assert axes == {"window": [10, 20, 40], "depth": [0.01, 0.02, 0.03, 0.04, 0.05]}


def test_as_many_processes_as_cores_by_default() -> None:
    assert cores() == len(os.sched_getaffinity(0))


def test_runs_are_compared_side_by_side(terminal: Terminal, write: Write, dip: str) -> None:
    write("dip.py", dip)
    for name, depth in (("a", "0.01"), ("b", "0.01"), ("c", "0.04")):
        terminal.ok("run", "dip.py", *SHORT, "--set", f"depth={depth}", "--output", name)
    out = terminal.ok("compare", "a", "b", "c", "--svg", "c.svg")
    assert "b: the same" in out
    assert "c: own.params.depth: 0.01 | 0.04" in out
    assert "c: parts after" in out
    assert Path("c.svg").read_text().count("<polyline") == 3
    told = terminal.json("compare", "a", "c", "--json")
    assert [run["run"] for run in told["runs"]] == ["a", "c"]
    assert json.loads(Path("a/report.json").read_text())["annual_sharpe"] == pytest.approx(told["runs"][0]["sharpe"])
    assert "there is nothing to compare with; name two runs or more" in terminal.complaint("compare", "a")
