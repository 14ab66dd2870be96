"""Hostile arguments and files, made up for every command that there is: one line, an exit code, and nothing left half made.

Commands are read off `qt` itself, so a new one is tried the day it comes.
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer

from eventbus import Event
from quantum_trader.cli import app, run
from quantum_trader.events import (
    AcknowledgeRequestedEvent,
    CharacteristicRequestedEvent,
    KillSwitchRequestedEvent,
    PolicyOverrideRequestedEvent,
)
from quantum_trader.model import KillMode, RiskMode
from quantum_trader.runs.inbox import Inbox
from quantum_trader.snapshot import event_values

if TYPE_CHECKING:
    from tests.quantum_trader.conftest import Terminal

pytestmark = pytest.mark.slow

TRIES = 8  # of each command
CODES = {0, 1, 2, 3, 4}
ESCAPE = "\x1b[31mred\x1b]0;title\x07\x9b2J"

VALUES = (
    *("", " ", "-", "=", "x=y", "nope", "nan", "inf", "-inf", "-1", "1e400", "9" * 5_000, "x" * 3_000, "\u0661\u0662"),
    *(ESCAPE, "[bold]x[/nope]", "{0}%s%n", "\u202etxt", "two\nlines", "tab\there", "\udcff", "a\udc80b"),
    *("0001-01-01", "9999-12-31", "10000-01-01", "2008-02-30", "2008-01-01T25:00", "-5", "0", "999999999999999999999"),
    *(
        "file",
        "folder",
        "run",
        "../..",
        "/dev/null",
        "/proc/self/mem",
        "no\x1b[2Jrun",
        "run/run.db",
        "'; DROP TABLE x; --",
    ),
)
# What keeps a try short, where a command would rightly do a lot of work; and what would rightly never end.
SHORT = {
    "demo": ("--to", "2000-03-20", "--symbols", "IBM"),
    "replay": ("--to", "2000-03-20", "--symbols", "IBM"),
    "resume": ("--until-session", "1"),
    "bench": ("--bars", "5"),
    "oracle check": ("unasked",),
}
LEFT_OUT = {"--follow", "--demo-data", "--help", "--speed", "--notify"}


def commands(group: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every command with its name as it is typed."""
    group = group or typer.main.get_command(app)
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
            if command.invoke_without_command:
                yield " ".join((*path, name)), command
        else:
            yield " ".join((*path, name)), command


ALL = dict(commands())


def hostile(name: str, command: Any, dice: random.Random) -> list[str]:
    """A command line that somebody might type who has had a bad day."""
    line = [*name.split(), *SHORT.get(name, ())]
    for parameter in command.params:
        option = parameter.opts[0]
        if option in LEFT_OUT or option in line:
            continue
        if parameter.param_type_name == "argument":
            if dice.random() < 0.9:
                line.append(dice.choice(VALUES))
        elif dice.random() < (0.9 if parameter.required else 0.35):
            line += [option] if parameter.is_flag else [option, dice.choice(VALUES)]
    return line


def is_one_line(terminal: Terminal) -> None:
    """What was complained is one line that a terminal shows as it is, and what was printed moves no cursor."""
    assert len(terminal.err.splitlines()) <= 1 or not any(
        line.startswith("qt: ") for line in terminal.err.splitlines()[:-1]
    )
    assert all(line.isprintable() for line in terminal.err.split("\n")), terminal.err
    assert all(line.isprintable() for line in terminal.out.split("\n")), terminal.out
    assert max(map(len, terminal.err.split("\n"))) < 2_000


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped on its way."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    assert run(("replay", "--to", "2000-12-31", "--output", str(folder), "--until-session", "120")) == 0
    return folder


@pytest.fixture
def stopped(terminal: Terminal, original: Path) -> Terminal:
    shutil.copytree(original, terminal.home / "run")
    (terminal.home / "file").write_bytes(b"\x00\xff\x1b[31m no format at all")
    (terminal.home / "folder").mkdir()
    return terminal


@pytest.mark.parametrize("name", sorted(ALL.keys() - {"serve"}))  # which, understood, serves until it is told to end
def test_hostile_arguments_are_one_line(stopped: Terminal, name: str) -> None:
    dice = random.Random(name)
    for _ in range(TRIES):
        line = hostile(name, ALL[name], dice)
        code = stopped.qt(*line)
        assert code in CODES, line
        is_one_line(stopped)
        if code:
            assert stopped.err.splitlines()[-1].startswith("qt: "), line


def test_every_command_is_tried() -> None:
    assert len(ALL) >= 30
    assert {"demo", "spc add", "data import", "spc", "policy set"} <= ALL.keys()


def nested(_: bytes) -> bytes:
    return b"[" * 100_000


