"""Storage: one bus in one database of a Redis server: opened after a look at the server, watched, told of.

Knows what the server must be like, and how hints come. The rest is `calls`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, NamedTuple

from redis.exceptions import ResponseError

from eventbus.errors import JournalUnavailable
from eventbus.journal.redis.calls import Calls
from eventbus.journal.remote.link import Bus, Connection, change, question
from eventbus.journal.values import Durability
from eventbus.log import log

if TYPE_CHECKING:
    from eventbus.journal.redis.server import RedisServer
    from eventbus.journal.remote.arrivals import Arrivals

_OLDEST = (6, 2)


class Persistence(NamedTuple):
    """How long the server keeps what it acknowledged, and what may be lost besides."""

    durability: Durability
    warning: str | None = None


_BY_APPENDFSYNC = {
    "always": Persistence(Durability.POWER_LOSS),
    "everysec": Persistence(
        Durability.PROCESS_CRASH, "Redis writes to its disk once a second: a power cut loses up to 2 s of it"
    ),
    "no": Persistence(
        Durability.PROCESS_CRASH, "Redis leaves its disk to the system: a power cut loses up to a minute of it"
    ),
    None: Persistence(
        Durability.PROCESS_CRASH, "Redis does not say when it writes to its disk: a power cut may lose some of it"
    ),
}
_IN_MEMORY = Persistence(Durability.MEMORY, "Redis has no append-only file: when it ends, what it acknowledged is lost")


def persistence_of(info: dict[str, str], appendfsync: str | None, spares_rewrites: str | None) -> Persistence:
    """What `INFO`, `appendfsync` and `no-appendfsync-on-rewrite` come to; None is what the server does not tell."""
    if info.get("aof_enabled") != "1":
        return _IN_MEMORY
    return _BY_APPENDFSYNC["everysec" if appendfsync == "always" and spares_rewrites == "yes" else appendfsync]


class RedisStorage(Calls):
    """A `Storage` of Redis."""

    capabilities = Calls.capabilities - {"types"}

    def __init__(self, server: RedisServer, bus: Bus, db: int, *, dedupe_s: float, replicas: int) -> None:
        super().__init__(server, bus, dedupe_s, replicas)
        self._persistence = _IN_MEMORY
        self._hints, self._told = f"{self.prefix}{db}:hints", f"{self.prefix}{db}:told:"  # channels know no database

    @property
    def durability(self) -> Durability:
        return self._persistence.durability

    # --- opening ---------------------------------------------------------------------------------------------------

    async def open(self, arrivals: Arrivals) -> None:
        self._persistence = Persistence(Durability.POWER_LOSS)
        await super().open(arrivals)

    async def _greet(self, db: Connection) -> None:
        """Each connection: may this server keep a bus, and how does the log stand? It may be another server than before."""
        said, *settings = await db.ask(
            ("INFO",), ("CONFIG", "GET", "appendfsync"), ("CONFIG", "GET", "no-appendfsync-on-rewrite")
        )
        if isinstance(said, ResponseError):
            raise said
        info = dict(line.split(":", 1) for line in said.decode().splitlines() if ":" in line)
        version = info["redis_version"]
        if tuple(map(int, version.split(".")[:2])) < _OLDEST:
            raise self._unsafe(f"server {version} is too old", "use Redis 6.2 or newer")
        if (policy := info["maxmemory_policy"]) != "noeviction":
            raise self._unsafe(
                f"maxmemory-policy is {policy}, so records vanish when memory is short",
                "set maxmemory-policy noeviction",
            )
        if info["role"] != "master":
            raise JournalUnavailable(self.server.place, "it is a replica, which cannot be written: use the primary")
        now = persistence_of(
            info, *(None if isinstance(answer, ResponseError) else answer[1].decode() for answer in settings)
        )
        if now != self._persistence and now.warning is not None:
            place, durability = self.server.place, str(now.durability)
            log.warning("%s: %s", place, now.warning, extra={"server": place, "durability": durability})
        self._persistence = now
        await self._look(db)

    # --- hints -----------------------------------------------------------------------------------------------------

    async def _listen(self, db: Connection, channels: Collection[str], told: Callable[[str, bytes], None]) -> None:
        """What comes on the channels; and at least each `poll` a look at the log, and at whether this connection still hears."""
        now, looked_at, is_heard = asyncio.get_running_loop().time, 0.0, True
        await db.ask(("SUBSCRIBE", self._hints), ("PSUBSCRIBE", f"{self._told}*"))
        while True:
            if (left := looked_at + self.bus.poll_s - now()) <= 0:
                if not is_heard:
                    raise TimeoutError("no answer on the connection that listens")
                looked_at, is_heard, left = now(), False, self.bus.poll_s
                await db.send_command("PING")
                await self.look()
            match await db.read_response(timeout=left):
                case [b"pmessage", _, channel, body]:
                    name = channel.decode().removeprefix(self._told)
                    if name in channels:
                        told(name, body)
                case [b"message", _, last]:
                    self._arrivals.heard(int(last))
                case [b"pong", _]:
                    is_heard = True

    @change("tending")
    async def hint(self, db: Connection) -> None:
        await db.call("PUBLISH", self._hints, self._arrivals.last)

    @change("tending")
    async def tell(self, db: Connection, channel: str, body: bytes) -> None:
        await db.call("PUBLISH", f"{self._told}{channel}", body)

    # --- upkeep ----------------------------------------------------------------------------------------------------

    @question
    async def compact(self, db: Connection) -> int:
        """The server tidies up by itself; this gives the bytes of memory that the log takes."""
        return int(await db.call("MEMORY", "USAGE", self._log) or 0)
