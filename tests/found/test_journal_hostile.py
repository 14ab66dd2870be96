"""Hostile files and arguments, made by a generator and given to every command: one line and an exit code, never a traceback."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from eventbus import Event, create_event_bus
from eventbus.cli import run
from eventbus.codec import encode
from eventbus.journal.sqlite import SqliteJournal
from eventbus.journal.values import Append, NewDeadLetter, NewQuarantined, Settled

EVERY = {
    "events": ["events", "{path}"],
    "events --json": ["events", "{path}", "--json"],
    "tail": ["tail", "{path}"],
    "replay": ["replay", "{path}"],
    "explain": ["explain", "{path}", "1"],
    "why": ["why", "{path}", "1"],
    "verify": ["verify", "{path}"],
    "verify --json": ["verify", "{path}", "--json"],
    "stats": ["stats", "{path}"],
    "stats --json": ["stats", "{path}", "--json"],
    "quarantine": ["quarantine", "{path}"],
    "types": ["types", "{path}"],
    "diff": ["diff", "{path}", "{sound}"],
    "diff --payload": ["diff", "{sound}", "{path}", "--payload"],
    "dead-letters list": ["dead-letters", "list", "{path}"],
    "dead-letters show": ["dead-letters", "show", "{path}", "1"],
    "dead-letters redrive": ["dead-letters", "redrive", "{path}", "--all"],
    "dead-letters purge": ["dead-letters", "purge", "{path}", "1"],
    "compact": ["compact", "{path}", "--before", "1"],
    "repair": ["repair", "{path}", "--accept-end"],
}


async def _make_sound(path: Path) -> None:
    bus = create_event_bus(f"sqlite:///{path}")

    def fail(event: Event) -> None:
        if event["n"] % 3 == 0:
            raise ValueError("no")

    bus.subscribe("told.*", fail, group="readers", name="readers")
    async with bus:
        for n in range(6):
            await bus.publish(Event("told.n", payload={"n": n, "text": "x" * 50}, event_id=f"told-{n}"))
        await bus.drain(60)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A journal with events, outcomes and dead letters."""
    path = tmp_path_factory.mktemp("sound") / "sound.db"
    asyncio.run(_make_sound(path))
    return path


