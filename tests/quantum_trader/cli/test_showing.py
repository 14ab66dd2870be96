"""When a dashboard is opened beside a run, and what is said where none is."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from quantum_trader.cli import showing
from quantum_trader.cli.showing import Place, place_for
from quantum_trader.config import AppConfig

if TYPE_CHECKING:
    from tests.quantum_trader.cli.conftest import Terminal

USUAL = AppConfig()


@pytest.fixture
def at_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)


@pytest.mark.usefixtures("at_a_terminal")
def test_in_a_terminal_there_is_one_on_the_usual_port() -> None:
    assert place_for(None, None, None, USUAL) == Place("127.0.0.1", 8765, is_asked=False)
    assert place_for(None, None, 0, USUAL) == Place("127.0.0.1", 0, is_asked=True)


@pytest.mark.usefixtures("at_a_terminal")
def test_who_names_a_host_gets_that_and_else_the_configuration_says() -> None:
    elsewhere = AppConfig(gateway_host="192.0.2.1", gateway_port=80)
    assert place_for(None, None, None, elsewhere) == Place("192.0.2.1", 80, is_asked=False)
    assert place_for(None, "192.0.2.2", None, elsewhere) == Place("192.0.2.2", 80, is_asked=False)


@pytest.mark.usefixtures("at_a_terminal")
def test_without_the_extra_there_is_none_and_its_name_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(showing, "find_spec", lambda name: None)
    assert "quantum-trader[gateway]" in str(place_for(None, None, None, USUAL))


def test_who_asks_for_one_that_cannot_be_is_told_before_anything_is_made(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(showing, "find_spec", lambda name: None)
    assert terminal.qt("demo", "--web", "--output", "run") == 2
    assert "quantum-trader[gateway]" in terminal.complaint()
    assert not (terminal.home / "run").exists()


@pytest.mark.usefixtures("at_a_terminal")
def test_in_ci_and_without_a_terminal_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False, raising=False)
    assert "no terminal" in str(place_for(None, None, None, USUAL))
    monkeypatch.setenv("CI", "true")
    assert place_for(None, None, None, USUAL) == "CI is set"


def test_who_asks_for_one_gets_one_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    assert isinstance(place_for(True, None, None, USUAL), Place)
    assert place_for(False, None, None, USUAL) == "--no-web"


def test_demo_without_one_says_so_in_a_line_and_ends_by_itself(terminal: Terminal) -> None:
    out = terminal.ok("demo", "--from", "2012-12-01", "--no-web", "--output", "run")
    assert out.splitlines()[0] == "no dashboard: --no-web"
    assert "Digest" in out
