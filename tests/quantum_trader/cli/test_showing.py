"""When a dashboard is opened beside a run, and what is said where none is."""

from __future__ import annotations

import socket
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from eventbus import GatewayError
from eventbus.gateway.settings import PORT
from quantum_trader.cli import showing
from quantum_trader.cli.showing import Door, Place, place_for
from quantum_trader.config import AppConfig, load_config

if TYPE_CHECKING:
    from tests.quantum_trader.conftest import Terminal

USUAL = AppConfig()


@pytest.fixture
def at_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)


@pytest.mark.usefixtures("at_a_terminal")
def test_in_a_terminal_there_is_one_on_the_usual_port() -> None:
    usual, named = place_for(None, Door(), USUAL), place_for(None, Door(port=0), USUAL)
    assert isinstance(usual, Place)
    assert isinstance(named, Place)
    assert (usual.host, usual.port, usual.is_asked, named.port, named.is_asked) == ("127.0.0.1", 8765, False, 0, True)


@pytest.mark.usefixtures("at_a_terminal")
def test_who_names_a_host_gets_that_and_else_the_configuration_says() -> None:
    elsewhere = AppConfig(gateway_host="192.0.2.1", gateway_port=80)
    guarded = Door(tokens=Path("tokens.json"), behind_proxy=True)
    for door, host in ((guarded, "192.0.2.1"), (replace(guarded, host="192.0.2.2"), "192.0.2.2")):
        found = place_for(None, door, elsewhere)
        assert isinstance(found, Place)
        assert (found.host, found.port, found.is_asked) == (host, 80, True)  # the proxy knows no other


@pytest.mark.usefixtures("at_a_terminal")
def test_what_nobody_asked_for_stops_no_run_where_the_configuration_would_open_it_to_strangers() -> None:
    elsewhere = AppConfig(gateway_host="0.0.0.0")
    assert "tokens" in str(place_for(None, Door(), elsewhere))
    with pytest.raises(GatewayError, match="tokens"):
        place_for(True, Door(), elsewhere)


def test_usual_port_is_the_one_that_a_bus_is_served_at() -> None:
    assert load_config().app.gateway_port == PORT == 8765


@pytest.mark.usefixtures("at_a_terminal")
def test_without_the_extra_there_is_none_and_its_name_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(showing, "find_spec", lambda name: None)
    assert "quantum-trader[gateway]" in str(place_for(None, Door(), USUAL))


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
    assert "no terminal" in str(place_for(None, Door(), USUAL))
    monkeypatch.setenv("CI", "true")
    assert place_for(None, Door(), USUAL) == "CI is set"


def test_who_asks_for_one_gets_one_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    assert isinstance(place_for(True, Door(), USUAL), Place)
    assert place_for(False, Door(), USUAL) == "--no-web"


@pytest.mark.parametrize(
    ("door", "named"),
    [
        (["--host", "0.0.0.0"], "--tokens"),
        (["--host", "0.0.0.0", "--tokens", "tokens.json"], "--tls-cert"),
        (["--allow-origin", "charts"], "--allow-origin"),
        (["--tls-cert", "c.pem"], "--tls-key"),
    ],
)
@pytest.mark.parametrize("command", [("demo", "--web"), ("serve", "run")])
def test_door_that_would_be_open_to_strangers_is_refused_before_anything_is_made(
    terminal: Terminal, command: tuple[str, ...], door: list[str], named: str
) -> None:
    if command[0] == "serve":
        terminal.ok("replay", "--from", "2012-12-01", "--until-session", "1", "--output", "run")
    else:
        command = (*command, "--output", "run")
    assert terminal.qt(*command, *door) == 2
    assert named in terminal.complaint()
    assert (terminal.home / "run").exists() is (command[0] == "serve")


def test_port_that_is_taken_is_told_where_it_was_named(terminal: Terminal) -> None:
    terminal.ok("replay", "--from", "2012-12-01", "--until-session", "1", "--output", "run")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert terminal.qt("serve", "run", "--port", str(taken.getsockname()[1])) == 2
    assert "in use" in terminal.complaint()


def test_behind_a_proxy_no_other_port_will_do(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv("QT_APP__GATEWAY_PORT", str(taken.getsockname()[1]))
        terminal.ok("replay", "--from", "2012-12-01", "--until-session", "1", "--output", "run")
        assert terminal.qt("serve", "run", "--behind-proxy") == 2
    complaint = terminal.complaint()
    assert "in use" in complaint
    assert "name it with --port" in complaint
    assert terminal.qt("serve", "run", "--behind-proxy", "--tls-cert", "none", "--tls-key", "none") == 2
    assert "--port" not in terminal.complaint(), "another remedy is for another fault"


def test_demo_without_one_says_so_in_a_line_and_ends_by_itself(terminal: Terminal) -> None:
    out = terminal.ok("demo", "--from", "2012-12-01", "--no-web", "--output", "run")
    assert out.splitlines()[0] == "no dashboard: --no-web"
    assert "Digest" in out
