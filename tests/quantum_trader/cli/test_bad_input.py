"""Bad input to any command: one clear line that says what would do, an exit code, no traceback, and nothing changed."""

from __future__ import annotations

import hashlib
import json
import shutil
import socketserver
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from quantum_trader.cli import run

if TYPE_CHECKING:
    from tests.quantum_trader.conftest import Terminal

USAGE, DATA, FAILED = 2, 3, 1

COMMAND_LINES = [
    (("frobnicate",), USAGE, "No such command 'frobnicate'; see qt --help"),
    (("demo", "--frob"), USAGE, "No such option: --frob"),
    (("demo", "--speed", "-1"), USAGE, "'--speed'"),
    (("demo", "--speed", "fast"), USAGE, "'--speed'"),
    (("demo", "--seed", "lucky"), USAGE, "'--seed'"),
    (("demo", "--from", "2013-13-01"), USAGE, "'2013-13-01' is no date; write it as 2008-09-15"),
    (("demo", "--from", "2010-01-01", "--to", "2009-01-01"), DATA, "choose within 2000-03-01"),
    (("demo", "--symbols", "APPL"), DATA, "unknown symbol 'APPL'; known are AAPL"),
    (("demo", "--data", "../../etc"), DATA, "known are demo"),
    (("demo", "--profile", "../app"), USAGE, "no such profile; known are demo"),
    (("demo", "--config", "nowhere"), USAGE, "nowhere: no such directory"),
    (("demo", "--metrics-port", "99999"), USAGE, "'--metrics-port'"),
    (("replay", "--until-session", "-1"), USAGE, "'--until-session'"),
    (("replay", "--to", "2000-04-01", "--output", "file/run"), USAGE, "choose another --output"),
    (("resume",), USAGE, "Missing argument"),
    (("resume", "nope"), DATA, "no such run"),
    (("report", "nope"), DATA, "no run is recorded there"),
    (("report",), DATA, "no run is recorded there"),
    (("verify", "nope"), DATA, "no such run"),
    (("diff", "nope", "nope"), DATA, "no such run"),
    (("events", "nope"), DATA, "no such run"),
    (("bench", "--bars", "1"), USAGE, "'--bars'"),
    (("oracle", "ask"), USAGE, "No such command 'ask'; see qt oracle --help"),
    (("data", "import", "nowhere.csv"), DATA, "nowhere.csv"),
    (("data", "import", "file"), DATA, "file"),
    (("data", "import", "."), DATA, ".: it is a folder; give a file of bars"),
    (("data", "import", "bars.csv", "--symbol", "X", "--column", "high"), DATA, "write it like --column date=Datum"),
    (("data", "import", "bars.csv", "--symbol", "X", "--name", "../x"), DATA, "name"),
    (("data", "import", "bars.csv", "--symbol", "X", "--zone", "Mars"), DATA, "'Mars' is not a zone; name one such as"),
    (("data", "import", "bars.csv", "--symbol", "X", "--encoding", "klingon"), DATA, "name one such as cp1252"),
    (("data", "import", "bars.csv", "--symbol", "X", "--day-first", "--month-first"), DATA, "give one of them"),
    (("data", "import", "bars.csv", "--symbol", "X", "--decimal", "dot"), USAGE, "'point', 'comma'"),
    (("data", "import", "bars.csv", "--symbol", "X", "--columns", "date,open"), DATA, "map them with --column"),
    (("data", "import", "bars.csv", "--symbol", "X", "--skip-rows", "9"), DATA, "no column for date"),
    (("data", "describe", "nope"), DATA, "known are demo"),
    (("data", "verify", "nope"), DATA, "known are demo"),
    (("config", "show", "--profile", "nope"), USAGE, "no such profile"),
    (("config", "check", "--config", "file"), USAGE, "no such directory"),
    (("types", "--profile", "nope"), USAGE, "no such profile"),
    (("graph", "--svg", "file/graph.svg"), USAGE, "choose another --svg"),
    (("kill",), USAGE, "Missing argument"),
    (("kill", "panic"), USAGE, "'halt', 'reduce-only', 'off'"),
    (("kill", "halt"), USAGE, "--reason: is missing; say why"),
    (("kill", "halt", "--reason", "r"), DATA, "no unfinished run"),
    (("kill", "show", "--run", "nope"), DATA, "no such run"),
    (("ack", "x-1-1"), USAGE, "Missing option '--reason'"),
    (("ack", "x-1-1", "--reason", "r"), DATA, "no run is recorded there"),
    (("policy", "set", "BRAVE", "--reason", "r"), USAGE, "'aggressive'"),
    (("policy", "set", "NORMAL"), USAGE, "Missing option '--reason'"),
    (("policy", "show"), DATA, "no run is recorded there"),
    (("policy", "history", "--run", "."), DATA, "no run is recorded there"),
    (("strategies", "--run", "file"), DATA, "no such run"),
    (("models",), DATA, "no run is recorded there"),
    (("spc",), DATA, "no run is recorded there"),
]


