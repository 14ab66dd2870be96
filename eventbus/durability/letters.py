"""Letters: the dead letters of a journal that processes share: listed where they are kept, delivered again by whoever may.

Who asks for a redrive may have no such subscription: the wish is kept beside the letter, and the process that has its subscription,
and for a group its part, claims it. Two who ask: one delivery.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from eventbus.bounds import callable_with
from eventbus.codec import decode
from eventbus.dead_letter import DeadLetter, DeadLetters
from eventbus.durability.aside import REDRIVE, moment
from eventbus.durability.leases import CONTROL
from eventbus.errors import CodecError, ValueChanged
from eventbus.log import log

if TYPE_CHECKING:
    from eventbus.durability.aside import Aside
    from eventbus.durability.leases import Leases
    from eventbus.event import Event
    from eventbus.failure import Failure
    from eventbus.journal.shared import SharedJournal
    from eventbus.journal.values import DeadLetterRecord

_PAGE = 1_000
_ASKED = b"1"


class SharedLetters(DeadLetters):
    """`list`, `redrive` and `purge` are about all of them, whoever gave them up; `count` is what this process saw last."""

    def __init__(
        self, redrive: Callable[[DeadLetter], bool], journal: SharedJournal, aside: Callable[[], Aside]
    ) -> None:
        super().__init__(redrive)
        self._deliver = redrive
        self._journal = journal
        self._aside = aside
        self._count = 0

    def count(self) -> int:
        return self._count

    def add(
        self,
        event: Event,
        *,
        subscription: str,
        reason: str,
        error: str | Failure,
        attempts: int,
        first_failed: datetime,
        last_failed: datetime,
        is_shelved: bool = False,
    ) -> DeadLetter:
        letter = super().add(
            event,
            subscription=subscription,
            reason=reason,
            error=error,
            attempts=attempts,
            first_failed=first_failed,
            last_failed=last_failed,
            is_shelved=True,
        )
        self._forget([letter])  # it is kept in the journal
        self._count += 1
        if not is_shelved:
            self._aside().keep(letter)
        return letter

    async def list(self, where: Callable[[DeadLetter], bool] | None = None) -> builtins.list[DeadLetter]:
        if where is not None:
            callable_with("where", where, "a dead letter")
        found, after = list[DeadLetter](), 0
        while page := await self._journal.dead_letters(after, _PAGE):
            letters = (letter for record in page if (letter := _letter(record)) is not None)
            found += [letter for letter in letters if where is None or where(letter)]
            after = page[-1].id
        return found

    async def redrive(self, where: Callable[[DeadLetter], bool] | None = None) -> int:
        """Have them delivered again by the process that may; returns how many. The wish is kept until then."""
        chosen = await self.list(where)
        asked = await self._journal.values(REDRIVE)
        new: dict[str, bytes | None] = {str(letter.id): _ASKED for letter in chosen if str(letter.id) not in asked}
        if new:
            await self._journal.set_values(REDRIVE, new)
            await self._journal.tell(CONTROL, b"redrive")
        return len(chosen)

    async def purge(self, where: Callable[[DeadLetter], bool] | None = None) -> int:
        gone = [letter.id for letter in await self.list(where)]
        if gone:
            await self._journal.set_values(REDRIVE, {str(id_): None for id_ in gone})
        return await self._journal.purge_dead_letters(gone) if gone else 0

    def deliver_again(self, letters: Iterable[DeadLetter]) -> int:
        return sum(self._deliver(letter) for letter in letters)

    async def look(self, leases: Leases, may: Callable[[DeadLetter], bool]) -> None:
        """Deliver what was asked for, as far as it is this process's to do."""
        self._count = await self._journal.count_dead_letters()
        for name, claimed in (await self._journal.values(REDRIVE)).items():
            claimer = claimed.decode(errors="replace")
            if claimed != _ASKED and (claimer in leases.members or claimer == leases.process):
                continue
            found = await self._journal.dead_letters(int(name) - 1, 1)
            if not found or found[0].id != int(name):  # purged, or delivered again meanwhile
                await self._journal.set_values(REDRIVE, {name: None})
                continue
            letter = _letter(found[0])
            if letter is not None and may(letter) and await self._claim(name, claimed, leases.process):
                self._aside().knows(letter)
                if not self._deliver(letter):
                    await self._journal.set_values(REDRIVE, {name: _ASKED})

    async def _claim(self, name: str, claimed: bytes, process: str) -> bool:
        """Whoever changes the wish from what was read is the one."""
        try:
            await self._journal.put_if(REDRIVE, name, None, -1)
        except ValueChanged as there:
            if there.value != claimed:
                return False
            try:
                await self._journal.put_if(REDRIVE, name, process.encode(), there.version)
            except ValueChanged:
                return False
            return True
        return False


def _letter(record: DeadLetterRecord) -> DeadLetter | None:
    try:
        event = decode(record.body)
    except CodecError as error:  # it stays in the journal, for whoever knows its type
        log.error("dead letter %d cannot be read: %s", record.id, error, extra={"id": record.id, "error": str(error)})
        return None
    return DeadLetter(
        record.id,
        event,
        record.subscription,
        record.reason,
        record.error,
        record.attempts,
        moment(record.first_failed_ns),
        moment(record.last_failed_ns),
    )
