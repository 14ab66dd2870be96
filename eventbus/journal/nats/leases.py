"""Leases: each is a message that the server forgets after a while. Its owner replaces it in time; the place of the first is the token.

Whoever writes under a token says where the lease's message is: the server refuses what comes when another one is there, or none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nats.aio.msg import Msg

from eventbus.errors import JournalUnavailable
from eventbus.journal.nats.messages import EXPECTED, EXPECTED_OF, TTL, Put, lasting, packed, place_of, subject, unpacked
from eventbus.journal.nats.reads import Reads
from eventbus.journal.nats.server import Ack, Wire
from eventbus.journal.remote.link import Bus, Server, change
from eventbus.journal.shared import Lease

TRIES = 8  # for what somebody else may come before
WRONG_LAST = frozenset({10071, 10164})  # another message is there than was said
_SILENT = 10  # leases that a process may be silent for and still be known, one minute at least


class Leases(Reads):
    """Who does what on the bus of that name."""

    def __init__(self, server: Server, bus: Bus) -> None:
        super().__init__(server, bus)
        self._held: dict[str, tuple[int, int]] = {}  # token and place of the message, as far as is known

    @change("tending")
    async def join(self, wire: Wire, process: str, ttl: float) -> None:
        await wire.store([self._beat(process, ttl)])

    @change("tending")
    async def leave(self, wire: Wire, process: str) -> None:
        mine = [each for each in await self._all(wire, "lease.*") if unpacked(each)[0][1] == process]
        await self._free(wire, [place_of(each) for each in mine])
        await wire.api(f"STREAM.PURGE.{self._beside}", {"filter": self._under("member", process)})

    @change("tending")
    async def acquire(self, wire: Wire, names: Sequence[str], process: str, ttl: float) -> Mapping[str, Lease]:
        owners = await self._owners(wire, names)
        wanted = [name for name in sorted({*names}) if owners.get(name, process) == process]
        told = await wire.store_each([self._claim(name, process, ttl) for name in wanted])
        for name, answer in zip(wanted, told, strict=True):
            if isinstance(answer, Ack):
                self._held[name] = self._held.get(name, (answer.place, 0))[0], answer.place
        return {
            name: Lease(name, self._held[name][0], ttl)
            for name, answer in zip(wanted, told, strict=True)
            if isinstance(answer, Ack)
        }

    @change("tending")
    async def renew(self, wire: Wire, leases: Sequence[Lease], process: str, ttl: float) -> list[Lease]:
        renewed, left = set[str](), [*leases]
        await wire.store([self._beat(process, ttl)])
        for again in (False, True):
            if again and left:  # a commit, or an answer that was lost, may have come between
                await self._owners(wire, [lease.name for lease in left])
            left = [lease for lease in left if self._holds(lease.name, lease.token)]
            told = await wire.store_each([self._claim(lease.name, process, ttl) for lease in left])
            for lease, answer in zip(left, told, strict=True):
                if isinstance(answer, Ack):
                    self._held[lease.name] = lease.token, answer.place
                    renewed.add(lease.name)
            left = [lease for lease in left if lease.name not in renewed]
        return [lease._replace(ttl=ttl) for lease in leases if lease.name in renewed]

    @change("tending")
    async def release(self, wire: Wire, leases: Sequence[Lease], process: str) -> None:
        await self._owners(wire, [lease.name for lease in leases])
        mine = [lease.name for lease in leases if self._holds(lease.name, lease.token)]
        await self._free(wire, [self._held.pop(name)[1] for name in mine])

    # --- within a call -------------------------------------------------------------------------------------------------

    def _holds(self, name: str, token: int) -> bool:
        """As far as is known here."""
        return self._held.get(name, (0, 0))[0] == token

    def _fence(self, name: str, token: int) -> list[Put]:
        """What to store with something that is said under a token, so that it is refused when the lease has gone."""
        held, place = self._held.get(name, (0, 0))
        said = {EXPECTED: str(place if held == token else token), EXPECTED_OF: self._under("lease", name)}
        return [Put(self._under("fence"), b"", said)] if token else []

    def _beat(self, process: str, ttl: float) -> Put:
        return Put(self._under("member", process), packed([process, ttl]), {TTL: lasting(max(_SILENT * ttl, 60))})

    def _claim(self, name: str, process: str, ttl: float) -> Put:
        token, place = self._held.get(name, (0, 0))
        return Put(
            self._under("lease", name), packed([name, process, token]), {TTL: lasting(ttl), EXPECTED: str(place)}
        )

    async def _owners(self, wire: Wire, names: Sequence[str]) -> dict[str, str]:
        """Know these leases as they are; gives their owners."""
        under = {self._under("lease", name): name for name in names}
        found = {under[subject(each)]: each for each in await wire.last(self._beside, [*under])}
        for name in names:
            self._seen(name, found.get(name))
        return {name: unpacked(each)[0][1] for name, each in found.items()}

    def _seen(self, name: str, message: Msg | None) -> None:
        """That is its message now."""
        self._held.pop(name, None)
        if message is not None:
            self._held[name] = unpacked(message)[0][2] or place_of(message), place_of(message)

    async def _free(self, wire: Wire, places: Sequence[int]) -> None:
        """Each message if it is still the one at that place: what replaced it stays."""
        for place in places:
            call = {"seq": place, "no_erase": True}
            await wire.api(f"STREAM.MSG.DELETE.{self._beside}", call, refused=False)

    def _busy(self) -> JournalUnavailable:
        return JournalUnavailable(self.server.place, f"others came before {TRIES} times: try again")
