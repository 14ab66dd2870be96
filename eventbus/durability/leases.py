"""Leases: what of the groups, and of the work of one at a time, is this process's; renewed while it lives, shared out fairly.

Processes send heartbeats, not messages. A part that is held is this process's until its local deadline, whether or not the server
answers; then it is dropped here, and another process takes it when it runs out there. Parts leave one by one: nobody stampedes.
"""

from __future__ import annotations

import asyncio
import math
import os
import socket
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING

from pydantic_core import from_json, to_json

from eventbus.errors import BackendDataLoss, JournalError, LeaseLost, PolicyConflict, ValueChanged
from eventbus.journal.parts import part_name, split_part

if TYPE_CHECKING:
    from eventbus.durability.group import Group
    from eventbus.durability.share import Share
    from eventbus.durability.trouble import Trouble
    from eventbus.journal.shared import Lease, SharedJournal
    from eventbus.road.lifetime import Lifetime

GROUPS = "groups"
"""The space of what is fixed when a group is made: how many parts it has, and the offset that they start after, as JSON."""

WANTING = "wanting"
"""The space of who reads for which group: names are `process group`."""

CONTROL = "control"
"""The channel of hints that somebody should look up."""

_MANY = 16
_LOOK_S = 0.5  # how often somebody who has less than a fair share looks for more, at least
_SOON_S = 0.05


def parts_for(wanted: int | None, concurrency: int) -> int:
    """Into how many parts a group is cut that says so, or that runs so many at once."""
    return wanted or (1 if concurrency == 1 else _MANY)


