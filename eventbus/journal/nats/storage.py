"""Storage: one bus in two streams of a NATS server: opened after a look at the server, watched, told of.

Knows what the server and the streams must be like, and how hints come. The rest is `writes`, `leases` and `reads`.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import Any

from nats.aio.msg import Msg

from eventbus.errors import BackendUnsafe, JournalUnavailable
from eventbus.journal.nats.messages import Put, packed, unpacked
from eventbus.journal.nats.server import NatsServer, Refused, Wire
from eventbus.journal.nats.writes import Writes
from eventbus.journal.remote.arrivals import Arrivals
from eventbus.journal.remote.link import change, question
from eventbus.journal.values import Durability
from eventbus.log import log

FORMAT = "1"
CAPABILITIES = frozenset(
    {"append", "dead_letters", "durable", "groups", "quarantine", "replay", "retention", "shared", "types", "values"}
    | {"verify", "wait"}
)
_OLDEST = (2, 12)
_OPEN_S = 4.0  # a server that is down is told at once to who opens, whatever a call may take later
_NO_STREAM, _NAME_IN_USE, _OVERLAP = 10059, 10058, 10065
_FOREVER = {"max_msgs": -1, "max_bytes": -1, "max_age": 0}  # what a stream must not lose by itself
_SAID_BY = "eventbus"


class NatsStorage(Writes):
    """A `Storage` of NATS. `poll_s` is how often the log is looked at without a hint; without `creates` nothing is made."""

    def __init__(self, server: NatsServer, bus: str, poll_s: float, dedupe_ns: int, *, creates: bool = True) -> None:
        super().__init__(server, bus)
        self._server = server
        self._poll_s = poll_s
        self._creates = creates
        self._arrivals = Arrivals()
        common = {
            "storage": "file",
            "retention": "limits",
            "discard": "old",
            "allow_direct": True,
            "allow_atomic": True,
        }
        common |= {"metadata": {_SAID_BY: FORMAT}}
        under = [f"{bus}.log.>", f"{bus}.retained.>"]
        self._log_as = common | {"subjects": under, "max_msgs_per_subject": -1}
        self._beside_as = common | {
            "subjects": [f"{bus}.meta.>"],
            "max_msgs_per_subject": 1,
            "allow_msg_ttl": True,
        }
        self._dedupe_ns = dedupe_ns
        self._is_warned = False
        self._me = secrets.token_bytes(8)  # by which our own hints are told: we know what we appended

    @property
    def capabilities(self) -> frozenset[str]:
        return CAPABILITIES

    @property
    def durability(self) -> Durability:
        return Durability.BROKER_DEFINED

    @property
    def shelf(self) -> NatsStorage:
        return self

    # --- opening -------------------------------------------------------------------------------------------------------

    async def open(self, arrivals: Arrivals) -> None:
        """Raises `BackendUnsafe` for a server that would break a promise, `JournalUnavailable` for one that cannot be used."""
        self._arrivals = arrivals
        self._server.greet_with(self._check)
        try:
            await self.links["asking"].run(self._looked, timeout_s=min(self.server.timeout_s, _OPEN_S))
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        await asyncio.gather(*(link.close() for link in self.links.values()))
        await self._server.ended()

    async def _check(self, wire: Wire) -> None:
        """The first connection: may this server keep a bus, and is it there?"""
        said = str(wire.info.get("version", "0.0"))
        if tuple(int(each) for each in said.split(".")[:2]) < _OLDEST:
            raise BackendUnsafe("nats", f"server {said} is too old", "use nats-server 2.12 or newer")
        if not wire.info.get("jetstream"):
            raise BackendUnsafe(
                "nats", "JetStream is off", "start the server with --jetstream, or allow it to the account"
            )
        window = {"duplicate_window": self._dedupe_ns}
        await self._make(wire, self._bus, self._log_as, window)
        await self._make(wire, self._beside, self._beside_as, {})
        await self._looked(wire)
        self._server.greet_with(self._looked)

    async def _make(self, wire: Wire, stream: str, wanted: Mapping[str, Any], more: Mapping[str, Any]) -> None:
        said = await wire.api(f"STREAM.INFO.{stream}", refused=False)
        if said.get("error", {}).get("err_code") == _NO_STREAM:
            if not self._creates:
                raise JournalUnavailable(self.server.place, f"there is no bus {self._bus}: check name= in the URL")
            try:
                said = await wire.api(f"STREAM.CREATE.{stream}", {"name": stream, **wanted, **more})
            except Refused as refused:
                if refused.code == _OVERLAP:
                    reason = f"subjects {self._bus}.> are those of another stream"
                    raise BackendUnsafe("nats", reason, "choose another name=") from refused
                if refused.code != _NAME_IN_USE:  # another process made it meanwhile
                    raise
                said = await wire.api(f"STREAM.INFO.{stream}")
        elif "error" in said:
            said = await wire.api(f"STREAM.INFO.{stream}")
        self._must_be(stream, wanted, said["config"])

    def _must_be(self, stream: str, wanted: Mapping[str, Any], found: Mapping[str, Any]) -> None:
        form = found.get("metadata", {}).get(_SAID_BY)
        if form is None:
            raise BackendUnsafe("nats", f"stream {stream} is not of a bus", "choose another name=")
        if form != FORMAT:
            remedy = f"use a version that knows it, or another name= than {self._bus}"
            raise BackendUnsafe("nats", f"stream {stream} has format {form}", remedy)
        for setting, value in {**_FOREVER, **wanted}.items():
            there = found.get(setting, False)
            if setting != "metadata" and there != value:
                raise BackendUnsafe(
                    "nats",
                    f"{setting} of stream {stream} is {there}",
                    f"set it to {value} (nats stream edit {stream}), or choose another name=",
                )

    async def _looked(self, wire: Wire) -> None:
        asked_at = self._arrivals.last
        try:
            stand = await self._stand(wire)
        except Refused as refused:
            if refused.code != _NO_STREAM:
                raise
            self._arrivals.stands(asked_at, "", 1, 0, 0)
        else:
            self._arrivals.stands(asked_at, stand.epoch, stand.first, stand.last, stand.size)

    @question
    async def look(self, wire: Wire) -> None:
        await self._looked(wire)

    async def join(self, process: str, ttl: float) -> None:
        await super().join(process, ttl)
        if not self._is_warned:  # once, and not of whoever only looks or steers
            self._is_warned = True
            log.warning(
                "%s acknowledges before it has synced, unless sync_interval is always: no client can see that",
                self.server.place,
                extra={"server": self.server.place},
            )

    # --- hints ---------------------------------------------------------------------------------------------------------

    async def watch(self, channels: Collection[str], told: Callable[[str, bytes], None]) -> None:
        await self._server.always(lambda wire: self._listen(wire, channels, told))

    async def _listen(self, wire: Wire, channels: Collection[str], told: Callable[[str, bytes], None]) -> None:
        hinted = asyncio.Event()
        wire.when_lost(hinted.set)

        async def hear(message: Msg) -> None:
            if message.subject == f"{self._bus}.hint":
                if message.data != self._me:
                    hinted.set()
                return
            (channel,), body = unpacked(message)
            if channel in channels:
                told(channel, body)

        for subject in (f"{self._bus}.hint", f"{self._bus}.told"):
            await wire.client.subscribe(subject, cb=hear)
        while True:
            async with asyncio.timeout(max(2 * self._poll_s, 1.0)):
                await self._looked(wire)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._poll_s):
                    await hinted.wait()
            hinted.clear()

    @change("tending")
    async def hint(self, wire: Wire) -> None:
        await wire.send(Put(f"{self._bus}.hint", self._me))

    @change("tending")
    async def tell(self, wire: Wire, channel: str, body: bytes) -> None:
        await wire.send(Put(f"{self._bus}.told", packed([channel], body)))
