"""Appends: what several publishers of a process append goes to the server together, and each learns what became of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import accumulate, chain, pairwise
from typing import TYPE_CHECKING, Any

from eventbus.errors import IdConflict, JournalError, OutcomeUnknown, PublishTimeout
from eventbus.journal.remote.gathering import Gathering
from eventbus.journal.remote.storage import NotConnected, Storage
from eventbus.journal.values import Append, Appended

if TYPE_CHECKING:
    from eventbus.journal.remote.arrivals import Arrivals

_MOST = 1_000  # records of one append, where they come from several calls
_MOST_BYTES = 1 << 20
_HINT_S = 0.01  # between two hints that the log has grown


class Appends:
    """One append at a time; the next gathers meanwhile. Tells others that the log has grown, the first at once, then together."""

    def __init__(self, storage: Storage, arrivals: Arrivals) -> None:
        self._storage = storage
        self._arrivals = arrivals
        self._gathering: Gathering[Sequence[Append]] = Gathering(self._run, most=_MOST, size_of=_size)
        self._hinting: asyncio.Task[None] | None = None
        self.records = self.duplicates = self.commits = self.largest = 0

    def submit(self, batch: Sequence[Append]) -> asyncio.Future[Sequence[Appended]]:
        """See `Journal.append`. The future fails with `PublishTimeout` if there was no connection in time: nothing was sent."""
        return self._gathering.submit(batch)

    async def done(self) -> None:
        """Wait until each has its answer; hint no more."""
        await self._gathering.done()
        if self._hinting is not None:
            self._hinting.cancel()
            await asyncio.wait([self._hinting])

    async def _run(self, batches: Sequence[Sequence[Append]]) -> Sequence[Any]:
        """As one; and each for itself where one of them is not all new."""
        batch = [*chain.from_iterable(batches)]
        if not batch:
            return batches
        try:
            new = await self._storage.append(batch)
        except JournalError as error:
            return [self._meaning(each, error) for each in batches]
        if new is None:
            return [await self._carefully(each) for each in batches]
        self._appended(len(batch), new[-1].offset)
        ends = [*accumulate(map(len, batches), initial=0)]
        return [new[first:end] for first, end in pairwise(ends)]

    async def _carefully(self, batch: Sequence[Append]) -> Any:
        if not batch:
            return batch
        try:
            answers = await self._storage.append_carefully(batch)
        except JournalError as error:
            return self._meaning(batch, error)
        fresh = sum(not answer.duplicate for answer in answers)
        self.duplicates += len(answers) - fresh
        self._appended(fresh, max(answer.offset for answer in answers))
        return answers

    def _meaning(self, batch: Sequence[Append], error: JournalError) -> Exception:
        if isinstance(error, NotConnected):
            return PublishTimeout(self._storage.server.timeout_s, error.reason)
        if isinstance(error, OutcomeUnknown) and batch:
            return OutcomeUnknown(batch[0].event_id, error.reason)
        return error

    def _appended(self, records: int, last: int) -> None:
        self.records += records
        self.commits += 1
        self.largest = max(self.largest, records)
        self._arrivals.heard(last)
        if self._hinting is None or self._hinting.done():
            self._hinting = asyncio.get_running_loop().create_task(self._hint())

    async def _hint(self) -> None:
        told = -1
        with suppress(JournalError):  # the others look themselves, if later
            while told < self._arrivals.last:
                told = self._arrivals.last
                await self._storage.hint()
                await asyncio.sleep(_HINT_S)


def told_apart(
    batch: Sequence[Append], known: Mapping[str, tuple[int, str, bytes]], last: int
) -> tuple[list[Appended], list[Append]]:
    """What to answer to an append, and the records in it that are new: they come after `last`.

    `known` has offset, type and body of the ids that are there. Raises `IdConflict`.
    """
    seen, fresh, answers = dict(known), list[Append](), list[Appended]()
    for item in batch:
        offset, type_, body = seen.get(item.event_id, (0, "", b""))
        if offset and (type_, body) != (item.type, item.body):
            raise IdConflict(item.event_id)
        if not offset:
            fresh.append(item)
            seen[item.event_id] = last + len(fresh), item.type, item.body
        answers.append(Appended(offset or last + len(fresh), duplicate=bool(offset)))
    return answers, fresh


def _size(batch: Sequence[Append]) -> int:
    return max(len(batch), sum(len(item.body) for item in batch) * _MOST // _MOST_BYTES)
