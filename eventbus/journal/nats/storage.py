"""Storage: one bus in two streams of a NATS server: opened after a look at the server, watched, told of.

Knows what the server and the streams must be like, and how hints come. The rest is `writes`, `leases` and `reads`.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Collection, Mapping
from typing import Any

from nats.aio.msg import Msg

from eventbus.journal.nats.messages import Put, packed, unpacked
from eventbus.journal.nats.server import NatsServer, Refused, Wire
from eventbus.journal.nats.writes import Writes
from eventbus.journal.remote.link import Bus, came, change
from eventbus.journal.values import Durability
from eventbus.log import log

FORMAT = "1"
_OLDEST = (2, 12)
_NO_STREAM, _NAME_IN_USE, _OVERLAP = 10059, 10058, 10065
_FOREVER = {"max_msgs": -1, "max_bytes": -1, "max_age": 0}  # what a stream must not lose by itself
_SAID_BY = "eventbus"


class NatsStorage(Writes):
    """A `Storage` of NATS."""

    backend = "nats"

    def __init__(self, server: NatsServer, bus: Bus, dedupe_ns: int) -> None:
        super().__init__(server, bus)
        self._server = server
        common = {
            "storage": "file",
            "retention": "limits",
            "discard": "old",
            "allow_direct": True,
            "allow_atomic": True,
        }
        common |= {"metadata": {_SAID_BY: FORMAT}}
        under = [f"{bus.name}.log.>", f"{bus.name}.retained.>"]
        self._log_as = common | {"subjects": under, "max_msgs_per_subject": -1}
        self._beside_as = common | {
            "subjects": [f"{bus.name}.meta.>"],
            "max_msgs_per_subject": 1,
            "allow_msg_ttl": True,
        }
        self._dedupe_ns = dedupe_ns
        self._is_warned = False
        self._me = secrets.token_bytes(8)  # by which our own hints are told: we know what we appended

    @property
    def durability(self) -> Durability:
        return Durability.BROKER_DEFINED

    # --- opening -------------------------------------------------------------------------------------------------------

    async def close(self) -> None:
        await super().close()
        await self._server.ended()

    async def _greet(self, wire: Wire) -> None:
        """Of the first connection; the others look at the log."""
        said = str(wire.info.get("version", "0.0"))
        if tuple(int(each) for each in said.split(".")[:2]) < _OLDEST:
            raise self._unsafe(f"server {said} is too old", "use nats-server 2.12 or newer")
        if not wire.info.get("jetstream"):
            raise self._unsafe("JetStream is off", "start the server with --jetstream, or allow it to the account")
        window = {"duplicate_window": self._dedupe_ns}
        await self._make(wire, self._bus, self._log_as, window)
        await self._make(wire, self._beside, self._beside_as, {})
        await self._look_anew(wire)
        self._server.greet_with(self._look_anew)

    async def _look_anew(self, wire: Wire) -> None:
        """Of each connection: the server may have started again since the last."""
        await self._look(wire)
        self._again = dict(unpacked(message)[0] for message in await self._all(wire, "again.*"))

    async def _make(self, wire: Wire, stream: str, wanted: Mapping[str, Any], more: Mapping[str, Any]) -> None:
        said = await wire.api(f"STREAM.INFO.{stream}", refused=False)
        if said.get("error", {}).get("err_code") == _NO_STREAM:
            if not self.bus.creates:
                raise self._no_bus()
            try:
                said = await wire.api(f"STREAM.CREATE.{stream}", {"name": stream, **wanted, **more})
            except Refused as refused:
                if refused.code == _OVERLAP:
                    raise self._unsafe(f"subjects {self._bus}.> are those of another stream") from refused
                if refused.code != _NAME_IN_USE:  # another process made it meanwhile
                    raise
                said = await wire.api(f"STREAM.INFO.{stream}")
        elif "error" in said:
            said = await wire.api(f"STREAM.INFO.{stream}")
        self._must_be(stream, wanted, said["config"])

    def _must_be(self, stream: str, wanted: Mapping[str, Any], found: Mapping[str, Any]) -> None:
        form = found.get("metadata", {}).get(_SAID_BY)
        if form is None:
            raise self._unsafe(f"stream {stream} is not of a bus")
        if form != FORMAT:
            raise self._other_format(f"stream {stream}", form)
        for setting, value in {**_FOREVER, **wanted}.items():
            there = found.get(setting, False)
            if setting != "metadata" and there != value:
                raise self._unsafe(
                    f"{setting} of stream {stream} is {there}",
                    f"set it to {value} (nats stream edit {stream}), or choose another name=",
                )

    async def _look(self, wire: Wire) -> None:
        asked_at = self._arrivals.last
        try:
            stand = await self._stand(wire)
        except Refused as refused:
            if refused.code != _NO_STREAM:
                raise
            self._arrivals.stands(asked_at, "", 1, 0, 0)
        else:
            self._arrivals.stands(asked_at, stand.epoch, stand.first, stand.last, stand.size)

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
            async with asyncio.timeout(max(2 * self.bus.poll_s, 1.0)):
                await self._look(wire)
            await came(hinted, self.bus.poll_s)

    @change("tending")
    async def hint(self, wire: Wire) -> None:
        await wire.send(Put(f"{self._bus}.hint", self._me))

    @change("tending")
    async def tell(self, wire: Wire, channel: str, body: bytes) -> None:
        await wire.send(Put(f"{self._bus}.told", packed([channel], body)))
