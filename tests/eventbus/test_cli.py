"""The command line over real journal files: tables for people, JSON for programs, one line and an exit code for what is wrong."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from base64 import b64decode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from eventbus import Event, InMemoryEventBus, create_event_bus
from eventbus.cli import run
from eventbus.cli.render import duration, place, size
from eventbus.durability.journaled import Journaled
from eventbus.journal.sqlite import SqliteJournal, SqliteReader
from eventbus.journal.values import Append
from eventbus.testing.recorder import Recorder

Run = Callable[..., tuple[int, list[str], str]]
DAY = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Four bars with what they led to, one dead letter, one record that cannot be read."""
    path = tmp_path / "run.db"
    asyncio.run(_trade(path))
    return path


async def _trade(path: Path) -> None:
    journal = SqliteJournal(path)
    bus = InMemoryEventBus(store=Journaled(journal))

    async def signal(bar: Event) -> None:
        await bus.publish(Event("signal.raised", payload={"n": bar["n"]}))

    async def order(cause: Event) -> None:
        if cause["n"] == 2:
            raise ValueError("no such symbol")
        await bus.publish("order.requested", {"n": cause["n"], "size": "100"})

    bus.subscribe("bar.closed", signal, group="alpha")
    bus.subscribe("signal.*", order, group="trader")
    async with bus:
        for n in range(4):
            await bus.publish(
                Event("bar.closed", timestamp=DAY + timedelta(days=n), payload={"n": n}, event_id=f"bar-{n}")
            )
            await bus.drain()
        bad = Append("bad-1", "odd.thing", 9, "event", None, 0, None, None, b"\xff\x00")
        await journal.append([bad])
        await bus.drain()


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command: its exit code, the lines it printed, what it complained of."""

    def call(*arguments: object) -> tuple[int, list[str], str]:
        code = run([str(each) for each in arguments])
        printed = capsys.readouterr()
        return code, printed.out.splitlines(), printed.err

    return call


def parsed(lines: list[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines]


def test_events_are_listed_as_a_table_and_as_json(cli: Run, path: Path) -> None:
    code, lines, _ = cli("events", path)
    assert code == 0
    assert lines[0].split() == ["offset", "time", "type", "key", "event", "payload"]
    assert lines[1].split() == ["1", "2026-01-01", "00:00:00.000Z", "bar.closed", "bar-0", "n=0"]
    assert "(cannot be read)" in lines[-1]
    _, lines, _ = cli("events", path, "--json")
    rows = parsed(lines)
    assert [row["offset"] for row in rows] == list(range(1, 13))
    assert rows[0]["payload"] == {"n": 0}
    assert rows[1]["causation_id"] == "bar-0"
    assert rows[-1]["payload"] is None
    assert rows[-1]["unreadable"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["-t", "bar.*"], ["bar-0", "bar-1", "bar-2", "bar-3"]),
        (["-t", "bar.*", "--since", "2026-01-02"], ["bar-1", "bar-2", "bar-3"]),
        (["-t", "bar.*", "--since", "2026-01-02T00:00+00:00", "--until", "2026-01-03"], ["bar-1", "bar-2"]),
        (["-t", "bar.*", "--since", "4", "--until", "8"], ["bar-1", "bar-2"]),
        (["-t", "bar.*", "-t", "odd.*", "-n", "2"], ["bar-0", "bar-1"]),
        (["-t", "none.*"], []),
    ],
)
def test_events_are_chosen_by_type_place_and_number(
    cli: Run, path: Path, options: list[str], expected: list[str]
) -> None:
    for command in ("events", "replay"):
        if command == "replay" and "-n" in options:
            continue
        code, lines, _ = cli(command, path, *options, "--json")
        assert code == 0
        assert [row["event_id"] for row in parsed(lines)] == expected
    assert cli("events", path, "-t", "none.*")[1] == ["no such events"]


def test_a_journal_is_named_by_its_file_or_by_its_url(cli: Run, path: Path) -> None:
    assert cli("events", f"sqlite:///{path}", "--json") == cli("events", path, "--json")
    assert cli("diff", path, f"sqlite:///{path}")[0] == 0
    assert cli("compact", f"sqlite:///{path}")[0] == 0
    code, _, complaint = cli("events", "nosuch:///run.db")
    assert code == 2
    assert complaint.startswith("eventbus: unknown backend 'nosuch': available are ")
    assert complaint.endswith(", sqlite\n")


def test_tail_shows_the_newest(cli: Run, path: Path) -> None:
    assert [row["offset"] for row in parsed(cli("tail", path, "-n", "3", "--json")[1])] == [10, 11, 12]
    assert [row["event_id"] for row in parsed(cli("tail", path, "-n", "2", "-t", "bar.*", "--json")[1])] == [
        "bar-2",
        "bar-3",
    ]
    assert len(cli("tail", path)[1]) == 11
    assert cli("tail", path, "-n", "0")[1] == ["no such events"]


def test_why_draws_the_tree_from_any_event_of_it(cli: Run, path: Path) -> None:
    for name in ("bar-3", "9", "11"):
        code, lines, _ = cli("why", path, name)
        assert code == 0
        drawn = [line for line in lines if line.startswith("bar") or "──" in line]
        assert drawn[0].startswith("bar.closed  bar-3  2026-01-04")
        assert drawn[1].startswith("└── signal.raised")
        assert drawn[2].startswith("    └── order.requested")
        assert "  alpha: succeeded, waited" in lines[1]
    rows = parsed(cli("why", path, "11", "--json")[1])
    assert [(row["depth"], row["type"], row["asked"]) for row in rows] == [
        (0, "bar.closed", False),
        (1, "signal.raised", False),
        (2, "order.requested", True),
    ]
    assert rows[1]["handled"][0]["subscription"] == "trader"


def test_explain_tells_cause_effects_and_handling(cli: Run, path: Path) -> None:
    (row,) = parsed(cli("explain", path, "2", "--json")[1])
    assert (row["cause"], row["type"], row["payload"]) == ("bar-0", "signal.raised", {"n": 0})
    assert len(row["effects"]) == 1
    assert [each["group"] for each in row["handled"]] == ["alpha", "trader"] or row["handled"][0]["group"] == "trader"
    _, lines, _ = cli("explain", path, "2")
    assert any(line.startswith("cause") and "bar-0 (bar.closed)" in line for line in lines)
    assert any(line.startswith("handled by trader") and "succeeded, 1 attempt" in line for line in lines)


def test_an_event_is_found_by_the_beginning_of_its_id_if_that_is_enough(cli: Run, path: Path) -> None:
    assert cli("explain", path, "bad")[0] == 0
    code, _, complaint = cli("explain", path, "bar-")
    assert (code, complaint) == (1, "eventbus: 4 events begin with 'bar-': give more of the id\n")
    for nobody in ("nobody", "99", "0"):
        code, _, complaint = cli("why", path, nobody)
        assert code == 1
        assert complaint.startswith(f"eventbus: no event '{nobody}'")


def test_stats_and_types_count_what_is_there(cli: Run, path: Path) -> None:
    (stats,) = parsed(cli("stats", path, "--json")[1])
    assert (stats["first"], stats["last"], stats["dead_letters"], stats["quarantined"]) == (1, 12, 1, 1)
    groups = {group["group"]: group for group in stats["groups"]}
    assert groups["trader"]["totals"]["dead_lettered"] == 1
    assert {group["behind"] for group in groups.values()} == {0}
    _, lines, _ = cli("stats", path)
    assert any(line.split()[:3] == ["trader", "12", "0"] for line in lines)
    rows = {row["type"]: row for row in parsed(cli("types", path, "--json")[1])}
    assert {name: row["count"] for name, row in rows.items()} == {
        "bar.closed": 4,
        "signal.raised": 4,
        "order.requested": 3,
        "odd.thing": 1,
    }
    assert rows["odd.thing"]["versions"] == [9]
    assert len(cli("types", path)[1]) == 5


def test_dead_letters_are_listed_shown_and_purged(cli: Run, path: Path) -> None:
    _, lines, _ = cli("dead-letters", "list", path)
    assert "ValueError: no such symbol" in lines[1]
    (row,) = parsed(cli("dead-letters", "show", path, "1", "--json")[1])
    assert (row["payload"], row["attempts"], row["redrive_asked"]) == ({"n": 2}, 1, False)
    assert any(line.split() == ["payload.n", "2"] for line in cli("dead-letters", "show", path, "1")[1])
    assert cli("dead-letters", "list", path, "-s", "alpha")[1] == ["no dead letters"]
    assert cli("dead-letters", "show", path, "2")[0] == 1
    assert cli("dead-letters", "purge", path)[0] == 2
    assert cli("dead-letters", "purge", path, "7")[0] == 1
    assert cli("dead-letters", "purge", path, "-s", "trader")[1] == ["1 removed"]
    assert cli("dead-letters", "list", path)[1] == ["no dead letters"]


def test_a_dead_letter_redriven_from_outside_is_delivered_by_the_next_bus(cli: Run, path: Path) -> None:
    assert cli("dead-letters", "redrive", path, "1")[0] == 0
    (row,) = parsed(cli("dead-letters", "list", path, "--json")[1])
    assert row["redrive_asked"]
    recorder = Recorder()

    async def live() -> None:
        bus = create_event_bus(f"sqlite:///{path}")
        bus.subscribe("signal.*", recorder, group="trader")
        async with bus:
            assert await bus.drain(60)
            assert bus.dead_letters.count() == 0

    asyncio.run(live())
    assert recorder.values("n") == [2]
    assert cli("dead-letters", "list", path)[1] == ["no dead letters"]
    (row,) = parsed(cli("dead-letters", "list", path, "--redriven", "--json")[1])
    assert (row["redriven"], row["redrive_asked"]) == (True, False)


def test_verify_says_sound_or_names_the_damage(cli: Run, path: Path) -> None:
    assert cli("verify", path)[1][0].startswith("sound: 12 records, offsets 1 to 12, digest ")
    raw = path.read_bytes()
    at = raw.index(b"bar.closed")
    path.write_bytes(raw[:at] + b"B" + raw[at + 1 :])
    code, _, complaint = cli("verify", path)
    assert code == 1
    assert "is damaged" in complaint
    assert complaint.count("\n") == 1
    code, lines, _ = cli("verify", path, "--json")
    (found,) = parsed(lines)
    assert (code, found["sound"], found["expected"]) == (1, False, 12)


def test_the_quarantine_is_listed_with_its_bytes(cli: Run, path: Path) -> None:
    (item,) = parsed(cli("quarantine", path, "--json")[1])
    assert (item["offset"], item["reason"]) == (12, "not an event: the bytes end early")
    with SqliteReader(path) as reader:
        (record,) = reader.read(11, 1)
    assert b64decode(item["raw_base64"]) == record.body
    assert "the bytes end early" in "\n".join(cli("quarantine", path)[1])


def test_compact_removes_the_old_but_nothing_unread(cli: Run, path: Path) -> None:
    asyncio.run(_new_group(path, "late", 3))
    (done,) = parsed(cli("compact", path, "--before", "2026-02-01", "--json")[1])
    assert done["removed"] <= 3
    (done,) = parsed(cli("compact", path, "--before", "8", "--force", "--json")[1])
    assert done["overtaken"] == ["late"]
    assert cli("events", path, "--since", "1")[0] == 1
    assert parsed(cli("events", path, "--json")[1])[0]["offset"] == done["first"]
    assert cli("compact", path)[0] == 0


async def _new_group(path: Path, name: str, floor: int) -> None:
    async with SqliteJournal(path) as journal:
        await journal.open_group(name, floor)


def test_diff_names_the_first_event_where_two_journals_part(cli: Run, path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    assert cli("diff", path, path)[:2] == (0, ["the same: 12 events"])
    asyncio.run(_trade(other))
    code, lines, _ = cli("diff", path, other)
    assert code == 1
    assert lines[0] == "they part after 1 equal events:"
    assert cli("diff", path, other, "--payload")[:2] == (0, ["the same: 12 events"])
    asyncio.run(_publish(other))
    (found,) = parsed(cli("diff", path, other, "--payload", "--json")[1])
    assert (found["same"], found["events"], found["a"], found["b"]["type"]) == (False, 12, None, "one.more")
    assert "ends here" in cli("diff", path, other, "--payload")[1][2]


async def _publish(path: Path, count: int = 1) -> None:
    async with create_event_bus(f"sqlite:///{path}") as bus:
        await bus.publish_many([Event("one.more") for _ in range(count)])


def test_a_live_journal_is_read_beside_its_writer_and_not_changed(cli: Run, path: Path) -> None:
    async def live() -> None:
        async with create_event_bus(f"sqlite:///{path}") as bus:
            await bus.publish("one.more", {"n": 1})
            assert parsed(cli("tail", path, "-n", "1", "--json")[1])[0]["type"] == "one.more"
            assert cli("verify", path)[0] == 0
            code, _, complaint = await asyncio.to_thread(cli, "dead-letters", "purge", path, "--all")
            assert code == 3
            assert "in use by process" in complaint
            await bus.publish("one.more", {"n": 2})

    asyncio.run(live())
    assert cli("events", path, "-t", "one.more", "--json")[1][1:]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["nosuch"], 2),
        (["events"], 2),
        (["events", "{path}", "--since", "soon"], 2),
        (["events", "{path}", "--limit", "0"], 2),
        (["events", "{path}", "--nosuch"], 2),
        (["tail", "/nowhere/run.db"], 3),
        (["compact", "/nowhere/run.db"], 3),
        (["diff", "{path}", "/nowhere/run.db"], 3),
        (["stats", __file__], 3),
        (["verify", "/"], 3),
    ],
)
def test_what_is_wrong_is_one_line_and_an_exit_code(cli: Run, path: Path, arguments: list[str], code: int) -> None:
    given = [each.format(path=path) for each in arguments]
    assert cli(*given)[0] == code
    _, _, complaint = cli(*given)
    assert complaint.startswith("eventbus: ")
    assert complaint.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["serve", "--bus", "memory://", "--port", "99999"], ["'--port'", "eventbus serve --help"]),
        (["tail", "{path}", "-n", "x"], ["'--lines'", "eventbus tail --help"]),
        (["dead-letters", "show", "{path}", "x"], ["'letter_id'", "eventbus dead-letters show --help"]),
        (["tail"], ["'journal'", "eventbus tail --help"]),
    ],
)
def test_the_option_that_is_wrong_is_named(cli: Run, path: Path, arguments: list[str], names: list[str]) -> None:
    _, _, complaint = cli(*(each.format(path=path) for each in arguments))
    assert all(name in complaint for name in names)


@pytest.mark.parametrize("chosen", [[], ["--type", "one.*"]])
def test_the_installed_command_follows_a_journal_and_ends_with_its_reader(path: Path, chosen: list[str]) -> None:
    program = "from eventbus.cli import main; main()"
    command = [sys.executable, "-c", program, "tail", str(path), "-f", "--json", "-n", "1", *chosen]
    asyncio.run(_publish(path))
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ) as tail:
        assert tail.stdout is not None
        assert tail.stderr is not None
        assert json.loads(tail.stdout.readline())["offset"] == 13
        asyncio.run(_publish(path, 2_500))
        assert [json.loads(tail.stdout.readline())["offset"] for _ in range(2_500)] == list(range(14, 2_514))
        tail.terminate()
        assert tail.stderr.read() == ""


def test_help_names_every_command(cli: Run) -> None:
    _, lines, _ = cli("--help")
    text = "\n".join(lines)
    for command in [
        "tail",
        "events",
        "explain",
        "why",
        "replay",
        "verify",
        "dead-letters",
        "stats",
        "compact",
        "types",
        "diff",
        "quarantine",
        "repair",
    ]:
        assert f" {command} " in text


def test_units_are_for_people() -> None:
    assert [duration(each) for each in (5e-6, 0.0123, 2.5, 7200, 200_000)] == [
        "5 us",
        "12.3 ms",
        "2.5 s",
        "2 h",
        "2.31 d",
    ]
    assert [size(each) for each in (5, 2048, 5 << 20, 3 << 30)] == ["5 bytes", "2.0 KiB", "5.0 MiB", "3.0 GiB"]
    assert place("15m", DAY) == DAY - timedelta(minutes=15)
    assert place("2026-01-01", DAY) == DAY
    assert place("12", DAY) == 12
