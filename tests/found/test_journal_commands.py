"""The command line over journals: whole ids, one record a line, nothing raw on a terminal, and no file changed by looking."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import re
import shlex
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from eventbus import Event, EventBusError, Halted, Kind, create_event_bus

Cli = Callable[..., tuple[int, str, str]]
Make = Callable[..., Path]

TYPE = "a.rather.long.type.name.of.an.event"
LOOKING = {
    "events": "events {path}",
    "tail": "tail {path}",
    "replay": "replay {path}",
    "explain": "explain {path} 1",
    "why": "why {path} 1",
    "verify": "verify {path}",
    "stats": "stats {path}",
    "quarantine": "quarantine {path}",
    "types": "types {path}",
    "diff": "diff {path} {path}",
    "dead-letters list": "dead-letters list {path}",
    "dead-letters show": "dead-letters show {path} 1",
}


def words(command: str, path: Path) -> list[str]:
    return shlex.split(LOOKING[command].format(path=shlex.quote(str(path))))


async def _trade(path: Path, payload: Mapping[str, Any], error: str) -> None:
    """Two events, the second caused by the first and given up by its handler."""
    bus = create_event_bus(f"sqlite:///{path}")

    async def lead(event: Event) -> None:
        await bus.publish(Event(f"{TYPE}.next", payload=dict(payload)))

    def fail(event: Event) -> None:
        raise ValueError(error)

    bus.subscribe(TYPE, lead, group="leader")
    bus.subscribe(f"{TYPE}.next", fail, group="failing", name="failing")
    async with bus:
        await bus.publish(Event(TYPE, payload=dict(payload), event_id="0191b3a0-0000-7000-8000-0123456789ab"))
        await bus.drain(60)


@pytest.fixture
def long(tmp_path: Path) -> Path:
    """A journal whose payloads, types and errors are long."""
    path = tmp_path / "long.db"
    asyncio.run(_trade(path, {"text": "abc " * 500, "n": 1}, "much " * 500))
    return path


# --- J7, J8: long values ----------------------------------------------------------------------------------------------

ID = "0191b3a0-0000-7000-8000-0123456789ab"


@pytest.mark.parametrize("command", ["events", "tail", "replay", "why"])
def test_a_command_that_is_piped_prints_a_record_on_a_line_whole(cli: Cli, long: Path, command: str) -> None:
    code, printed, _ = cli(*words(command, long))
    assert code == 0
    (line,) = [line for line in printed.splitlines() if ID in line]
    assert TYPE in line
    assert "abc " * 500 in line


@pytest.mark.parametrize("command", ["explain", "types", "dead-letters list", "dead-letters show"])
def test_a_command_that_is_piped_prints_each_value_whole(cli: Cli, long: Path, command: str) -> None:
    _, printed, _ = cli(*words(command, long))
    assert f"{TYPE}.next" in printed or TYPE in printed
    assert "…" not in printed
    if command != "types":
        assert any("abc " * 499 in line or "much " * 400 in line for line in printed.splitlines())


@pytest.mark.parametrize("command", ["events", "tail", "diff"])
def test_a_table_that_is_piped_has_a_line_for_each_record(cli: Cli, kept: Make, command: str) -> None:
    events = [Event(TYPE, payload={"n": n, "text": "abc\ndef " * 100}) for n in range(3)]
    path = kept(events)
    other = kept([*events[:2], Event(TYPE, payload={"n": 7, "text": "abc\ndef " * 100})], name="other.db")
    arguments = ["diff", path, other] if command == "diff" else words(command, path)
    _, printed, _ = cli(*arguments)
    assert len(printed.splitlines()) == 4


@pytest.mark.parametrize("columns", [pytest.param(80, id="80"), pytest.param(120, id="120"), pytest.param(40, id="40")])
@pytest.mark.parametrize("command", ["events", "tail"])
def test_on_a_terminal_the_payload_gives_way_and_never_an_id_or_a_type(long: Path, command: str, columns: int) -> None:
    shown = on_a_terminal(words(command, long), columns).replace("\r\n", "\n")
    assert ID in shown
    assert f"{TYPE}.next" in shown
    assert "abc " * 500 not in shown


def test_on_a_terminal_that_is_wide_enough_for_ids_each_event_is_one_line(long: Path) -> None:
    for command in ("events", "why"):
        lines = on_a_terminal(words(command, long), 160).splitlines()
        assert sum(ID in line for line in lines) == 1
        assert not any(line.lstrip("│└─ ").startswith("abc") for line in lines)


def test_on_a_terminal_that_is_wide_enough_a_short_payload_is_whole(kept: Make) -> None:
    path = kept([Event("told.n", payload={"n": 12345}, event_id=ID)])
    shown = on_a_terminal(words("events", path), 200)
    assert ID in shown
    assert "n=12345" in shown


def on_a_terminal(arguments: list[str], columns: int, term: str = "xterm") -> str:
    """What the installed command writes to a terminal of this width."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    command = [sys.executable, "-c", "from eventbus.cli import main; main()", *arguments]
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, env=environment | {"TERM": term}):
        os.close(theirs)
        shown = b""
        while True:
            try:
                shown += os.read(ours, 65536)
            except OSError:  # the other side is closed
                break
    os.close(ours)
    return shown.decode()


