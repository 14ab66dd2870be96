"""Keeper: what survives a restart beside the events: the halt, dead letters, and the wish to deliver some of them again.

Callers do not wait: each change is written in the order it was asked for, logged if that fails, and finished before the
journal is closed. Knows no subscription.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic_core import from_json, to_json

from eventbus.codec import decode, encode
from eventbus.dead_letter import DeadLetter, DeadLetters
from eventbus.errors import CodecError, JournalError
from eventbus.event import Event
from eventbus.journal.protocol import Journal
from eventbus.journal.values import RETAINED, DeadLetterRecord, NewDeadLetter
from eventbus.runtime import log

LATCH = "latch"
"""The space of the halt: its value under `halt` is JSON with `reason` and `token`."""

REDRIVE = "redrive"
"""The space of dead letters that somebody asked to deliver again while no bus ran; the names are their ids."""

_PAGE = 1_000

Change = Callable[[], Awaitable[Any]]


class Keeper:
    """Writes changes beside the records, one after the other, for a bus that does not wait for them."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._loop: asyncio.AbstractEventLoop | None = None
        self._early: list[tuple[Change, str]] = []
        self._writes: set[asyncio.Task[None]] = set()
        self._letter_ids: dict[int, int] = {}  # of dead letters: here -> in the journal
        self.redrive_asked: set[int] = set()  # ids, here, of letters that are to be delivered again

    def write(self, change: Change, failure: str) -> None:
        """Make a change soon; from any thread. Before the journal is open it waits for that."""
        if self._loop is None:
            self._early.append((change, failure))
        elif _running_loop() is self._loop:
            self._start(change, failure)
        else:
            self._loop.call_soon_threadsafe(self._start, change, failure)

    def _start(self, change: Change, failure: str) -> None:
        assert self._loop is not None
        task = self._loop.create_task(_logged(change, failure))
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)

    async def flushed(self) -> None:
        """Wait until every change asked for so far is made, or has failed."""
        while self._writes:
            await asyncio.wait(self._writes)

    def opened(self) -> None:
        """The journal is open: from here on changes are made at once."""
        self._loop = asyncio.get_running_loop()
        for change, failure in self._early:
            self._start(change, failure)
        self._early.clear()

    # --- halt ----------------------------------------------------------------------------------------------------

    async def latch(self) -> tuple[str, str] | None:
        """Reason and token of a halt that an earlier process left."""
        kept = (await self._journal.values(LATCH)).get("halt")
        if kept is None:
            return None
        fields = from_json(kept)
        return fields["reason"], fields["token"]

    def set_latch(self, reason: str | None, token: str) -> None:
        """Keep the halt; without a reason, forget it."""
        value = None if reason is None else to_json({"reason": reason, "token": token})
        self.write(lambda: self._journal.set_values(LATCH, {"halt": value}), "halt not saved in the journal")

    # --- retained events -----------------------------------------------------------------------------------------

    async def retained(self) -> list[Event]:
        """The retained events that earlier processes left, as far as they can be read."""
        events = []
        for raw in (await self._journal.values(RETAINED)).values():
            try:
                events.append(decode(raw))
            except CodecError as error:
                log.error("retained event cannot be read", extra={"error": str(error)})
        return events

    # --- dead letters --------------------------------------------------------------------------------------------

    async def load(self, letters: DeadLetters) -> None:
        """Take in the dead letters that earlier processes left."""
        asked = {int(name) for name in await self._journal.values(REDRIVE)}
        after = 0
        while page := await self._journal.dead_letters(after, _PAGE):
            for kept in page:
                try:
                    event = decode(kept.body)
                except CodecError as error:  # it stays in the journal, for whoever knows its type
                    log.error("dead letter cannot be read", extra={"id": kept.id, "error": str(error)})
                    continue
                letter = letters.add(
                    event,
                    subscription=kept.subscription,
                    reason=kept.reason,
                    error=kept.error,
                    attempts=kept.attempts,
                    first_failed=_moment(kept.first_failed_ns),
                    last_failed=_moment(kept.last_failed_ns),
                )
                self._letter_ids[letter.id] = kept.id
                if kept.id in asked:
                    self.redrive_asked.add(letter.id)
            after = page[-1].id

    def keep(self, letter: DeadLetter) -> None:
        """Keep a dead letter of a delivery that has no group."""

        async def write() -> None:
            (self._letter_ids[letter.id],) = await self._journal.add_dead_letters([as_kept(letter, None)])

        self.write(write, "dead letter not kept in the journal")

    def gone(self, letters: Sequence[DeadLetter], *, redriven: bool) -> None:
        """Letters were delivered again, or purged."""

        async def write() -> None:
            ids = await self._ids_of(letters)
            if redriven:
                await self._journal.mark_redriven(ids)
                await self._journal.set_values(REDRIVE, {str(id_): None for id_ in ids})
            else:
                await self._journal.purge_dead_letters(ids)

        if letters:
            self.write(write, "dead letters not updated in the journal")

    async def _ids_of(self, letters: Sequence[DeadLetter]) -> list[int]:
        """Where letters are in the journal. A group writes its own with its cursor, and learns no ids by that."""
        ids = [self._letter_ids.pop(letter.id) for letter in letters if letter.id in self._letter_ids]
        wanted = (
            {as_kept(letter, None)[:3] + _times(letter) for letter in letters} if len(ids) < len(letters) else set()
        )
        after = 0
        while wanted and (page := await self._journal.dead_letters(after, _PAGE)):
            ids += [kept.id for kept in page if _mark(kept) in wanted and kept.id not in ids]
            after = page[-1].id
        return ids


def as_kept(letter: DeadLetter, offset: int | None) -> NewDeadLetter:
    """A dead letter as a journal keeps it."""
    first_failed_ns, last_failed_ns = _times(letter)
    return NewDeadLetter(
        subscription=letter.subscription,
        event_id=letter.event.event_id,
        type=letter.event.type,
        offset=offset,
        reason=letter.reason,
        error=letter.error,
        attempts=letter.attempts,
        first_failed_ns=first_failed_ns,
        last_failed_ns=last_failed_ns,
        body=encode(letter.event),
    )


def _mark(kept: DeadLetterRecord) -> tuple[str | int, ...]:
    return kept.subscription, kept.event_id, kept.type, kept.first_failed_ns, kept.last_failed_ns


def _times(letter: DeadLetter) -> tuple[int, int]:
    return int(letter.first_failed.timestamp() * 1e9), int(letter.last_failed.timestamp() * 1e9)


def _moment(time_ns: int) -> datetime:
    return datetime.fromtimestamp(time_ns / 1e9, UTC)


async def _logged(change: Change, failure: str) -> None:
    try:
        await change()
    except (JournalError, CodecError) as error:
        log.error(failure, extra={"error": str(error)})


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
