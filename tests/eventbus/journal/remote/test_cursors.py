"""Cursors kept here between commits: what is written, what a lost answer means, and what comes too late."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

import pytest

from eventbus.errors import JournalUnavailable, LeaseLost, OutcomeUnknown
from eventbus.journal.remote.cursors import Attempts, Commit, Cursors, Row, Verdict, Write
from eventbus.journal.values import Settled


class Shelf:
    """Rows in memory. `answers` says for each write to come what its caller hears: None is the truth."""

    def __init__(self) -> None:
        self.rows = {name: Row(name, 1, 0, "", "", "") for name in ("g/0", "g/1")}
        self.holders = {"g/0": 5, "g/1": 5}
        self.answers: list[Exception | None] = []
        self.late: list[Sequence[Write]] = []  # sent and given up: they may still arrive
        self.writes: list[Sequence[Write]] = []

    async def fetch(self, names: Collection[str] | None) -> Sequence[Row]:
        return [row for name, row in self.rows.items() if names is None or name in names]

    async def write(self, writes: Sequence[Write]) -> Sequence[Verdict]:
        self.writes.append(writes)
        error = self.answers.pop(0) if self.answers else None
        if isinstance(error, JournalUnavailable):
            raise error
        if error is not None and str(error).startswith("event late"):
            self.late.append(writes)
            raise error
        verdicts = [self.take(write) for write in writes]
        if error is not None:
            raise error
        return verdicts

    def take(self, write: Write) -> Verdict:
        there = self.rows[write.row.name]
        if write.token and self.holders[there.name] != write.token:
            return Verdict.LOST
        if write.row.revision != there.revision:
            return Verdict.OUTDATED
        self.rows[there.name] = write.row._replace(revision=there.revision + 1)
        return Verdict.WRITTEN


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def cursors(shelf: Shelf) -> Cursors:
    return Cursors(shelf, lambda: 100)


async def test_what_comes_in_one_turn_is_one_write(shelf: Shelf, cursors: Cursors) -> None:
    jobs: list[Attempts | Commit] = [
        Attempts("g/0", 5, [1, 2]),
        Commit("g/1", 5, [Settled(1)]),
        Commit("g/0", 5, [Settled(1)]),
    ]
    assert await asyncio.gather(*map(cursors.submit, jobs)) == [{1: 1, 2: 1}, 1, 1]
    assert [sorted(write.row.name for write in writes) for writes in shelf.writes] == [["g/0", "g/1"]]
    assert shelf.rows["g/0"].attempts == "2-2:1"


@pytest.mark.parametrize("is_late", [False, True])
async def test_attempts_whose_answer_was_lost_count_once(shelf: Shelf, cursors: Cursors, is_late: bool) -> None:
    await cursors.submit(Attempts("g/0", 5, [1]))
    shelf.answers = [OutcomeUnknown("late" if is_late else "lost", "the connection broke")]
    with pytest.raises(OutcomeUnknown):
        await cursors.submit(Attempts("g/0", 5, [1, 2]))
    assert await cursors.submit(Attempts("g/0", 5, [1, 2, 3])) == {1: 2, 2: 1, 3: 1}
    assert await cursors.submit(Attempts("g/0", 5, [1])) == {1: 3}


async def test_a_lost_answer_that_is_lost_again_counts_once(shelf: Shelf, cursors: Cursors) -> None:
    shelf.answers = [OutcomeUnknown("lost", "once"), OutcomeUnknown("lost", "twice")]
    for _ in range(2):
        with pytest.raises(OutcomeUnknown):
            await cursors.submit(Attempts("g/0", 5, [1]))
    assert await cursors.submit(Attempts("g/0", 5, [1])) == {1: 1}


async def test_a_write_that_was_given_up_changes_nothing_when_it_comes(shelf: Shelf, cursors: Cursors) -> None:
    shelf.answers = [OutcomeUnknown("late", "no answer")]
    with pytest.raises(OutcomeUnknown):
        await cursors.submit(Commit("g/0", 5, [Settled(1)]))
    assert await cursors.submit(Commit("g/0", 5, [Settled(1), Settled(2)])) == 2
    assert [shelf.take(write) for write in shelf.late[0]] == [Verdict.OUTDATED]
    assert shelf.rows["g/0"].floor == 2


async def test_a_write_that_comes_in_between_is_looked_at_again(shelf: Shelf, cursors: Cursors) -> None:
    shelf.answers = [OutcomeUnknown("late", "no answer")]
    with pytest.raises(OutcomeUnknown):
        await cursors.submit(Commit("g/0", 5, [Settled(1)]))
    await cursors.submit(Commit("g/1", 5, [Settled(1)]))
    assert [shelf.take(write) for write in shelf.late[0]] == [Verdict.WRITTEN]
    assert await cursors.submit(Commit("g/0", 5, [Settled(1), Settled(2)])) == 2
    assert cursors.stale == 1  # the first was settled before


async def test_a_failure_is_of_those_it_was_about_and_changes_nothing(shelf: Shelf, cursors: Cursors) -> None:
    shelf.answers = [JournalUnavailable("there", "disk full")]
    refused = [cursors.submit(Commit("g/0", 5, [Settled(1)])), cursors.submit(Commit("g/0", 5, [Settled(101)]))]
    answers = await asyncio.gather(*refused, return_exceptions=True)
    assert all(isinstance(answer, JournalUnavailable) for answer in answers)
    assert await cursors.submit(Commit("g/0", 5, [Settled(2)])) == 0


async def test_a_lost_lease_is_told_to_each_and_others_stand(shelf: Shelf, cursors: Cursors) -> None:
    shelf.holders["g/0"] = 6
    jobs: list[Attempts | Commit] = [
        Commit("g/0", 5, [Settled(1)]),
        Attempts("g/0", 5, [2]),
        Commit("g/1", 5, [Settled(1)]),
    ]
    first, second, third = await asyncio.gather(*map(cursors.submit, jobs), return_exceptions=True)
    assert isinstance(first, LeaseLost)
    assert isinstance(second, LeaseLost)
    assert third == 1
    assert cursors.stale == 1
    assert shelf.rows["g/0"] == Row("g/0", 1, 0, "", "", "")


async def test_a_token_that_was_followed_by_another_is_refused_unasked(shelf: Shelf, cursors: Cursors) -> None:
    shelf.holders["g/0"] = 6
    await cursors.submit(Commit("g/0", 6, [Settled(1)]))
    writes = len(shelf.writes)
    with pytest.raises(LeaseLost):
        await cursors.submit(Commit("g/0", 5, [Settled(2)]))
    assert len(shelf.writes) == writes


async def test_cursors_beyond_the_end_go_back_to_it(shelf: Shelf, cursors: Cursors) -> None:
    shelf.rows["g/0"] = Row("g/0", 3, 7, "9-12", "8-8:1 11-11:2", "succeeded:7")
    await cursors.clamp(10)
    assert shelf.rows["g/0"][:5] == ("g/0", 4, 7, "9-10", "8-8:1")
    await cursors.clamp(5)
    assert shelf.rows["g/0"][:5] == ("g/0", 5, 5, "", "")
    assert shelf.rows["g/1"].revision == 1
