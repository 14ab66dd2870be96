"""The file beside a journal: one owner, and a mark of which one slot survives anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from eventbus.errors import JournalInUse
from eventbus.journal.sqlite.guard import NEW, Guard, Mark, Meddling, read_mark
from eventbus.journal.sqlite.integrity import GENESIS, Seal
from eventbus.journal.sqlite.place import log_file, mark_file


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.db"


def seal(commits: int) -> Seal:
    return Seal(10 * commits, commits, GENESIS, 0)


def test_the_newest_mark_is_found_again(path: Path) -> None:
    guard = Guard(path)
    assert guard.acquire("me") is None
    for commits in range(1, 6):
        guard.note(seal(commits))
        assert read_mark(path) == Mark(commits, 10 * commits, GENESIS)
    guard.release()
    again = Guard(path)
    assert again.acquire("me") == Mark(5, 50, GENESIS)
    again.release()


@pytest.mark.parametrize("at", [0, 512])
def test_a_torn_slot_leaves_the_other(path: Path, at: int) -> None:
    guard = Guard(path)
    guard.acquire("me")
    guard.note(seal(1))
    guard.note(seal(2))
    guard.release()
    content = bytearray(mark_file(path).read_bytes())
    content[at + 6] ^= 1
    mark_file(path).write_bytes(content)
    commits = 1 if at == 0 else 2
    assert read_mark(path) == Mark(commits, 10 * commits, GENESIS)


@pytest.mark.parametrize("size", range(0, 1_200, 61))
def test_a_short_file_is_a_weak_witness_never_a_false_one(path: Path, size: int) -> None:
    guard = Guard(path)
    guard.acquire("me")
    guard.note(seal(1))
    guard.note(seal(2))
    guard.release()
    mark_file(path).write_bytes(mark_file(path).read_bytes()[:size])
    mark = read_mark(path)
    assert mark is None or mark.commits in {1, 2}


def test_the_owner_is_named_to_the_next(path: Path) -> None:
    guard, other = Guard(path), Guard(path)
    guard.acquire("process 7 on here")
    with pytest.raises(JournalInUse) as refusal:
        other.acquire("me")
    assert refusal.value.owner == "process 7 on here"
    guard.release()
    guard.release()
    other.acquire("me")
    other.release()


def test_a_new_mark_says_that_nothing_was_written_yet(path: Path) -> None:
    guard = Guard(path)
    guard.acquire("me")
    guard.note(seal(7))
    guard.begin(seal(0))
    assert read_mark(path) == NEW
    guard.release()


def test_a_mark_that_nothing_came_of_is_withdrawn(path: Path) -> None:
    guard = Guard(path)
    guard.acquire("me")
    guard.withdraw()
    assert not mark_file(path).exists()
    guard = Guard(path)
    guard.acquire("me")
    guard.begin(seal(0))
    guard.withdraw()
    assert mark_file(path).exists()


def test_another_file_under_the_name_is_noticed(path: Path) -> None:
    guard = Guard(path)
    path.write_bytes(b"one")
    guard.watch()
    assert guard.meddling() is None
    path.with_name("two").write_bytes(b"one")
    path.with_name("two").replace(path)
    assert guard.meddling() is Meddling.GONE
    path.unlink()
    assert guard.meddling() is Meddling.GONE


def test_a_file_that_was_written_and_a_log_that_was_cut_are_noticed(path: Path) -> None:
    guard = Guard(path)
    path.write_bytes(b"one")
    log_file(path).write_bytes(b"one")
    guard.watch()
    log_file(path).write_bytes(b"longer")  # by a commit
    assert guard.meddling() is None
    guard.watch_log()
    log_file(path).write_bytes(b"short")
    assert guard.meddling() is Meddling.CUT
    path.write_bytes(b"other")
    assert guard.meddling() is Meddling.CHANGED
