"""The file beside a journal: one owner, and a mark of which one slot survives anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from eventbus.errors import JournalInUse
from eventbus.journal.sqlite.guard import NO_MARK, Guard, Mark, read_mark, side_file
from eventbus.journal.sqlite.integrity import GENESIS, Seal


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.db"


def seal(commits: int) -> Seal:
    return Seal(10 * commits, commits, GENESIS, 0)


def test_the_newest_mark_is_found_again(path: Path) -> None:
    guard = Guard(path)
    assert guard.acquire("me") == NO_MARK
    for commits in range(1, 6):
        guard.note(seal(commits))
        assert read_mark(path) == Mark(commits, 10 * commits, GENESIS)
    guard.release()
    again = Guard(path)
    assert again.acquire("me").commits == 5
    again.release()


@pytest.mark.parametrize("at", [0, 512])
def test_a_torn_slot_leaves_the_other(path: Path, at: int) -> None:
    guard = Guard(path)
    guard.acquire("me")
    guard.note(seal(1))
    guard.note(seal(2))
    guard.release()
    content = bytearray(side_file(path).read_bytes())
    content[at + 6] ^= 1
    side_file(path).write_bytes(content)
    assert read_mark(path).commits == (1 if at == 0 else 2)


@pytest.mark.parametrize("size", range(0, 1_200, 61))
def test_a_short_file_is_a_weak_witness_never_a_false_one(path: Path, size: int) -> None:
    guard = Guard(path)
    guard.acquire("me")
    guard.note(seal(1))
    guard.note(seal(2))
    guard.release()
    side_file(path).write_bytes(side_file(path).read_bytes()[:size])
    assert read_mark(path).commits in {0, 1, 2}


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


def test_another_file_under_the_name_is_not_the_same(path: Path) -> None:
    guard = Guard(path)
    path.write_bytes(b"one")
    guard.watch()
    assert guard.is_same_file()
    path.with_name("two").write_bytes(b"one")
    path.with_name("two").replace(path)
    assert not guard.is_same_file()
    path.unlink()
    assert not guard.is_same_file()
