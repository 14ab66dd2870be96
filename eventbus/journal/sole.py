"""Sole: the answers to the questions of several processes, where a journal belongs to one. Nothing is ever lost to anybody.

So that one implementation of groups serves every journal. Asks nothing but what any `Journal` can do.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, cast

from eventbus.errors import LeaseLost, ValueChanged
from eventbus.journal.hearing import Hearing
from eventbus.journal.parts import split_part
from eventbus.journal.shared import Lease, Part, Sharing

if TYPE_CHECKING:
    from eventbus.journal.protocol import Journal
    from eventbus.journal.values import Cursor, Start

OWNER = "owner"
"""The space that keeps the newest token, so that the next process has a greater one."""


def sharing_of(journal: Journal) -> Sharing:
    """Who answers for this journal: itself where it is shared, otherwise a `SoleProcess` over it."""
    return cast(Sharing, journal) if "shared" in journal.capabilities else SoleProcess(journal)


class SoleProcess:
    """`Sharing` over a journal that no other process can have. A lease is never lost but by `release`, and never runs out.

    The only part of a group has the cursor that `Journal.open_group` gives: the one of `ledger/0` is known as `ledger`.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._process: str | None = None
        self._token = 0
        self._held: set[str] = set()
        self._versions: dict[tuple[str, str], int] = {}
        self._changing = asyncio.Lock()
        self._hearing: dict[str, list[Hearing]] = {}

    @property
    def epoch(self) -> str:
        return "sole"

    async def accept_data_loss(self) -> None:
        pass  # a damaged file does not open

    async def join(self, process: str, ttl: float) -> None:
        self._process = process

    async def members(self) -> Mapping[str, float]:
        return {} if self._process is None else {self._process: 0.0}

    async def acquire(self, names: Sequence[str]) -> Mapping[str, Lease]:
        async with self._changing:
            if not self._token:
                token = int((await self._journal.values(OWNER)).get("token", b"0")) + 1
                await self._journal.set_values(OWNER, {"token": b"%d" % token})
                self._token = token
        self._held.update(names)
        return {name: Lease(name, self._token, math.inf) for name in names}

    async def renew(self, leases: Sequence[Lease]) -> Sequence[Lease]:
        return [lease for lease in leases if self._holds(lease)]

    async def release(self, leases: Sequence[Lease]) -> None:
        self._held.difference_update(lease.name for lease in leases if self._holds(lease))

    async def open_part(self, lease: Lease, start: Start) -> Cursor:
        return await self._journal.open_group(self._cursor_of(lease), start)

    async def record_part_attempts(self, lease: Lease, offsets: Sequence[int]) -> Mapping[int, int]:
        return await self._journal.record_attempts(self._cursor_of(lease), offsets)

    async def commit_parts(self, parts: Sequence[Part]) -> Sequence[int | LeaseLost]:
        answers = await asyncio.gather(*map(self._commit, parts), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, LeaseLost):
                raise answer
        return [answer for answer in answers if isinstance(answer, int | LeaseLost)]

    async def put_if(self, space: str, name: str, value: bytes | None, version: int) -> int:
        async with self._changing:
            present = (await self._journal.values(space)).get(name)
            known = self._versions.get((space, name), 0 if present is None else 1)
            if version != known:
                raise ValueChanged(space, name, version, known, present)
            await self._journal.set_values(space, {name: value})
            self._versions[space, name] = known + 1
            return known + 1

    def listen(self, channel: str) -> AsyncIterator[bytes]:
        hearing = Hearing()
        self._hearing.setdefault(channel, []).append(hearing)
        return hearing

    async def tell(self, channel: str, body: bytes) -> None:
        for hearing in self._hearing.get(channel, ()):
            hearing.hear(body)

    def close(self) -> None:
        """Nobody hears anything any more. Called before the journal closes."""
        for hearings in self._hearing.values():
            for hearing in hearings:
                hearing.end()
        self._hearing.clear()

    async def _commit(self, part: Part) -> int:
        group = self._cursor_of(part.lease)
        return await self._journal.commit(
            group, part.settled, skip=part.skip, dead=part.dead, quarantined=part.quarantined
        )

    def _holds(self, lease: Lease) -> bool:
        return lease.name in self._held and lease.token == self._token

    def _cursor_of(self, lease: Lease) -> str:
        if not self._holds(lease):
            raise LeaseLost(lease.name, lease.token)
        match split_part(lease.name):
            case group, 0:
                return group
            case _:
                return lease.name