class Leases:
    """Of one process. `on_beat` is called where the server answered a renewal, `on_gain` when there is another part to read for."""

    def __init__(
        self,
        journal: SharedJournal,
        lifetime: Lifetime,
        trouble: Trouble,
        *,
        ttl: float,
        parts: int | None,
        on_beat: Callable[[], object],
        on_gain: Callable[[], object],
        on_loss: Callable[[BackendDataLoss], object],
    ) -> None:
        self.process = ""
        self.members: dict[str, float] = {}  # that live, and the seconds since they were heard
        self._journal = journal
        self._lifetime = lifetime
        self._trouble = trouble
        self._ttl = ttl
        self._parts = parts
        self._on_beat = on_beat
        self._on_gain = on_gain
        self._on_loss = on_loss
        self._wanted: dict[str, Group] = {}
        self._announced: set[str] = set()
        self._held: dict[str, tuple[Group, Share]] = {}
        self._errands: dict[str, Lease | None] = {}  # leases by name that are no part of a group: `trim`
        self._errands_until_ns: dict[str, float] = {}
        self._errands_lost: dict[str, Callable[[], object]] = {}
        self._wanting: dict[str, int] = {}  # live processes that read for a group
        self.read: frozenset[str] | None = None  # groups that any of them reads for; None: not known yet
        self._alarm: asyncio.TimerHandle | None = None
        self._beaten_ns = -math.inf
        self._is_open = self._is_ending = False
        self._look = asyncio.Event()

    # --- groups ----------------------------------------------------------------------------------------------------

    def parts_of(self, group: Group) -> int:
        """As the subscription asks, or the bus, or its concurrency: one for acceptance order everywhere, or many."""
        return parts_for(group.wanted_parts or self._parts, group.subscription.policy.concurrency)

    async def begin(self, group: Group) -> None:
        """It is there for all processes from now on, and what of it is free is ours as far as that is fair."""
        await self._make(group)
        self._wanted[group.name] = group
        if self._lifetime.is_called:
            await self._announce(group)
            await self._take_more(group)
            self._look.set()

    async def ready(self, group: Group) -> None:
        """Wait until it is there for all processes."""
        if self._is_open:
            await self._make(group)

    async def _make(self, group: Group) -> None:
        """Agree on its parts and where they start: with those who made it, or by making it. Raises `PolicyConflict`."""
        parts = self.parts_of(group)
        while True:
            try:
                await self._journal.put_if(GROUPS, group.name, None, -1)
            except ValueChanged as there:
                if there.value is not None and await self._is_made(group.name):
                    made = from_json(there.value)
                    break
                version = there.version
            else:
                version = 0
            lease = (await self._journal.acquire([part_name(group.name, 0)])).get(part_name(group.name, 0))
            if lease is None:  # somebody else makes it
                await asyncio.sleep(_SOON_S)
                continue
            cursor = await self._journal.open_part(lease, group.start_at)  # the server says where it starts
            made = {"parts": parts, "start": cursor.floor}
            try:
                await self._journal.put_if(GROUPS, group.name, to_json(made), version)
            except ValueChanged:
                continue
            break
        if made["parts"] != parts:
            raise PolicyConflict(
                "parts",
                f"group {group.name!r} has {made['parts']}, not {parts}: let it drain and drop_group() it first, "
                f"or subscribe with parts={made['parts']}",
            )
        group.made_of(parts, made["start"])

    async def _is_made(self, name: str) -> bool:
        """It was not dropped since."""
        return await self._journal.committed(part_name(name, 0)) is not None

    async def made(self) -> frozenset[str]:
        """The groups that there are."""
        return frozenset([name for name in await self._journal.values(GROUPS) if await self._is_made(name)])

    async def let_go(self, group: Group) -> None:
        """It was cancelled here, and has finished."""
        mine = [name for name, (held, _share) in self._held.items() if held is group]
        leases = [self._held.pop(name)[1].lease for name in mine]
        if self._wanted.get(group.name) is group:
            del self._wanted[group.name]
            self._announced.discard(group.name)
            await self._journal.set_values(WANTING, {f"{self.process} {group.name}": None})
        if leases:
            await self._journal.release(leases)
            await self._journal.tell(CONTROL, b"released")

    def lost(self, lease: Lease) -> None:
        """The journal said so."""
        held = self._held.get(lease.name)
        if held is not None and held[1].lease.token == lease.token:
            del self._held[lease.name]
            self._look.set()

    # --- work of one at a time -------------------------------------------------------------------------------------

    def wants(self, name: str, lost: Callable[[], object] = lambda: None) -> None:
        """This process would do it, too; `lost` is called when it was its own and is no longer."""
        self._errands.setdefault(name, None)
        self._errands_lost[name] = lost

    async def try_for(self, name: str) -> bool:
        """Take it now, if nobody has it."""
        asked_ns = self._now_ns()
        for lease in (await self._journal.acquire([name])).values():
            self._errands[name] = lease
            self._errands_until_ns[name] = asked_ns + lease.local_ttl * 1e9
        return self.has(name)

    def has(self, name: str) -> bool:
        """Is it this process's to do now?"""
        return self._errands.get(name) is not None and self._now_ns() < self._errands_until_ns[name]

    # --- life ------------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Be one of the processes, under a name that none had before."""
        self.process = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:12]}"
        self._announced.clear()
        self._beaten_ns = -math.inf
        await self._journal.join(self.process, self._ttl)
        self._is_open, self._is_ending = True, False
        self._look = asyncio.Event()

    async def run(self) -> None:
        """Beat until this is cancelled."""
        while True:
            pause_s = self._usual_s
            try:
                await self.beat()
                pause_s = self._pause_s()
            except BackendDataLoss as error:
                self._on_loss(error)
            except JournalError as error:
                self._trouble.tell("leases wait for the journal", error)
            self._look.clear()
            try:
                async with asyncio.timeout(pause_s):
                    await self._look.wait()
            except TimeoutError:
                pass

    @property
    def _usual_s(self) -> float:
        return min(_LOOK_S, self._ttl / 3)

    def _pause_s(self) -> float:
        """Until the next look: as usual, or sooner, when the leases run out of somebody who fell silent."""
        ages = [age for name, age in self.members.items() if name != self.process]
        return max(_SOON_S, min([self._usual_s, *(self._ttl - age for age in ages if age > self._ttl / 2)]))

    def look(self) -> None:
        """Something may have changed: do not wait for the next beat."""
        self._look.set()

    async def beat(self) -> None:
        """Renew what is held, see who lives, take what nobody has, give back what is too much."""
        if self._now_ns() >= self._beaten_ns + self._ttl / 3 * 1e9:
            await self._renew()
            self._on_beat()
        await self._see_members()
        for group in [group for group in self._wanted.values() if group.is_over and group.is_finished]:
            await self.let_go(group)
        if not self._lifetime.is_running or self._is_ending:
            return
        for group in [*self._wanted.values()]:
            await self._announce(group)
            await self._take_more(group)
        await self._give_back()
        for name in [name for name, lease in self._errands.items() if lease is None]:
            await self.try_for(name)

    def drop_all(self) -> None:
        """Whatever is held is worth nothing: the log is another."""
        for group, share in [*self._held.values()]:
            group.lost(share)
        self._errands = dict.fromkeys(self._errands)

    def ending(self) -> None:
        """Nothing new is taken, and nothing more begun of what is held."""
        self._is_ending = True
        for group, share in self._held.values():
            share.leaves()
            group.look_up()

    async def close(self) -> None:
        """Everything is finished and committed: others may have it at once."""
        if not self._is_open:
            return
        self._is_open = False
        if self._alarm is not None:
            self._alarm.cancel()
        leases = [share.lease for _group, share in self._held.values()]
        leases += [lease for lease in self._errands.values() if lease is not None]
        self._held.clear()
        self._errands = dict.fromkeys(self._errands)
        gone: dict[str, bytes | None] = {f"{self.process} {name}": None for name in self._announced}
        self._announced.clear()
        try:
            await self._journal.release(leases)
            if gone:
                await self._journal.set_values(WANTING, gone)
            await self._journal.tell(CONTROL, b"released")
        except JournalError as error:
            self._trouble.tell("leases not given up: others have to wait until they run out", error)

    # --- one beat --------------------------------------------------------------------------------------------------

    async def _renew(self) -> None:
        asked_ns = self._now_ns()
        leases = [share.lease for _group, share in self._held.values()]
        errands = [lease for lease in self._errands.values() if lease is not None]
        renewed = {(lease.name, lease.token) for lease in await self._journal.renew([*leases, *errands])}
        self._beaten_ns = asked_ns
        for lease in leases:
            held = self._held.get(lease.name)
            if held is None or held[1].lease.token != lease.token:
                continue
            if (lease.name, lease.token) in renewed:
                held[1].renewed(asked_ns + lease.local_ttl * 1e9)
            else:
                held[0].lost(held[1])
        for lease in errands:
            is_renewed = (lease.name, lease.token) in renewed
            self._errands[lease.name] = lease if is_renewed else None
            self._errands_until_ns[lease.name] = asked_ns + lease.local_ttl * 1e9
            if not is_renewed:
                self._errands_lost[lease.name]()
        self._set_alarm()

    async def _see_members(self) -> None:
        members = await self._journal.members()
        self.members = {name: age for name, age in members.items() if age < self._ttl or name == self.process}
        self._wanting = {}
        for entry in await self._journal.values(WANTING):
            process, _, name = entry.partition(" ")
            if process in self.members:
                self._wanting[name] = self._wanting.get(name, 0) + 1
            elif process not in members or members[process] > 10 * self._ttl:
                await self._journal.set_values(WANTING, {entry: None})

        self.read = frozenset(self._wanting)

    async def _announce(self, group: Group) -> None:
        if group.name not in self._announced:
            await self._journal.set_values(WANTING, {f"{self.process} {group.name}": b"1"})
            self._announced.add(group.name)
            self._wanting[group.name] = self._wanting.get(group.name, 0) + 1

    def _fair_share(self, group: Group) -> int:
        return math.ceil(group.parts / max(1, self._wanting.get(group.name, 1)))

    async def _take_more(self, group: Group) -> None:
        """Parts that nobody has, up to a fair share."""
        missing = self._fair_share(group) - len(group.shares)
        mine = abs(hash(self.process)) % group.parts  # everybody begins to look elsewhere
        order = [(mine + further) % group.parts for further in range(group.parts)]
        names = [part_name(group.name, part) for part in order if part not in group.shares]
        while missing > 0 and names and not group.is_over:
            asked, names = names[:missing], names[missing:]
            asked_ns = self._now_ns()
            for name, lease in (await self._journal.acquire(asked)).items():
                missing -= 1
                await self._give(group, name, lease, asked_ns + lease.local_ttl * 1e9)
        self._set_alarm()

    async def _give(self, group: Group, name: str, lease: Lease, until_ns: float) -> None:
        try:
            await group.gained(lease, until_ns)
        except LeaseLost:
            return
        named = split_part(name)
        share = group.shares.get(named[1]) if named else None
        if share is not None:
            self._held[name] = group, share
            self._on_gain()

    async def _give_back(self) -> None:
        """Of what is more than a fair share, one part at a time begins to leave; what has left is free."""
        for group in [*self._wanted.values()]:
            held = [share for _group, share in self._held.values() if _group is group]
            leaving = [share for share in held if share.is_leaving]
            if not leaving and len(held) > self._fair_share(group):
                held[-1].leaves()
                leaving = [held[-1]]
            for share in leaving:
                if not (share.unfinished or share.has_news):
                    del self._held[share.lease.name]
                    group.gave_up(share)
                    await self._journal.release([share.lease])
                    await self._journal.tell(CONTROL, b"released")
                else:
                    group.look_up()

    # --- the local deadline ----------------------------------------------------------------------------------------

    def _now_ns(self) -> int:
        return self._lifetime.clock.monotonic_ns()

    def _set_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        due_ns = min((share.until_ns for _group, share in self._held.values()), default=math.inf)
        if due_ns < math.inf:
            seconds = max(0.0, (due_ns - self._now_ns()) / 1e9)
            self._alarm = asyncio.get_running_loop().call_later(seconds, self._ring)

    def _ring(self) -> None:
        """The server did not answer in time: what ran out here may be another's."""
        now_ns = self._now_ns()
        for group, share in [*self._held.values()]:
            if share.until_ns <= now_ns:
                group.lost(share)
        self._set_alarm()