def faults(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> Iterator[str]:
    """What is wrong about how the command line takes these arguments."""
    capsys.readouterr()
    try:
        code = run(arguments)
    except BaseException as error:  # noqa: BLE001 - that none comes out is what is tested
        yield f"{arguments}: raised {error!r:.200}"
        return
    printed = capsys.readouterr()
    if code not in (0, 1, 2, 3):
        yield f"{arguments}: exit code {code}"
    if code in (2, 3) and not printed.err:
        yield f"{arguments}: exit code {code} without a word"
    if printed.err and (printed.err.count("\n") != 1 or not printed.err.startswith("eventbus: ")):
        yield f"{arguments}: more than one line: {printed.err!r:.200}"
    if "Traceback" in printed.err or "/eventbus/cli/" in printed.out:  # a letter may well tell that of its handler
        yield f"{arguments}: a traceback"


# --- files ------------------------------------------------------------------------------------------------------------

Spoil = Callable[[Path, random.Random], object]


def _cut(path: Path, chance: random.Random) -> None:
    raw = path.read_bytes()
    path.write_bytes(raw[: chance.randrange(len(raw))])


def _cut_at_a_page(path: Path, chance: random.Random) -> None:
    raw = path.read_bytes()
    path.write_bytes(raw[: 8192 * chance.randrange(1, len(raw) // 8192)])


def _flip(path: Path, chance: random.Random) -> None:
    raw = bytearray(path.read_bytes())
    for _ in range(chance.choice((1, 3, 30))):
        raw[chance.randrange(len(raw))] ^= chance.randrange(1, 256)
    path.write_bytes(raw)


def _flip_in_the_first_page(path: Path, chance: random.Random) -> None:
    raw = bytearray(path.read_bytes())
    raw[chance.randrange(16, 8192)] ^= chance.randrange(1, 256)
    path.write_bytes(raw)


def _zeros(path: Path, chance: random.Random) -> None:
    raw = bytearray(path.read_bytes())
    at = chance.randrange(len(raw))
    raw[at : at + 8192] = bytes(len(raw[at : at + 8192]))
    path.write_bytes(raw)


def _noise(path: Path, chance: random.Random) -> None:
    path.write_bytes(chance.randbytes(chance.choice((1, 99, 20_000))))


def _noise_after_the_header(path: Path, chance: random.Random) -> None:
    path.write_bytes(path.read_bytes()[:100] + chance.randbytes(20_000))


def _schema_of_no_text(path: Path, chance: random.Random) -> None:
    """SQLite says what it makes of it by quoting it, and the quotation cannot be decoded."""
    raw = bytearray(path.read_bytes())
    at = raw.index(b"(", raw.index(b"CREATE TABLE outcomes")) + 1
    raw[at : at + 20] = b'"' + b"\xff" * 19
    path.write_bytes(raw)


def _sql(*statements: str) -> Spoil:
    """Change the file with SQLite itself, as somebody with a database browser would."""

    def spoil(path: Path, chance: random.Random) -> None:
        with sqlite3.connect(path, isolation_level=None) as db:
            for statement in statements:
                db.execute(statement)
        db.close()

    return spoil


def _forged(labels: str) -> Spoil:
    """Labels that we never wrote, under the checksum that fits them: whoever knows the format can do that."""

    def spoil(path: Path, chance: random.Random) -> None:
        with sqlite3.connect(path, isolation_level=None) as db:
            db.execute("PRAGMA ignore_check_constraints = 1")
            for offset, id_ in db.execute("SELECT offset, event_id FROM records").fetchall():
                crc = crc32(f"{offset}\0{id_}\0{labels}".encode())
                db.execute("UPDATE records SET labels = ?, crc = ? WHERE offset = ?", (labels, crc, offset))
        db.close()

    return spoil


def _empty(path: Path, chance: random.Random) -> None:
    path.write_bytes(b"")


def _folder(path: Path, chance: random.Random) -> None:
    path.unlink()
    path.mkdir()


def _gone(path: Path, chance: random.Random) -> None:
    path.unlink()


def _dangling(path: Path, chance: random.Random) -> None:
    path.unlink()
    path.symlink_to(path.with_name("nowhere"))


def _circle(path: Path, chance: random.Random) -> None:
    path.unlink()
    path.symlink_to(path)


def _device(path: Path, chance: random.Random) -> None:
    path.unlink()
    path.symlink_to("/dev/null")


def _pipe(path: Path, chance: random.Random) -> None:
    path.unlink()
    os.mkfifo(path)


def _marked_with(content: bytes) -> Spoil:
    def spoil(path: Path, chance: random.Random) -> None:
        path.with_name(path.name + "-mark").write_bytes(content)

    return spoil


def _mark_is_a_folder(path: Path, chance: random.Random) -> None:
    path.with_name(path.name + "-mark").unlink()
    path.with_name(path.name + "-mark").mkdir()


def _log_is(content: bytes) -> Spoil:
    def spoil(path: Path, chance: random.Random) -> None:
        path.with_name(path.name + "-wal").write_bytes(content)

    return spoil


_ONLY_MADE = (
    "DELETE FROM records",
    "DROP TABLE records",
    "DROP TABLE groups",
    "DROP TABLE outcomes",
    "DROP TABLE dead_letters",
    "DROP TABLE quarantine",
    "DROP TABLE small_values",
    "DROP TABLE seals",
    "DROP TABLE owner",
)

FILES: dict[str, Spoil] = {
    "cut": _cut,
    "cut at a page": _cut_at_a_page,
    "flipped": _flip,
    "flipped in the first page": _flip_in_the_first_page,
    "zeros": _zeros,
    "noise": _noise,
    "noise after the header": _noise_after_the_header,
    "schema of no text": _schema_of_no_text,
    "empty": _empty,
    "folder": _folder,
    "gone": _gone,
    "dangling link": _dangling,
    "circle of links": _circle,
    "device": _device,
    "pipe": _pipe,
    "mark emptied": _marked_with(b""),
    "mark of noise": _marked_with(b"\xff" * 1224),
    "mark is a folder": _mark_is_a_folder,
    "log of noise": _log_is(b"\xff" * 9_000),
    "log emptied": _log_is(b""),
    "no tables": _sql(*_ONLY_MADE),
    "no records": _sql("DROP TABLE records"),
    "no seals": _sql("DROP TABLE seals"),
    "seals emptied": _sql("DELETE FROM seals"),
    "no groups": _sql("DROP TABLE groups"),
    "no outcomes": _sql("DROP TABLE outcomes"),
    "no dead letters": _sql("DROP TABLE dead_letters"),
    "no owner": _sql("DROP TABLE owner"),
    "owner emptied": _sql("DELETE FROM owner"),
    "newer schema": _sql("PRAGMA user_version = 99"),
    "older schema": _sql("PRAGMA user_version = 0"),
    "negative schema": _sql("PRAGMA user_version = -1"),
    "not ours": _sql("PRAGMA application_id = 7"),
    "labels are few": _sql("UPDATE records SET labels = '[]' WHERE offset = 1"),
    "forged: no labels": _forged("[]"),
    "forged: a number": _forged("7"),
    "forged: an object": _forged('{"type": 1}'),
    "forged: many labels": _forged('["t", 1, "event", null, 0, null, null, 1, 2]'),
    "forged: a time of text": _forged('["t", 1, "event", null, "0", null, null]'),
    "forged: a type of numbers": _forged('[[1], 1, "event", null, 0, null, null]'),
    "forged: a version of text": _forged('["t", "1", "event", null, 0, null, null]'),
    "forged: an id that is a list": _forged('["t", 1, "event", null, 0, [], {}]'),
    "time is text": _sql("UPDATE records SET labels = json_set(labels, '$[4]', 'soon')"),
    "time beyond the calendar": _sql("UPDATE records SET labels = json_set(labels, '$[4]', 9223372036854775807)"),
    "body emptied": _sql("UPDATE records SET body = x''"),
    "offset beyond": _sql("UPDATE records SET offset = 9223372036854775807 WHERE offset = 6"),
    "offset negative": _sql("UPDATE records SET offset = -5 WHERE offset = 1"),
    "seal beyond": _sql("UPDATE seals SET last = 9223372036854775807 WHERE last = (SELECT max(last) FROM seals)"),
    "digest is short": _sql("UPDATE seals SET digest = x'00'"),
    "group is no progress": _sql("UPDATE groups SET settled = 'x-y', attempts = ':', totals = 'a:b:c'"),
    "letter beyond the calendar": _sql("UPDATE dead_letters SET last_failed_ns = 9223372036854775807"),
    "a view for a table": _sql("DROP TABLE groups", "CREATE VIEW groups AS SELECT 1 AS name, 2 AS floor"),
    "a trigger that raises": _sql("CREATE TRIGGER mine BEFORE INSERT ON owner BEGIN SELECT RAISE(ABORT, 'no'); END"),
}
ROUNDS = {"cut", "cut at a page", "flipped", "flipped in the first page", "zeros", "noise", "noise after the header"}


@pytest.mark.parametrize("name", FILES)
def test_every_command_takes_a_hostile_file(
    tmp_path: Path, sound: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    found: list[str] = []
    for round_ in range(3 if name in ROUNDS else 1):
        for command, arguments in EVERY.items():
            folder = tmp_path / f"{command} {round_}"
            folder.mkdir()
            path = folder / "run.db"
            shutil.copyfile(sound, path)
            shutil.copyfile(f"{sound}-mark", f"{path}-mark")
            FILES[name](path, random.Random(f"{name} {round_}"))
            found += faults([each.format(path=path, sound=sound) for each in arguments], capsys)
    assert found == []


# --- what a journal may hold, made by its own means -------------------------------------------------------------------

ODD = "\x1b[2J\x07\n\r\t\u202e\u2028'\";%s{0}[bold]"
FAR = 2**63 - 1
FIRST_MORNING = datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14)))


async def _keep_odd(path: Path) -> None:
    def record(id_: str, **labels: Any) -> Append:
        plain = Append(id_, "t.n", 1, "event", None, 0, None, None, b"{}")
        return plain._replace(**labels)

    async with SqliteJournal(path) as journal:
        await journal.append(
            [
                record("far", time_ns=FAR),
                record("long ago", time_ns=-FAR),
                record("beyond the calendar", time_ns=10**21),
                record("before the calendar", time_ns=-(10**21)),
                record(
                    "in no year of UTC",
                    body=encode(Event("t.n", event_id="in no year of UTC", timestamp=FIRST_MORNING)),
                ),
                record("", type="", kind="", key=""),
                record(ODD, type=ODD, kind=ODD, key=ODD, correlation_id=ODD, causation_id=ODD),
                record("version", version=FAR),
                record("version below", version=-1),
                record("no utf-8", body=b"\xff\x00\x1b"),
                record("not json", body=b'{"type":"t.n","version":0,"event":}'),
                record("deep", body=b'{"type":"t.n","version":0,"event":' + b"[" * 9_000 + b"]" * 9_000 + b"}"),
                record(
                    "number",
                    body=b'{"type":"t.n","version":0,"event":{"type":"t.n","data":{"n":' + b"9" * 9_000 + b"}}}",
                ),
                record("1", body=b""),
                record("self", correlation_id="self", causation_id="self"),
                record("a", correlation_id="self", causation_id="b"),
                record("b", correlation_id="self", causation_id="a"),
            ]
        )
        await journal.open_group(ODD, "beginning")
        await journal.commit(ODD, [Settled(3, "succeeded", FAR, FAR, FAR), Settled(5, "expired", -1, -FAR, -FAR)])
        letter = NewDeadLetter(ODD, ODD, ODD, None, ODD, ODD, FAR, FAR, -FAR, b"\xff")
        await journal.add_dead_letters(
            [letter, letter._replace(offset=-FAR, last_failed_ns=-FAR, attempts=-1, error="")]
        )
        await journal.add_quarantined(
            [NewQuarantined(None, ODD, FAR, b""), NewQuarantined(-FAR, "", -FAR, b"\xff" * 9)]
        )
        await journal.set_values("latch", {"halt": b"\xff"})


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound journal whose values are at the ends of what they may be, or beyond what anybody expects."""
    path = tmp_path_factory.mktemp("odd") / "odd.db"
    asyncio.run(_keep_odd(path))
    return path


@pytest.mark.parametrize("command", EVERY)
def test_every_command_takes_odd_values_in_a_sound_journal(
    tmp_path: Path, odd: Path, sound: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    path = tmp_path / "run.db"
    shutil.copyfile(odd, path)
    shutil.copyfile(f"{odd}-mark", f"{path}-mark")
    found: list[str] = []
    for number in range(1, 18) if command in ("explain", "why") else [1]:
        arguments = [str(number) if each == "1" else each for each in EVERY[command]]
        found += faults([each.format(path=path, sound=sound) for each in arguments], capsys)
    assert found == []


# --- arguments --------------------------------------------------------------------------------------------------------

HOSTILE = (
    "",
    " ",
    "-1",
    "0",
    "1.5",
    "1e3",
    "٣",
    "²",
    "9" * 20,
    "9" * 5_000,
    "-" + "9" * 5_000,
    "9" * 400 + "d",
    "999999999d",
    "٣d",
    "²d",
    "0s",
    "s",
    "nan",
    "inf",
    "-inf",
    "1e400",
    "0001-01-01",
    "9999-12-31T23:59:59.999999-23:59",
    "0001-01-01T00:00+23:59",
    "2026-13-45",
    "2026-W01-1",
    "2026-01-01T24:00",
    "20260101",
    "[",
    "[!",
    "*" * 2_000,
    "[a-",
    "%s",
    "{0}",
    "'; DROP TABLE records; --",
    "--",
    "-",
    "--json",
    "\0",
    "\x1b[2J",
    "\n",
    "\ud800",
    "\udcff",
    "é" * 3_000,
    "x" * 50_000,
    "told-1\0",
)
OPTIONS: dict[str, list[list[str]]] = {
    "events": [["--since"], ["--until"], ["--type"], ["--limit"]],
    "tail": [["--type"], ["--lines"]],
    "replay": [["--since"], ["--until"], ["--type"], ["--speed"]],
    "explain": [[]],
    "why": [[]],
    "verify": [[]],
    "stats": [[]],
    "quarantine": [[]],
    "types": [[]],
    "diff": [[]],
    "dead-letters list": [["--subscription"], []],
    "dead-letters show": [[]],
    "dead-letters redrive": [["--subscription"], []],
    "dead-letters purge": [["--subscription"], []],
    "groups": [[]],
    "halt": [["--reason"], []],
    "rearm": [["--token"], ["--force", "--reason"], []],
    "compact": [["--before"], ["--max-bytes"]],
    "repair": [["--accept-end"], []],
    "": [[]],
    "dead-letters": [[]],
}

ELSEWHERE = {"serve", "token"}  # they look into no journal that is named first: tests of the gateway try them


@pytest.mark.parametrize("command", OPTIONS)
def test_every_command_takes_hostile_arguments(
    tmp_path: Path, sound: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    path = tmp_path / "run.db"
    shutil.copyfile(sound, path)
    shutil.copyfile(f"{sound}-mark", f"{path}-mark")
    chance = random.Random(command)
    found: list[str] = []
    for option in OPTIONS[command]:
        for value in HOSTILE:
            found += faults([*command.split(), str(path), *option, value], capsys)
    for value in (*HOSTILE, "/", "/dev/null", "."):
        found += faults([*command.split(), value], capsys)
        first = chance.choice((value, str(path)))
        found += faults([*command.split(), first, *chance.choices(HOSTILE, k=chance.randrange(3))], capsys)
    assert found == []


def test_the_generator_knows_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    run(["--help"])
    help_ = capsys.readouterr().out
    run(["dead-letters", "--help"])
    help_ += capsys.readouterr().out
    listed = {line.split()[1] for line in help_.splitlines() if line.startswith("│ ") and line[2].isalpha()}
    known = {word for command in OPTIONS for word in command.split()}
    assert listed - ELSEWHERE == known
