"""What `qt` prints: nothing that a terminal would act on, one line for each thing where it is piped, and dates."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rich.table import Table

from quantum_trader.cli import run
from quantum_trader.cli.saying import Screen, emit, shortened

if TYPE_CHECKING:
    from tests.quantum_trader.conftest import Terminal

ESCAPE = "\x1b]0;title\x07\x1b[2Jred\x9b31m[bold]x[/bold]"
SHOWN = r"\x1b]0;title\x07\x1b[2Jred\x9b31m[bold]x[/bold]"


def test_a_screen_shows_what_a_terminal_would_act_on(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("name", ESCAPE, box=None)
    table.add_row(ESCAPE, "plain")
    screen = Screen()
    screen.print(ESCAPE)
    screen.print(table)
    out = capsys.readouterr().out
    assert out.count(SHOWN) == 3
    assert all(line.isprintable() for line in out.split("\n"))


def test_json_is_ascii_and_holds_the_value(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"text": f"{ESCAPE}\x7f\udcff"}
    emit(value)
    out = capsys.readouterr().out
    assert json.loads(out) == value
    assert all(line.isprintable() and line.isascii() for line in out.split("\n"))


def test_what_is_too_long_loses_its_middle() -> None:
    assert shortened("a" * 60 + "b" * 60, 100) == "a" * 50 + " ... " + "b" * 50
    assert shortened("short", 100) == "short"


def test_what_somebody_typed_is_shown_and_not_obeyed(terminal: Terminal) -> None:
    assert terminal.qt("resume", ESCAPE) == 3
    assert SHOWN in terminal.complaint()


def test_a_reason_is_shown_and_not_obeyed(terminal: Terminal) -> None:
    terminal.ok("replay", "--to", "2000-06-30", "--output", "run", "--until-session", "20", "--symbols", "IBM")
    terminal.ok("kill", "halt", "--run", "run", "--reason", ESCAPE, "--user", "me\nyou")
    terminal.ok("resume", "run", "--until-session", "30")
    assert rf"by me\nyou: {SHOWN}" in terminal.ok("kill", "show", "--run", "run")
    assert SHOWN in terminal.ok("events", "run", "--type", "command.*")


def test_what_is_piped_is_one_line_each(tmp_path: Path) -> None:
    """However narrow somebody says that the terminal is which nobody looks at."""
    done = subprocess.run(
        [sys.executable, "-c", "from quantum_trader.cli import main; main()", "replay", "--to", "2000-06-30"],
        env=os.environ | {"COLUMNS": "30", "PYTHONPATH": str(Path.cwd())},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    progress = [line for line in lines if "  session " in line]
    assert len(progress) >= 10
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d  session .*/.*  equity .* bars/s", line) for line in progress)
    assert any(re.fullmatch(r" *Digest +[0-9a-f]{64} of [\d,]+ decision events *", line) for line in lines)


@pytest.mark.parametrize("command", [["--version"], ["-h"], ["spc", "-h"], ["data", "import", "-h"]])
def test_help_and_version_are_where_everybody_looks(terminal: Terminal, command: list[str]) -> None:
    assert terminal.ok(*command).strip()
    assert command != ["--version"] or terminal.out == f"qt {version('quantum-trader')}\n"


def test_completion_is_offered(terminal: Terminal) -> None:
    assert "--show-completion" in terminal.ok("--help")


def test_charts_are_shown_by_date(terminal: Terminal) -> None:
    assert run(("replay", "--to", "2001-03-31", "--output", "run")) == 0
    found = terminal.json("spc", "show", "pred.log_range", "--run", "run", "--json")
    assert found["points"][-1]["date"].startswith("2001-03-")
    assert f"  {found['points'][-1]['date']}  " in terminal.ok("spc", "show", "pred.log_range", "--run", "run")
    for violation in found["violations"]:
        assert re.fullmatch(r"200[01]-\d\d-\d\d", violation["date"])
