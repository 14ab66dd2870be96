"""Aside: what survives a restart beside the events: the halt, dead letters, and the wish to deliver some of them again.

Changes are written in the order they were asked for. Who cannot wait does not: that is logged if it fails, and finished before the
journal is closed. Knows no subscription.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json, to_json

from eventbus.codec import decode, encode
from eventbus.errors import CodecError, JournalError
from eventbus.journal.values import RETAINED, NewDeadLetter
from eventbus.log import log
from eventbus.outcome import PENDING, Status
from eventbus.road.burst import Burst

if TYPE_CHECKING:
    from eventbus.dead_letter import DeadLetter, DeadLetters
    from eventbus.event import Event
    from eventbus.journal.protocol import Journal
    from eventbus.journal.values import DeadLetterRecord
    from eventbus.outcome import Outcome
    from eventbus.road.part import Delivery, Part

LATCH = "latch"
"""The space of the halt: its value under `halt` is JSON with `reason` and `token`."""

REDRIVE = "redrive"
"""The space of dead letters that somebody asked to deliver again while no bus ran; the names are their ids."""

_PAGE = 1_000

Change = Callable[[], Awaitable[Any]]


class Again(Burst):
    """A dead letter that is delivered again: until it has an outcome it stays in the journal, for the process may die."""

    def __init__(self, burst: Burst, letter: DeadLetter, aside: Aside) -> None:
        super().__init__(burst.events[0], burst.base, burst.hops, burst.number, burst.accepted_ns)
        self._letter = letter
        self._aside = aside

    def passed(self, part: Part, first: int, upto: int, ended: int) -> int:
        if ended and part.outcome(0) is not PENDING and part.outcome(0).status is not Status.CANCELLED:
            self._aside.redriven(self._letter)
        return super().passed(part, first, upto, ended)

    def finished(self, delivery: Delivery, outcome: Outcome, letter: DeadLetter | None) -> int:
        if outcome.status is not Status.CANCELLED:
            self._aside.redriven(self._letter)
        return super().finished(delivery, outcome, letter)


class Aside:
    """Writes changes beside the records, one after the other."""

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
            self._start(_logged(change, failure))
        else:
            self._loop.call_soon_threadsafe(lambda: self._start(_logged(change, failure)))

    async def done(self, change: Change, failure: str) -> None:
        """Make a change, and wait for it. Before the journal is open that is the next one's concern."""
        if self._loop is None:
            self._early.append((change, failure))
        else:
            await asyncio.shield(self._start(_plainly(change)))

    def _start(self, write: Any) -> asyncio.Task[None]:
        assert self._loop is not None
        task: asyncio.Task[None] = self._loop.create_task(write)
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)
        return task

    async def flush(self) -> None:
        """Wait until every change asked for so far is made, or has failed."""
        while self._writes:
            await asyncio.wait(self._writes)

    def opened(self) -> None:
        """The journal is open: from here on changes are made at once."""
        self._loop = asyncio.get_running_loop()
        for change, failure in self._early:
            self._start(_logged(change, failure))
        self._early.clear()

    # --- halt ------------------------------------------------------------------------------------------------------

    async def latch(self) -> tuple[str, str] | None:
        """Reason and token of a halt that an earlier process left."""
        latch = (await self._journal.values(LATCH)).get("halt")
        if latch is None:
            return None
        fields = from_json(latch)
        return fields["reason"], fields["token"]

    def halted(self, reason: str, token: str) -> None:
        """Keep the halt."""
        value = to_json({"reason": reason, "token": token})
        self.write(lambda: self._journal.set_values(LATCH, {"halt": value}), "halt not saved in the journal")

    async def rearmed(self) -> None:
        """Forget it."""
        await self.done(lambda: self._journal.set_values(LATCH, {"halt": None}), "halt not removed from the journal")

    # --- retained events -------------------------------------------------------------------------------------------

    async def retained(self) -> list[Event]:
        """The retained events that earlier processes left, as far as they can be read."""
        events = []
        for raw in (await self._journal.values(RETAINED)).values():
            try:
                events.append(decode(raw))
            except CodecError as error:
                log.error("retained event cannot be read: %s", error, extra={"error": str(error)})
        return events

    # --- dead letters ----------------------------------------------------------------------------------------------

    async def load(self, letters: DeadLetters) -> None:
        """Take in the dead letters that earlier processes left."""
        asked = {int(name) for name in await self._journal.values(REDRIVE)}
        after = 0
        while page := await self._journal.dead_letters(after, _PAGE):
            for record in page:
                try:
                    event = decode(record.body)
                except CodecError as error:  # it stays in the journal, for whoever knows its type
                    log.error(
                        "dead letter %d cannot be read: %s",
                        record.id,
                        error,
                        extra={"id": record.id, "error": str(error)},
                    )
                    continue
                letter = letters.add(
                    event,
                    subscription=record.subscription,
                    reason=record.reason,
                    error=record.error,
                    attempts=record.attempts,
                    first_failed=moment(record.first_failed_ns),
                    last_failed=moment(record.last_failed_ns),
                    is_shelved=True,
                )
                self._letter_ids[letter.id] = record.id
                if record.id in asked:
                    self.redrive_asked.add(letter.id)
            after = page[-1].id

    def redrive(self, letters: DeadLetters) -> None:
        """Deliver again what somebody asked for while no bus ran, where its subscription is there by now."""
        if self.redrive_asked:
            letters.deliver_again([letter for letter in letters if letter.id in self.redrive_asked])
            self.redrive_asked &= {letter.id for letter in letters}

    def keep(self, letter: DeadLetter) -> None:
        """Keep a dead letter of a delivery that has no group."""

        async def write() -> None:
            (self._letter_ids[letter.id],) = await self._journal.add_dead_letters([new_dead_letter(letter, None)])

        self.write(write, "dead letter not kept in the journal")

    def knows(self, letter: DeadLetter) -> None:
        """Its id is that of the journal."""
        self._letter_ids[letter.id] = letter.id

    def again(self, letter: DeadLetter, burst: Burst) -> Again:
        """The burst in which a letter is delivered again."""
        return Again(burst, letter, self)

    def redriven(self, letter: DeadLetter) -> None:
        """It was delivered again, and has its outcome."""

        async def write() -> None:
            ids = await self._ids_of([letter])
            await self._journal.mark_redriven(ids)
            await self._journal.set_values(REDRIVE, {str(id_): None for id_ in ids})

        self.write(write, "dead letter not marked in the journal as delivered again")

    async def purged(self, letters: Sequence[DeadLetter]) -> None:
        """These were thrown away."""

        async def write() -> None:
            await self._journal.purge_dead_letters(await self._ids_of(letters))

        await self.done(write, "dead letters not removed from the journal")

    async def _ids_of(self, letters: Sequence[DeadLetter]) -> list[int]:
        """Where letters are in the journal. A group writes its own with its cursor, and learns no ids by that."""
        ids = [self._letter_ids.pop(letter.id) for letter in letters if letter.id in self._letter_ids]
        wanted = (
            {new_dead_letter(letter, None)[:3] + _times(letter) for letter in letters}
            if len(ids) < len(letters)
            else set()
        )
        after = 0
        while wanted and (page := await self._journal.dead_letters(after, _PAGE)):
            ids += [record.id for record in page if _mark(record) in wanted and record.id not in ids]
            after = page[-1].id
        return ids


def new_dead_letter(letter: DeadLetter, offset: int | None) -> NewDeadLetter:
    """A dead letter as a journal takes it."""
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


def _mark(record: DeadLetterRecord) -> tuple[str | int, ...]:
    return record.subscription, record.event_id, record.type, record.first_failed_ns, record.last_failed_ns


def _times(letter: DeadLetter) -> tuple[int, int]:
    return int(letter.first_failed.timestamp() * 1e9), int(letter.last_failed.timestamp() * 1e9)


def moment(time_ns: int) -> datetime:
    """As a journal keeps it, in UTC."""
    return datetime.fromtimestamp(time_ns / 1e9, UTC)


async def _plainly(change: Change) -> None:
    await change()


async def _logged(change: Change, failure: str) -> None:
    try:
        await change()
    except (JournalError, CodecError) as error:
        log.error("%s: %s", failure, error, extra={"error": str(error)})


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