@pytest.mark.parametrize(
    ("command", "code", "remedy"), COMMAND_LINES, ids=[" ".join(row[0])[:40] for row in COMMAND_LINES]
)
def test_a_command_that_cannot_be_done_is_one_line(
    terminal: Terminal, command: tuple[str, ...], code: int, remedy: str
) -> None:
    (terminal.home / "file").write_bytes(b"\x00\xff not what was hoped for")
    (terminal.home / "bars.csv").write_text("date,open,high,low,close,volume\n2020-01-01,1,2,1,2,1\n")
    assert terminal.qt(*command) == code, terminal.err
    assert remedy in terminal.complaint()
    assert sorted(path.name for path in terminal.home.iterdir()) == ["bars.csv", "file"]


SETTINGS = [
    ("QT_EXECUTION__FEE_RATE", "abc", "execution.fee_rate"),
    ("QT_EXECUTION__PARTICIPATION", "-1", "execution"),
    ("QT_RISK__MAX_DRAWDOWN", "nan", "risk.max_drawdown"),
    ("QT_RISK__MAX_DAILY_LOSS", "3", "risk.max_daily_loss"),  # a percentage
    ("QT_RISK__CASH_RESERVE", "-1", "risk.cash_reserve"),  # orders would cost nothing
    ("QT_RISK__BURST_STOPS", "0", "risk.burst_stops"),
    ("QT_RISK__COOLDOWN", "-5", "risk.cooldown"),
    ("QT_RISK__PRICE_COLLAR", "-1", "risk.price_collar"),
    ("QT_POLICY__THRESHOLDS__DEFENSIVE_DRAWDOWN", "-1", "policy.thresholds.defensive_drawdown"),
    ("QT_STRATEGIES__GATES__LIVE_DRAWDOWN", "15", "strategies.gates.live_drawdown"),
    ("QT_APP__CASH", "0", "app.cash"),
    ("QT_APP__GATEWAY_PORT", "70000", "app.gateway_port"),
    ("QT_APP__SED", "3", "app.sed: unknown key; known are seed"),
    ("QT_NOSUCH__KEY", "1", "nosuch: unknown key"),
    ("QT_APP", "3", ""),
    ("QT_STRATEGIES__SEEDS", '[{family = "astrology", params = [1]}]', "strategies.seeds.0"),
    ("QT_SPC__CHARTS", "3", "spc.charts"),
]


@pytest.mark.parametrize(("name", "value", "place"), SETTINGS, ids=[name for name, _, _ in SETTINGS])
def test_a_setting_that_cannot_be_used_is_one_line_naming_it(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, name: str, value: str, place: str
) -> None:
    monkeypatch.setenv(name, value)
    if not place:  # no section and key in it: not a setting, and none of our business
        terminal.ok("config", "check")
        return
    assert terminal.qt("config", "check") == USAGE
    assert place in terminal.complaint()
    assert terminal.qt("replay", "--to", "2000-04-01") == USAGE
    assert place in terminal.complaint()
    assert not (terminal.home / "runs").exists()


@pytest.mark.parametrize(
    "content", [b"seed = ", b"\xff\xfe", b"seed = 'seven'", b"[table]\nseed = 7"], ids=["toml", "bytes", "type", "key"]
)
def test_a_file_that_cannot_be_used_is_one_line_naming_it(terminal: Terminal, content: bytes) -> None:
    (terminal.home / "config").mkdir()
    (terminal.home / "config" / "app.toml").write_bytes(content)
    assert terminal.qt("replay", "--to", "2000-04-01") == USAGE
    assert "app.toml" in terminal.complaint()


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped half-way."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    assert run(("replay", "--to", "2001-03-31", "--output", str(folder), "--until-session", "250")) == 0
    return folder


@pytest.fixture
def stopped(terminal: Terminal, original: Path) -> Terminal:
    shutil.copytree(original, terminal.home / "run")
    return terminal


REFUSED = [
    (("ack", "pred.log_range-1-1", "--reason", "r"), FAILED, "there is none of that id in run; see qt spc"),
    (("ack", "'; DROP TABLE violations; --", "--reason", "r"), FAILED, "there is none of that id"),
    (("strategies", "show", "nope"), FAILED, "there is none of that name in run; known are breakout"),
    (("models", "show", "nope"), FAILED, "there is none of that name in run; known are"),
    (("spc", "show", "nope"), FAILED, "there is none of that name in run; known are"),
    (("kill", "halt"), USAGE, "say why"),
    (("policy", "set", "BRAVE", "--reason", "r"), USAGE, "BRAVE"),
]


