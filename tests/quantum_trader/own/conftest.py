"""What tests of users' own code share: a place to write it to, and a terminal to run it from."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from quantum_trader.cli import main

DIP = """
from quantum_trader.api import Bars, Context, Strategy, Target


class Dip(Strategy):
    window: int = 10
    depth: float = 0.03

    def on_bar(self, bars: Bars, ctx: Context) -> Target | None:
        if len(bars) < self.window:
            return None
        mean = bars.close[-self.window :].mean()
        if bars.close[-1] < mean * (1 - self.depth):
            return Target(weight=0.2, reason="dip")
        return Target(weight=0.0) if bars.close[-1] >= mean else None
"""


class Terminal:
    """Runs commands of `qt`; `out` and `err` hold what the last one printed."""

    def __init__(self, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.home = home
        self._capsys = capsys
        self.out = self.err = ""

    def qt(self, *arguments: str) -> int:
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        self.out, self.err = self._capsys.readouterr()
        code = ended.value.code
        assert isinstance(code, int)
        return code

    def printed(self) -> str:
        """What anything else printed since the last command."""
        return self._capsys.readouterr().out

    def ok(self, *arguments: str) -> str:
        assert self.qt(*arguments) == 0, self.err
        return self.out

    def json(self, *arguments: str) -> Any:
        return json.loads(self.ok(*arguments))

    def complaint(self, *arguments: str) -> str:
        """The one line that a command complained in."""
        assert self.qt(*arguments) != 0
        lines = self.err.strip().splitlines()
        assert len(lines) == 1, self.err
        return lines[0]


@pytest.fixture
def terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Terminal:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return Terminal(tmp_path, capsys)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    """Writes a file of a user's."""

    def written(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(textwrap.dedent(text))
        return path

    return written


@pytest.fixture
def dip() -> str:
    """The text of a strategy that buys what has fallen."""
    return DIP
