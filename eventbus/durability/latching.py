"""Latching: one halt for all processes. Set here it holds here at once; it is stored, and every process applies what is stored.

Fails closed: who has not seen the stored halt for as long as a lease lasts refuses EXECUTION. Two who clear it: one of them does.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

from pydantic_core import from_json, to_json

from eventbus.durability.aside import LATCH
from eventbus.durability.leases import CONTROL
from eventbus.durability.trouble import Patience
from eventbus.errors import Halted, JournalError, PolicyConflict, ValueChanged
from eventbus.kind import Kind

if TYPE_CHECKING:
    from eventbus.clock import Clock
    from eventbus.durability.leases import Leases
    from eventbus.durability.trouble import Trouble
    from eventbus.event import Event
    from eventbus.journal.shared import SharedJournal
    from eventbus.road.latch import Latch

SEEN = "latch-seen"
"""The space of which process has seen which version of the halt."""

_LOOK_S = 0.1


class Latching:
    """Of one process."""

    def __init__(
        self, journal: SharedJournal, latch: Latch, leases: Leases, trouble: Trouble, clock: Clock, ttl: float
    ) -> None:
        self._journal = journal
        self._latch = latch
        self._leases = leases
        self._trouble = trouble
        self._clock = clock
        self._ttl_ns = ttl * 1e9
        self._version = 0
        self._told = -1  # the version that others know this process has seen
        self._seen_ns = -math.inf
        self._unsaved = 0  # halts of this process that are not stored yet

    def must_see(self, event: Event) -> None:
        """Raise `Halted` for an EXECUTION event while it cannot be told whether somebody halted."""
        if event.__event__.kind is Kind.EXECUTION and self._clock.monotonic_ns() > self._seen_ns + self._ttl_ns:
            raise Halted("cannot see the halt latch")

    def forget(self) -> None:
        """The log is another: what was seen of the old one says nothing."""
        self._version, self._told = 0, -1

    async def look(self) -> None:
        """Apply what is stored."""
        asked_ns = self._clock.monotonic_ns()
        try:
            await self._journal.put_if(LATCH, "halt", None, -1)
        except ValueChanged as there:
            self._apply(there.value, there.version)
        self._seen_ns = asked_ns
        if self._told != self._version:
            told = self._version
            await self._journal.set_values(SEEN, {self._leases.process: b"%d" % told})
            self._told = told

    def _apply(self, value: bytes | None, version: int) -> None:
        if version < self._version:
            return  # an older answer
        self._version = version
        if value is not None:
            fields = from_json(value)
            self._latch.restore(fields["reason"], fields["token"])
        elif not self._unsaved:
            self._latch.release()

    def halts(self) -> None:
        """This process has just halted, and will `save` that."""
        self._unsaved += 1

    async def save(self, reason: str, token: str) -> None:
        """Until the halt is stored, or somebody else's is, try again."""
        value, patience = to_json({"reason": reason, "token": token}), Patience()
        try:
            while True:
                try:
                    version = await self._journal.put_if(LATCH, "halt", value, self._version)
                    self._apply(value, version)
                    break
                except ValueChanged as there:
                    self._apply(there.value, there.version)
                    if there.value is not None:
                        break  # the first one stands, with its token
                except JournalError as error:
                    self._trouble.tell("halt not saved in the journal", error)
                    await patience.wait()
        finally:
            self._unsaved -= 1
        await self._tell()

    async def clear(self) -> None:
        """Remove what is stored. Raises `PolicyConflict` when it is another halt by now."""
        try:
            version = await self._journal.put_if(LATCH, "halt", None, self._version)
        except ValueChanged as there:
            self._apply(there.value, there.version)
            raise PolicyConflict("token", "is of a halt that was cleared or changed meanwhile: look again") from there
        self._version = max(self._version, version)
        await self._tell()

    async def _tell(self) -> None:
        try:
            await self._journal.tell(CONTROL, b"latch")
        except JournalError as error:
            self._trouble.tell("others see the halt with their next look only", error)

    async def seen_by(self, timeout: float) -> dict[str, bool | None]:
        """Which live processes have seen what is stored now: True, or None for those that have not within `timeout` seconds."""
        found: dict[str, bool | None] = {}
        try:
            async with asyncio.timeout(timeout):
                while not found or None in found.values():
                    if self._unsaved:
                        await asyncio.sleep(_LOOK_S)
                        continue
                    await self.look()
                    seen, members = await self._journal.values(SEEN), await self._journal.members()
                    live = [name for name, age in members.items() if age * 1e9 < self._ttl_ns]
                    found = {name: True if int(seen.get(name, b"-1")) >= self._version else None for name in live}
                    if None in found.values():
                        await asyncio.sleep(_LOOK_S)
        except TimeoutError:
            found = found or {self._leases.process: None}
        return found
