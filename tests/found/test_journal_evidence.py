"""The evidence of a journal: file, log and mark. Whatever of it is missing, cut or under another name is noticed and named."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eventbus import JournalDamaged, JournalError, create_event_bus

Cli = Callable[..., tuple[int, str, str]]
Make = Callable[..., Path]


def url(path: Path, **query: object) -> str:
    text = "&".join(f"{name}={value}" for name, value in query.items())
    return f"sqlite:///{path}{'?' if text else ''}{text}"


def part(path: Path, name: str) -> Path:
    return path if name == "db" else path.with_name(f"{path.name}-{name}")


async def numbers(path: Path, **settings: Any) -> list[int]:
    """What a bus on this journal finds in it."""
    async with create_event_bus(f"sqlite:///{path}", **settings) as bus:
        return [event["n"] async for event in bus.replay()]


# --- J1: missing evidence is evidence ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lost",
    [
        ("mark",),
        ("wal",),
        ("db",),
        ("wal", "mark"),
        ("db", "wal"),
        ("db", "mark"),
    ],
    ids="+".join,
)
async def test_what_a_killed_process_left_is_damaged_when_a_file_of_it_is_gone(
    killed: Make, lost: tuple[str, ...]
) -> None:
    path = killed()
    for name in lost:
        part(path, name).unlink()
    with pytest.raises(JournalDamaged):
        await create_event_bus(url(path)).connect()


@pytest.mark.parametrize("lost", [("mark",), ("db",)], ids="+".join)
async def test_a_closed_journal_is_damaged_when_a_file_of_it_is_gone(kept_journal: Path, lost: tuple[str, ...]) -> None:
    for name in lost:
        part(kept_journal, name).unlink()
    with pytest.raises(JournalDamaged):
        await create_event_bus(url(kept_journal)).connect()


@pytest.fixture
def kept_journal(kept: Make) -> Path:
    return kept()


async def test_a_closed_journal_needs_no_log(kept_journal: Path) -> None:
    part(kept_journal, "wal").unlink(missing_ok=True)
    assert await numbers(kept_journal) == list(range(20))


async def test_a_journal_carried_away_without_its_mark_cannot_tell_whether_its_end_is_complete(
    killed: Make, tmp_path: Path
) -> None:
    path = killed().rename(tmp_path / "moved.db")
    with pytest.raises(JournalDamaged, match=r"cannot tell whether the end is complete.*accept-end"):
        await create_event_bus(url(path)).connect()


def test_verify_does_not_call_a_journal_without_its_mark_sound(cli: Cli, killed: Make, tmp_path: Path) -> None:
    path = killed().rename(tmp_path / "moved.db")
    code, printed, complaint = cli("verify", path)
    assert (code, printed) == (1, "")
    assert "cannot tell whether the end is complete" in complaint
    assert "--accept-end" in complaint


@pytest.mark.parametrize(
    "spoil",
    [
        b"",
        b"\0" * 1224,
        b"\xff" * 1224,
        b"EVM1",
    ],
    ids=["emptied", "zeros", "ones", "cut"],
)
async def test_a_mark_that_says_nothing_is_damage(kept_journal: Path, spoil: bytes) -> None:
    part(kept_journal, "mark").write_bytes(spoil)
    with pytest.raises(JournalDamaged):
        await create_event_bus(url(kept_journal)).connect()


def test_repair_accepts_the_end_as_it_is(cli: Cli, killed: Make) -> None:
    path = killed()
    part(path, "mark").unlink()
    code, printed, _ = cli("repair", path, "--accept-end")
    assert code == 0
    assert "20" in printed
    assert cli("verify", path)[0] == 0


async def test_a_bus_told_so_accepts_the_end_as_it_is(killed: Make) -> None:
    path = killed()
    part(path, "mark").unlink()
    assert await numbers(path, accept_end=True) == list(range(20))
    assert await numbers(path) == list(range(20))


async def test_a_bus_told_so_accepts_an_end_that_is_cut(killed: Make, tmp_path: Path) -> None:
    path = killed()
    part(path, "wal").unlink()
    found = await numbers(path, accept_end=True)
    assert found == list(range(len(found)))
    assert await numbers(path) == found


async def test_to_accept_the_end_accepts_no_altered_record(kept_journal: Path) -> None:
    raw = kept_journal.read_bytes()
    at = raw.index(b"told-3")
    kept_journal.write_bytes(raw[:at] + b"T" + raw[at + 1 :])
    with pytest.raises(JournalDamaged):
        await create_event_bus(url(kept_journal, accept_end="true")).connect()


@pytest.mark.parametrize(
    "asked", [{"accept_end": True}, {"allow_damaged": True}, {"accept_end": True, "allow_damaged": True}]
)
async def test_an_altered_record_and_a_missing_mark_are_mended_only_by_allowing_damage(
    kept_journal: Path, asked: dict[str, bool]
) -> None:
    raw = kept_journal.read_bytes()
    at = raw.index(b"told-3")
    kept_journal.write_bytes(raw[:at] + b"T" + raw[at + 1 :])
    part(kept_journal, "mark").unlink()
    if not asked.get("allow_damaged"):
        with pytest.raises(JournalDamaged, match="missing or altered"):
            await create_event_bus(url(kept_journal), **asked).connect()
        return
    assert await numbers(kept_journal, **asked) == [n for n in range(20) if n != 3]
    assert await numbers(kept_journal) == [n for n in range(20) if n != 3]


def test_repair_of_a_sound_journal_changes_nothing(cli: Cli, kept_journal: Path) -> None:
    before = kept_journal.read_bytes(), part(kept_journal, "mark").read_bytes()
    assert cli("repair", kept_journal, "--accept-end")[0] == 0
    assert (kept_journal.read_bytes(), part(kept_journal, "mark").read_bytes()) == before


# --- J2: changed under an open bus ------------------------------------------------------------------------------------


def _cut_file(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _empty_file(path: Path) -> None:
    os.truncate(path, 0)


def _cut_log(path: Path) -> None:
    log = part(path, "wal")
    os.truncate(log, log.stat().st_size // 2)


def _empty_log(path: Path) -> None:
    os.truncate(part(path, "wal"), 0)


def _remove_log(path: Path) -> None:
    part(path, "wal").unlink()


def _write_older_copy(path: Path) -> None:
    shutil.copyfile(path.with_name("older.db"), path)


@pytest.mark.parametrize(
    "act",
    [
        _cut_file,
        _empty_file,
        _cut_log,
        _empty_log,
        _remove_log,
        _write_older_copy,
    ],
    ids=lambda act: act.__name__.strip("_"),
)
async def test_what_is_done_to_the_files_of_an_open_journal_is_noticed_before_the_next_acknowledgement(
    kept_journal: Path, act: Callable[[Path], None]
) -> None:
    shutil.copyfile(kept_journal, kept_journal.with_name("older.db"))
    bus = create_event_bus(url(kept_journal))
    await bus.connect()
    try:
        for n in range(5):
            await bus.publish("told.more", {"n": n})
        act(kept_journal)
        with pytest.raises(JournalError):
            await bus.publish("told.more", {"n": 99})
    finally:
        await bus.shutdown(0)


# --- J15: the file is what counts, not its name -----------------------------------------------------------------------

SECOND = """
import asyncio, sys
from eventbus import JournalError, create_event_bus

