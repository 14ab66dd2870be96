"""Cursors: the progress of groups and parts, kept here between commits and written to the server under token and revision.

Each write says the revision that it replaces. So one that was given up, and comes to the server after all, changes nothing that came
after it. Knows no server: a `Shelf` has the rows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from enum import Enum, auto
from typing import Any, NamedTuple, Protocol

from eventbus.errors import JournalUnavailable, LeaseLost
from eventbus.journal.progress import GroupProgress
from eventbus.journal.remote.gathering import Gathering
from eventbus.journal.values import NewDeadLetter, NewQuarantined, Settled, Status

_STATUSES = frozenset(Status)
_MOST = 8_000  # deliveries in one write, so that nobody waits long behind it


class Row(NamedTuple):
    """A cursor as it is kept: see `GroupProgress.fields`."""

    name: str
    revision: int
    floor: int
    settled: str
    attempts: str
    totals: str

    def progress(self) -> GroupProgress:
        """What it says."""
        return GroupProgress.from_fields(self.name, *self[2:])


class Write(NamedTuple):
    """A cursor to be kept in place of revision `row.revision`, if `token` still holds its lease; 0 asks for no lease."""

    row: Row
    token: int
    outcomes: Sequence[Settled]
    dead: Sequence[NewDeadLetter]
    quarantined: Sequence[NewQuarantined]


class Verdict(Enum):
    """What became of a write."""

    WRITTEN = auto()
    LOST = auto()  # the lease: nothing was changed
    OUTDATED = auto()  # another revision is there: nothing was changed


class Shelf(Protocol):
    """Where the rows are. Raises `JournalUnavailable` when nothing was changed, anything else when that cannot be told."""

    async def fetch(self, names: Collection[str] | None) -> Sequence[Row]:
        """The rows of these cursors, as far as there are any, or all."""
        ...

    async def write(self, writes: Sequence[Write]) -> Sequence[Verdict]:
        """Keep each of these with all that belongs to it, or nothing of it."""
        ...


class Attempts(NamedTuple):
    """Attempts that begin: see `Journal.record_attempts`."""

    name: str
    token: int
    offsets: Sequence[int]


class Commit(NamedTuple):
    """See `Journal.commit`."""

    name: str
    token: int
    settled: Sequence[Settled] = ()
    skip: Sequence[tuple[int, int]] = ()
    dead: Sequence[NewDeadLetter] = ()
    quarantined: Sequence[NewQuarantined] = ()


class Cursors:
    """Applies attempts and commits in their order, and writes what they come to: one write at a time, the next gathers meanwhile."""

    def __init__(self, shelf: Shelf, newest: Callable[[], int]) -> None:
        self._shelf = shelf
        self._newest = newest
        self._known: dict[str, _CachedCursor] = {}
        self._unsure: dict[
            tuple[str, int], dict[int, int]
        ] = {}  # counts that a write without an answer would have made
        self._jobs: Gathering[Attempts | Commit] = Gathering(self._run, most=_MOST, size_of=_size)
        self.stale = 0

    def submit(self, job: Attempts | Commit) -> asyncio.Future[Any]:
        """Do this: the future gets the counts of attempts, or the floor.

        It fails with `LeaseLost`, with `ValueError` for what is not in the log, with `LookupError` for a cursor that is not there.
        """
        return self._jobs.submit(job)

    def forget(self, name: str | None = None) -> None:
        """This cursor, or each, may be another one by now: look at it again before it is written."""
        if name is None:
            self._known.clear()
        else:
            self._known.pop(name, None)

    async def clamp(self, last: int) -> None:
        """The log ends at `last`, and whoever was beyond goes on from there."""
        writes = []
        for row in await self._shelf.fetch(None):
            progress = row.progress()
            if progress.clamp(last):
                writes.append(Write(Row(row.name, row.revision, *progress.fields()), 0, (), (), ()))
        if writes:
            await self._shelf.write(writes)
        self.forget()

    async def done(self) -> None:
        """Wait until everything asked for has its answer."""
        await self._jobs.done()

    async def _run(self, jobs: Sequence[Attempts | Commit]) -> Sequence[Any]:
        answers: list[Any] = [None] * len(jobs)
        left = [*range(len(jobs))]
        while left:
            try:
                verdicts = await self._write([jobs[at] for at in left], answers, left)
            except Exception as error:  # noqa: BLE001 - for those it was about; others have their answers
                for at in left:
                    answers[at] = error
                break
            for at in left:
                if verdicts.get(jobs[at].name) is Verdict.LOST:
                    self.stale += isinstance(jobs[at], Commit)
                    answers[at] = LeaseLost(jobs[at].name, jobs[at].token)
            left = [at for at in left if verdicts.get(jobs[at].name) is Verdict.OUTDATED]
        return answers

    async def _write(
        self, jobs: Sequence[Attempts | Commit], answers: list[Any], places: Sequence[int]
    ) -> dict[str, Verdict]:
        """Apply the jobs, write what that comes to, and give what became of each cursor."""
        names = {job.name for job in jobs}
        try:
            if strange := names - self._known.keys():
                self._known.update((row.name, _CachedCursor(row)) for row in await self._shelf.fetch(strange))
            for at, job in zip(places, jobs, strict=True):
                answers[at] = self._apply(job)
            touched = [cursor for name in names if (cursor := self._known.get(name)) is not None and cursor.is_touched]
            verdicts = await self._shelf.write([cursor.as_write() for cursor in touched]) if touched else ()
        except BaseException as error:
            for name in names:
                cursor = self._known.pop(name, None)
                if cursor is not None and not isinstance(error, JournalUnavailable):
                    self._unsure.setdefault((name, cursor.token), {}).update(cursor.begun)
            raise
        for cursor, verdict in zip(touched, verdicts, strict=True):
            if verdict is Verdict.WRITTEN:
                self.stale += cursor.written()
            else:
                self.forget(cursor.name)
        return {cursor.name: verdict for cursor, verdict in zip(touched, verdicts, strict=True)}

    def _apply(self, job: Attempts | Commit) -> Any:
        """The answer to a job, should it be written; or why it is refused, and then it changed nothing."""
        cursor = self._known.get(job.name)
        if cursor is None:
            return LookupError(f"group {job.name!r} is not known to this journal: open_group() makes it")
        if job.token and cursor.token > job.token:
            return LeaseLost(job.name, job.token)  # tokens only grow
        if strange := self._strange(job):
            return strange
        cursor.touch(job.token)
        if isinstance(job, Commit):
            return cursor.settle(job)
        unsure = self._unsure.get((job.name, cursor.token), {})
        return cursor.begin(job.offsets, {offset: unsure.pop(offset, 0) for offset in job.offsets} if unsure else {})

    def _strange(self, job: Attempts | Commit) -> ValueError | None:
        """What such a job says and cannot."""
        newest, spans = self._newest(), list[tuple[int, int]]()
        if isinstance(job, Attempts):
            offsets: Sequence[int] = job.offsets
        else:
            offsets, spans = [delivery.offset for delivery in job.settled], [*job.skip]
            if strange := {delivery.status for delivery in job.settled} - _STATUSES:
                return ValueError(f"status {strange.pop()!r} is none of {', '.join(Status)}")
        if offsets:
            spans += [(least := min(offsets), least), (most := max(offsets), most)]
        for first, last in spans:
            if first < 0 or last < first or last > newest:
                return ValueError(f"offsets {first} to {last} are not in this journal, which ends at {newest}")
        return None


class _CachedCursor:
    """One cursor as it is known here, and what the write under way says besides."""

    def __init__(self, row: Row) -> None:
        self.name = row.name
        self.token = 0
        self._revision = row.revision
        self._progress = row.progress()
        self._clear()

    def _clear(self) -> None:
        self.is_touched = False
        self._fence = 0
        self.begun: dict[int, int] = {}
        self._again = 0
        self._outcomes: list[Settled] = []
        self._dead: list[NewDeadLetter] = []
        self._quarantined: list[NewQuarantined] = []

    def touch(self, token: int) -> None:
        """It is to be written, by who has this token."""
        self.token = max(self.token, token)
        self._fence = max(self._fence, token)
        self.is_touched = True

    def begin(self, offsets: Sequence[int], unsure: dict[int, int]) -> dict[int, int]:
        """Count an attempt for each, unless it has the count already that a write would have made whose answer was lost."""
        known = {
            offset: count for offset, count in unsure.items() if count and self._progress.attempts(offset) == count
        }
        counts = self._progress.begin([offset for offset in offsets if offset not in known])
        self.begun |= counts | known
        return counts | known

    def settle(self, job: Commit) -> int:
        """See `Journal.commit`. A delivery that was settled before brings no second dead letter."""
        fresh = self._progress.settle(job.settled)
        self._progress.skip(job.skip)
        self._again += len(job.settled) - len(fresh)
        self._outcomes += fresh
        if job.dead or job.quarantined:
            settled_now = {None, *(delivery.offset for delivery in fresh)}
            self._dead += [letter.capped() for letter in job.dead if letter.offset in settled_now]
            self._quarantined += [item.capped() for item in job.quarantined if item.offset in settled_now]
        return self._progress.floor

    def as_write(self) -> Write:
        """What is to be written."""
        row = Row(self.name, self._revision, *self._progress.fields())
        return Write(row, self._fence, self._outcomes, self._dead, self._quarantined)

    def written(self) -> int:
        """It was; gives how many deliveries had been settled before."""
        again, self._revision = self._again, self._revision + 1
        self._clear()
        return again


def _size(job: Attempts | Commit) -> int:
    return len(job.offsets) if isinstance(job, Attempts) else len(job.settled) + len(job.dead) + len(job.quarantined)