def test_a_terminal_that_knows_no_codes_is_written_none(long: Path) -> None:
    assert "\x1b" not in on_a_terminal(["events", str(long)], 80, "dumb")
    assert "\x1b" in on_a_terminal(["events", str(long)], 80)


def test_json_is_one_value_a_line_whatever_is_in_it(cli: Cli, long: Path) -> None:
    for command in LOOKING:
        code, printed, _ = cli(*words(command, long), "--json")
        assert code == 0
        assert all(line.startswith("{") and line.endswith("}") for line in printed.splitlines())


# --- J9: what every command line has ----------------------------------------------------------------------------------


def test_the_version_is_told(cli: Cli) -> None:
    code, printed, _ = cli("--version")
    assert code == 0
    assert version("quantum-trader") in printed


@pytest.mark.parametrize(
    "command",
    [pytest.param(name, id=name or "alone") for name in ["", "events", "dead-letters", "dead-letters list", "verify"]],
)
def test_h_is_short_for_help(cli: Cli, command: str) -> None:
    code, printed, _ = cli(*command.split(), "-h")
    assert code == 0
    assert "--help" in printed


# What each shell asks, as its script says that the program prints, and what the shell makes of the answer for "ev".
SHELLS: dict[str, tuple[Callable[[str], dict[str, str]], str]] = {
    "bash": (lambda name: {"COMP_WORDS": f"{name} ev", "COMP_CWORD": "1"}, r"events"),
    "zsh": (lambda name: {"_TYPER_COMPLETE_ARGS": f"{name} ev"}, r"""_arguments '\*: :\(\("events":"[^"]+"\)\)'"""),
    "fish": (
        lambda name: {"_TYPER_COMPLETE_ARGS": f"{name} ev", "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
        r"events\t[^\n]+",
    ),
}


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(("name", "module"), [("eventbus", "eventbus.cli"), ("qt", "quantum_trader.cli")])
def test_a_shell_completes_commands(
    name: str, module: str, shell: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asks, answer = SHELLS[shell]

    def told(**environment: str) -> str:
        with monkeypatch.context() as patch:
            for key, value in environment.items():
                patch.setenv(key, value)
            with pytest.raises(SystemExit) as ended:
                import_module(module).main([])
        assert ended.value.code == 0
        return capsys.readouterr().out

    variable = f"_{name.upper()}_COMPLETE"
    assert re.fullmatch(answer, told(**{variable: f"complete_{shell}"}, **asks(name)).strip())
    script = told(**{variable: f"source_{shell}"})
    for word in (f"{variable}=complete_{shell}", *asks(name)):
        assert word in script


def test_completion_can_be_installed(cli: Cli) -> None:
    assert "--install-completion" in cli("--help")[1]


# --- J10: bytes that are no text --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param("explain {path} \udcff", id="explain"),
        pytest.param("why {path} \udcff", id="why"),
        pytest.param("events {path} --type \udcff", id="events"),
        pytest.param("tail {path} --type \udcff", id="tail"),
        pytest.param("replay {path} --since \udcff", id="replay"),
        pytest.param("dead-letters list {path} --subscription \udcff", id="dead-letters list"),
        pytest.param("dead-letters purge {path} --subscription \udcff", id="dead-letters purge"),
        pytest.param("dead-letters redrive {path} --subscription \udcff", id="dead-letters redrive"),
    ],
)
def test_an_argument_that_is_no_text_is_refused_at_the_command(cli: Cli, kept: Make, arguments: str) -> None:
    path = kept(3)
    code, printed, complaint = cli(*(each.format(path=path) for each in arguments.split(" ")))
    assert (code, printed) == (2, "")
    assert complaint.startswith("eventbus: ")
    assert complaint.count("\n") == 1
    complaint.encode()


async def test_a_file_whose_name_is_no_text_is_opened_and_named(tmp_path: Path, cli: Cli) -> None:
    path = tmp_path / "odd\udcff.db"
    code, _, complaint = cli("events", path)
    assert code == 3
    complaint.encode()


async def test_a_halt_whose_reason_is_no_text_is_refused_or_survives(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'run.db'}"
    async with create_event_bus(url) as bus:
        try:
            bus.halt("drawdown \udcff")
        except EventBusError:
            assert not bus.is_halted
            return
    async with create_event_bus(url) as bus:
        with pytest.raises(Halted):
            await bus.publish(Filled())


class Filled(Event, type="j10.filled", kind=Kind.EXECUTION):
    """What is refused while halted."""


# --- J12: nothing raw on a terminal -----------------------------------------------------------------------------------

RAW = "\x1b[2J\x1b]0;title\x07 \x9b31m \x7f \r over \u202e back \x00"


def raw_in(text: str) -> set[str]:
    """Characters in it that a terminal would act on."""
    return {each for each in text if not each.isprintable()} - {"\n"}


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """A journal with terminal controls in payloads, names and errors."""
    path = tmp_path / "raw.db"
    asyncio.run(_trade(path, {"text": RAW, RAW: {"deep": [RAW]}}, RAW))
    return path