def flipped(content: bytes) -> bytes:
    """Some bytes of it are others."""
    dice, damaged = random.Random(len(content)), bytearray(content)
    for _ in range(20):
        damaged[dice.randrange(len(damaged))] ^= 0xFF
    return bytes(damaged)


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "half": lambda content: content[: len(content) // 2],
    "garbage": lambda _: ESCAPE.encode() * 300,
    "flipped": flipped,
    "nested": nested,
    "another shape": lambda _: b'{"a": [1, 1e999, null, "\\ud800"]}',
    "a number": lambda _: b"9" * 5_000,
}
FILES = ("config.json", "run.db", "registry.sqlite", "analytics.sqlite", "policy.json", "killswitch.json", "checkpoint")
LOOKING = (
    *(("verify", "run"), ("diff", "run", "run"), ("events", "run"), ("events", "run", "--symbol", "IBM", "--json")),
    *(("why", "x"), ("report", "run"), ("strategies",), ("models",), ("spc",), ("spc", "--open"), ("policy", "show")),
    *(
        ("policy", "history"),
        ("kill", "show"),
        ("ack", "x", "--reason", "r"),
        ("resume", "run", "--until-session", "121"),
    ),
    ("spc", "rebase", "x", "--reason", "r"),
)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", FILES)
def test_hostile_files_are_one_line(stopped: Terminal, file: str, damage: str) -> None:
    found = sorted((stopped.home / "run").glob(f"{file}*"))
    content = max((each.read_bytes() for each in found), key=len, default=b"x" * 100)
    for each in found or [stopped.home / "run" / file]:
        each.write_bytes(DAMAGES[damage](content or b"x"))
    for command in random.Random(f"{file} {damage}").sample(LOOKING, 4):
        assert stopped.qt(*about_the_run(command)) in CODES, command
        assert "Traceback" not in stopped.err
        assert all(line.isprintable() for line in stopped.err.split("\n")), stopped.err


def about_the_run(command: tuple[str, ...]) -> tuple[str, ...]:
    return command if "run" in command else (*command, "--run", "run")


def contents(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and not file.name.endswith(("-shm", "-wal"))  # SQLite makes them where it reads too
    }


def test_looking_changes_no_byte(stopped: Terminal) -> None:
    (stopped.home / "run" / "commands").mkdir()
    (stopped.home / "run" / "commands" / "1.json").write_text("no command")
    before = contents(stopped.home)
    for command in LOOKING:
        if command[0] != "resume":
            stopped.qt(*about_the_run(command))
            assert contents(stopped.home) == before, command


def test_bytes_that_are_no_text_are_refused_at_the_command(stopped: Terminal) -> None:
    assert stopped.qt("kill", "halt", "--run", "run", "--reason", "caf\udce9") == 2
    assert "'caf\\udce9' is no text: it holds bytes that are no UTF-8" in stopped.complaint()
    assert not (stopped.home / "run" / "commands").exists()


def test_a_name_of_a_user_that_is_no_text_is_no_reason_to_fail(
    stopped: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QT_NOTIFY__USERNAME", "caf\udce9")
    assert stopped.qt("config", "check") == 2
    assert "QT_NOTIFY__USERNAME: holds bytes that are no UTF-8" in stopped.complaint()


NO_TEXT = "a reason that is no text"
ENDLESS = "endless numbers"


def commanded() -> dict[str, Event]:
    """Commands that no run can apply, as somebody else's program may leave them."""
    chart: dict[str, Any] = {"user": "u", "reason": "r"}
    return {
        NO_TEXT: KillSwitchRequestedEvent(mode=KillMode.HALT, reason="cafe", actor="a", latch=True, force=True),
        "an unknown chart": CharacteristicRequestedEvent(action="edit", name="nope", settings={"rules": [1]}, **chart),
        "settings of no use": CharacteristicRequestedEvent(action="add", name="x", settings={"type": []}, **chart),
        ENDLESS: CharacteristicRequestedEvent(
            action="add", name="y", settings={"type": "imr", "baseline": 50, "rules": [1]}, **chart
        ),
        "an unknown violation": AcknowledgeRequestedEvent(violation_id="nope", user="u", reason=ESCAPE),
        "a word": PolicyOverrideRequestedEvent(risk_mode=RiskMode.DEFENSIVE, reason=ESCAPE, actor="\x00"),
    }


@pytest.mark.parametrize(
    "what", [each if each in (NO_TEXT, ENDLESS) else pytest.param(each, marks=pytest.mark.long) for each in commanded()]
)
def test_a_command_that_a_run_cannot_apply_does_not_end_it(stopped: Terminal, what: str) -> None:
    command = commanded()[what]
    inbox = stopped.home / "run" / "commands"
    inbox.mkdir()
    values = event_values(command) or {}
    if what == NO_TEXT:
        values["event"]["reason"] = "caf\udce9"
    elif what == ENDLESS:
        values["event"]["settings"]["baseline"] = float("inf")
    (inbox / f"{command.event_id}.json").write_text(json.dumps(values))
    stopped.ok("resume", "run", "--until-session", "125")
    stopped.ok("resume", "run", "--until-session", "130")
    assert list(Inbox(inbox).waiting()) == []
    if what == NO_TEXT:
        (said,) = map(json.loads, (inbox / "refused.jsonl").read_text().splitlines())
        assert said["file"] == f"{command.event_id}.json"
        assert (inbox / f"{command.event_id}.refused").is_file()
    stopped.json("resume", "run", "--json")
