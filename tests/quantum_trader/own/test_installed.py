"""Entry points: checks and components of an installed package act where they are named, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from quantum_trader.runs.folder import RunFolder

if TYPE_CHECKING:
    from tests.quantum_trader.conftest import Terminal

Write = Callable[[str, str], Path]
SHORT = ("--to", "2000-05-10", "--symbols", "AAPL,IBM")

PACKAGE = """
from pathlib import Path

from quantum_trader.api import Denial
from quantum_trader.events import TradeExecutedEvent


def no_apples(order, view):
    return Denial("NO_APPLES") if order.symbol == "AAPL" else None


class Noting:
    def __init__(self, bus):
        bus.subscribe(TradeExecutedEvent, self.on_trade, name="noting.trade")

    async def on_trade(self, event):
        with Path("noted").open("a") as file:
            file.write(event.symbol + "\\n")


def build(bus, config):
    return Noting(bus)
"""


def install(site: Path, version: str) -> None:
    """What pip would leave of a small package."""
    about = site / f"desk_tools-{version}.dist-info"
    about.mkdir(parents=True)
    (site / "desk_tools.py").write_text(PACKAGE)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: desk-tools\nVersion: {version}\n")
    (about / "entry_points.txt").write_text(
        "[quantum_trader.checks]\nno_apples = desk_tools:no_apples\n\n"
        "[quantum_trader.components]\nnoting = desk_tools:build\n"
    )


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    return folder


def test_an_entry_point_acts_where_it_is_named_and_an_installation_changes_no_digest(
    terminal: Terminal, write: Write, dip: str, site: Path
) -> None:
    write("dip.py", dip)
    before = terminal.json("run", "dip.py", *SHORT, "--json", "--output", "before")
    install(site, "1.4")
    beside = terminal.json("run", "dip.py", *SHORT, "--json", "--output", "beside")
    assert beside["digest"] == before["digest"]
    assert not Path("noted").exists()
    named = ("--check", "no_apples", "--with", "noting")
    acting = terminal.json("run", "dip.py", *SHORT, *named, "--json", "--output", "acting")
    assert acting["denials"]["NO_APPLES"] > 0
    assert set(Path("noted").read_text().split()) == {"IBM"}
    started = terminal.ok("events", "acting", "--type", "run.started", "--json")
    assert "no_apples = desk_tools:no_apples of desk-tools 1.4" in started
    assert "noting = desk_tools:build of desk-tools 1.4" in started
    assert "desk-tools" not in terminal.ok("events", "beside", "--type", "run.started", "--json")
    assert RunFolder(Path("acting")).config().own.checks == ("no_apples",)
    assert "asks besides its own  no_apples" in terminal.ok("graph", "--check", "no_apples")


def test_a_run_does_not_go_on_with_another_version_of_what_acts_in_it(
    terminal: Terminal, write: Write, dip: str, site: Path
) -> None:
    write("dip.py", dip)
    install(site, "1.4")
    terminal.ok("run", "dip.py", *SHORT, "--check", "no_apples", "--output", "r", "--until-session", "30")
    (site / "desk_tools-1.4.dist-info").rename(site / "desk_tools-1.5.dist-info")
    (site / "desk_tools-1.5.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: desk-tools\nVersion: 1.5\n"
    )
    line = terminal.complaint("resume", "r")
    assert "was started with installed" in line
    assert "desk-tools 1.4" in line
    assert "desk-tools 1.5" in line


def test_what_is_not_installed_is_one_line_with_what_is(terminal: Terminal, write: Write, dip: str, site: Path) -> None:
    write("dip.py", dip)
    install(site, "1.4")
    said = "no entry point of quantum_trader.components has that name (installed: noting); give module:name"
    assert said in terminal.complaint("run", "dip.py", *SHORT, "--with", "notting")
