"""Progress: on a terminal's standard error, and nowhere else."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import pytest

from quantum_trader.cli.progress import busy, each

if TYPE_CHECKING:
    from tests.quantum_trader.conftest import Terminal

BARS = "date,open,high,low,close,volume\n" + "".join(f"2020-01-{day:02},10,11,9,10,100\n" for day in range(1, 29))


@pytest.fixture
def on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")


@pytest.mark.usefixtures("on_a_terminal")
def test_reading_a_file_shows_how_far_it_is(terminal: Terminal) -> None:
    (terminal.home / "bars.csv.gz").write_bytes(gzip.compress(BARS.encode()))
    assert "28 bars of X" in terminal.ok("data", "import", "bars.csv.gz", "--symbol", "X")
    assert "reading bars.csv.gz" in terminal.err
    assert terminal.qt("data", "import", "nowhere.csv", "--symbol", "X") == 3
    assert "no such file" in terminal.complaint()


@pytest.mark.usefixtures("on_a_terminal")
def test_steps_show_how_many_are_done(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(each("abc", "letters")) == ["a", "b", "c"]
    with busy("thinking"):
        pass
    out, err = capsys.readouterr()
    assert out == ""
    assert "letters" in err
    assert "thinking" in err


def test_nothing_is_shown_where_nobody_looks(terminal: Terminal, capsys: pytest.CaptureFixture[str]) -> None:
    (terminal.home / "bars.csv").write_text(BARS)
    terminal.ok("data", "import", "bars.csv", "--symbol", "X")
    assert terminal.err == ""
    assert list(each("abc", "letters")) == ["a", "b", "c"]
    with busy("thinking"):
        pass
    assert capsys.readouterr().err == ""