@pytest.mark.parametrize(("command", "code", "remedy"), REFUSED, ids=[" ".join(row[0])[:30] for row in REFUSED])
def test_a_refused_command_leaves_the_run_as_it_was(
    stopped: Terminal, command: tuple[str, ...], code: int, remedy: str
) -> None:
    assert stopped.qt(*command, "--run", "run") == code
    assert remedy in stopped.complaint()
    assert not (stopped.home / "run" / "commands").exists()


def test_a_run_that_was_asked_nonsense_ends_as_if_nobody_had_spoken(stopped: Terminal, original: Path) -> None:
    alone = shutil.copytree(original, stopped.home / "alone")
    for command, _, _ in REFUSED:
        stopped.qt(*command, "--run", "run")
    (stopped.home / "run" / "commands").mkdir()
    (stopped.home / "run" / "commands" / "1.json").write_text('{"type": "order.approved", "event": {"qty": 1}}')
    first, second = (stopped.json("resume", name, "--json") for name in ("run", str(alone)))
    assert (first["digest"], first["equity"]) == (second["digest"], second["equity"])


@pytest.mark.parametrize(
    ("file", "command"),
    [
        ("config.json", ("resume", "run")),
        ("run.db", ("resume", "run")),
        ("run.db", ("events", "run")),
        ("registry.sqlite", ("strategies", "--run", "run")),
        ("registry.sqlite", ("policy", "show", "--run", "run")),
        ("registry.sqlite", ("resume", "run")),
        ("analytics.sqlite", ("spc", "--run", "run")),
        ("analytics.sqlite", ("ack", "x", "--reason", "r", "--run", "run")),
        ("analytics.sqlite", ("report", "run")),
    ],
)
def test_a_damaged_file_of_a_run_is_one_line_naming_it(stopped: Terminal, file: str, command: tuple[str, ...]) -> None:
    for each in (stopped.home / "run").glob(f"{file}*"):
        each.write_bytes(b"no such format, but long enough to be looked at as one " * 200)
    assert stopped.qt(*command) in {FAILED, DATA}, stopped.err
    assert file in stopped.err.strip().splitlines()[-1]


def test_a_checkpoint_of_other_code_is_one_line_and_changes_nothing(stopped: Terminal) -> None:
    path = max((stopped.home / "run").glob("checkpoint-*.json"))
    body = json.loads(path.read_bytes().partition(b"\n")[2])
    body["state"]["ledger"] = {"kept": "in another way"}
    text = json.dumps(body).encode()
    written = hashlib.sha256(text).hexdigest().encode() + b"\n" + text + b"\n"
    path.write_bytes(written)
    assert stopped.qt("resume", "run") == DATA
    assert "does not understand its checkpoint" in stopped.complaint()
    assert path.read_bytes() == written


def test_what_is_printed_as_json_is_json_and_nothing_else(stopped: Terminal) -> None:
    for command in ("strategies", "models", "spc"):
        json.loads(stopped.ok(command, "--run", "run", "--json"))
    for command in ("show", "history"):
        json.loads(stopped.ok("policy", command, "--run", "run", "--json"))


class _Garbage(socketserver.BaseRequestHandler):
    """Answers whatever it is asked with no HTTP at all."""

    def handle(self) -> None:
        self.request.recv(65_536)
        self.request.sendall(b"SSH-2.0-not what you hoped for\r\n\x00\xff\r\n\r\n")


@pytest.mark.parametrize("address", ["http://127.0.0.1:{port}/hook", "not an address", "http://127.0.0.1:1/"])
def test_a_webhook_that_is_no_use_is_told_and_changes_nothing(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    short = ("--to", "2000-04-30", "--symbols", "IBM", "--profile", "oracle", "--json")
    alone = terminal.json("replay", *short)
    monkeypatch.setenv("QT_NOTIFY__ATTEMPTS", "1")
    monkeypatch.setenv("QT_NOTIFY__COALESCE_S", "0")
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Garbage) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("QT_DISCORD_WEBHOOK", address.format(port=server.server_address[1]))
        told = terminal.json("replay", *short, "--notify")
        server.shutdown()
    assert (told["equity"], told["fills"]) == (alone["equity"], alone["fills"])
    assert "notices given up: 1 x " in terminal.err
    assert "check QT_DISCORD_WEBHOOK" in terminal.err
    assert "/hook" not in terminal.err + terminal.out