async def main():
    try:
        async with create_event_bus("sqlite:///" + sys.argv[1]) as bus:
            await bus.publish("told.by_another")
    except JournalError as error:
        print(type(error).__name__)

asyncio.run(main())
"""


@pytest.mark.parametrize("link", [os.symlink, os.link], ids=["symbolic", "hard"])
async def test_a_second_process_is_refused_whatever_name_it_uses(
    kept_journal: Path, link: Callable[[Path, Path], None]
) -> None:
    other = kept_journal.with_name("other.db")
    async with create_event_bus(url(kept_journal)) as bus:
        link(kept_journal, other)
        second = subprocess.run([sys.executable, "-c", SECOND, str(other)], capture_output=True, text=True, check=False)
        assert second.stdout.strip() in {"JournalInUse", "JournalUnavailable"}
        assert (await bus.publish("told.by_the_first")).offset == 21


def test_a_journal_that_lost_its_end_is_damaged_by_each_of_its_names(cli: Cli, killed: Make, tmp_path: Path) -> None:
    path = killed()
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "link.db"
    link.symlink_to(path)
    part(path, "wal").unlink()
    assert cli("verify", path)[0] == 1
    assert cli("verify", link)[0] == 1


async def test_a_journal_opened_through_a_link_keeps_its_mark_beside_the_file(
    kept_journal: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "link.db"
    link.symlink_to(kept_journal)
    assert await numbers(link) == list(range(20))
    assert [each.name for each in link.parent.iterdir()] == ["link.db"]


async def test_a_link_in_the_folder_of_a_journal_leads_to_it(kept_journal: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").symlink_to(kept_journal.parent)
    assert await numbers(tmp_path / "elsewhere" / kept_journal.name) == list(range(20))
