"""A terminal for the tests of `qt`: what was typed, what was answered, in a working directory of its own. And the shipped bars."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from quantum_trader import derived
from quantum_trader.cli import main
from quantum_trader.market.dataset import SHIPPED, Dataset, load_dataset


@pytest.fixture(scope="session", autouse=True)
def shipped_bars() -> Iterator[None]:
    """Hundreds of runs are of these. Each choice is read once by each process of the tests: what is read cannot change."""
    once = cache(load_dataset)

    def load(source: Path, *, symbols: Iterable[str] | None, **choice: Any) -> Dataset:
        chosen = None if symbols is None else tuple(symbols)
        return (once if source == SHIPPED else load_dataset)(source, symbols=chosen, **choice)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(derived, "load_dataset", load)
        yield


class Terminal:
    """Runs commands of `qt`; `out` and `err` hold what the last one printed."""

    def __init__(self, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.home = home
        self._capsys = capsys
        self.out = self.err = ""

    def qt(self, *arguments: str) -> int:
        """The exit code of a command, which never ends in a traceback."""
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        self.out, self.err = self._capsys.readouterr()
        assert "Traceback" not in self.err + self.out
        code = ended.value.code
        assert isinstance(code, int)
        return code

    def ok(self, *arguments: str) -> str:
        """What a command that ends well prints."""
        assert self.qt(*arguments) == 0, self.err
        return self.out

    def json(self, *arguments: str) -> Any:
        """What a command prints as JSON."""
        return json.loads(self.ok(*arguments))

    def printed(self) -> str:
        """What anything else printed since the last command."""
        return self._capsys.readouterr().out

    def complaint(self, *arguments: str) -> str:
        """The one line that a command, or the last one, complained in."""
        if arguments:
            assert self.qt(*arguments) != 0
        lines = self.err.strip().splitlines()
        assert len(lines) == 1, self.err
        return lines[0]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


@pytest.fixture
def terminal(home: Path, capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(home, capsys)