@pytest.mark.parametrize(
    "command",
    [
        "events",
        "tail",
        "replay",
        "explain",
        "why",
        "stats",
        "types",
        "dead-letters list",
        "dead-letters show",
    ],
)
def test_control_characters_are_shown_escaped(cli: Cli, raw: Path, command: str) -> None:
    code, printed, _ = cli(*words(command, raw))
    assert code == 0
    assert raw_in(printed) == set()
    if command not in ("stats", "types", "dead-letters show", "dead-letters list"):
        assert r"\x1b[2J" in printed


@pytest.mark.parametrize(
    "command",
    ["events", "tail", "replay", "explain", "why", "dead-letters list", "dead-letters show"],
)
def test_control_characters_are_escaped_in_json(cli: Cli, raw: Path, command: str) -> None:
    _, printed, _ = cli(*words(command, raw), "--json")
    assert raw_in(printed) == set()


def test_control_characters_in_keys_ids_sources_and_metadata_are_shown_escaped(cli: Cli, kept: Make) -> None:
    path = kept([Event("told.n", payload={"n": 1}, event_id=f"id{RAW}", source=RAW, metadata={RAW: RAW})])
    for command in ("events", "tail", "replay", "explain", "why"):
        _, printed, _ = cli(*words(command, path))
        assert raw_in(printed) == set()


def test_control_characters_in_a_diff_are_shown_escaped(cli: Cli, kept: Make) -> None:
    path = kept([Event("told.n", payload={"text": RAW})])
    other = kept([Event("told.n", payload={"text": RAW})], name="other.db")
    _, printed, _ = cli("diff", path, other)
    assert raw_in(printed) == set()


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["events", "no\x07.db"], id="file"),
        pytest.param(["why", "{path}", "\x07"], id="event"),
        pytest.param(["\x07"], id="command"),
    ],
)
def test_control_characters_in_a_complaint_are_shown_escaped(cli: Cli, kept: Make, arguments: list[str]) -> None:
    path = kept(1)
    _, _, complaint = cli(*(each.format(path=path) for each in arguments))
    assert raw_in(complaint) == set()
    assert complaint.count("\n") == 1


# --- J13: looking changes nothing -------------------------------------------------------------------------------------

NO_CHANGE = {
    **LOOKING,
    "purge of nothing": "dead-letters purge {path} 77",
    "redrive of nothing": "dead-letters redrive {path} 77",
    "purge of nobody": "dead-letters purge {path} -s nobody",
    "redrive of nobody": "dead-letters redrive {path} -s nobody",
    "purge of what": "dead-letters purge {path}",
    "purge of one that is there and one that is not": "dead-letters purge {path} 1 77",
}


def state(path: Path) -> dict[str, bytes]:
    """The file and all that stands beside it, but for the index that SQLite keeps of a log while it is read."""
    return {
        each.name: each.read_bytes() for each in path.parent.iterdir() if each.is_file() and "-shm" not in each.name
    }


@pytest.mark.parametrize("name", list(NO_CHANGE))
def test_a_command_that_changes_nothing_leaves_a_closed_journal_as_it_was(cli: Cli, long: Path, name: str) -> None:
    before = state(long)
    cli(*shlex.split(NO_CHANGE[name].format(path=long)))
    assert state(long) == before


@pytest.mark.parametrize("name", [*LOOKING, *(name for name in NO_CHANGE if name not in LOOKING)])
def test_a_command_that_changes_nothing_leaves_what_a_killed_process_left(cli: Cli, killed: Make, name: str) -> None:
    path = killed()
    before = state(path)
    cli(*shlex.split(NO_CHANGE[name].format(path=path)))
    assert state(path) == before


def test_a_redrive_asked_twice_changes_nothing_the_second_time(cli: Cli, long: Path) -> None:
    assert cli("dead-letters", "redrive", long, "1")[0] == 0
    before = state(long)
    assert cli("dead-letters", "redrive", long, "1")[0] == 0
    assert state(long) == before


# --- streams ---------------------------------------------------------------------------------------------------------

PROGRAMS = {
    name: [sys.executable, "-c", f"from {package}.cli import main; main()"]
    for name, package in (("eventbus", "eventbus"), ("qt", "quantum_trader"))
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_reader_that_has_seen_enough_is_no_failure(name: str) -> None:
    """As in `eventbus events run.db | head`, where a script has `set -o pipefail`."""
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run([*PROGRAMS[name], "--help"], stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (0, b"")


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_closed_output_is_no_failure(name: str, kept: Make, tmp_path: Path) -> None:
    """As under a supervisor that opens none; a file of ours must not take its place either."""
    arguments = ["events", str(kept(3))] if name == "eventbus" else ["data", "list"]
    command = shlex.join([*PROGRAMS[name], *arguments])
    ended = subprocess.run(["sh", "-c", f"{command} >&-"], stderr=subprocess.PIPE, cwd=tmp_path, check=False)
    assert (ended.returncode, ended.stderr) == (0, b"")
