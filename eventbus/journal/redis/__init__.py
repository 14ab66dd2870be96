"""The journal in a database of a Redis server, shared by any number of processes.

In the order of a call: `storage` (opened, watched), `calls` over `fields` (one call of the script `bus.lua` each), `server` (connections).
"""

from __future__ import annotations

import re
from typing import Any

from eventbus.bounds import bus_name, seconds, text, truth, whole
from eventbus.errors import MissingDriver, PolicyConflict
from eventbus.journal.remote.journal import RemoteJournal
from eventbus.journal.remote.link import Bus
from eventbus.url import Url
from eventbus.wording import shown

try:
    import hiredis  # noqa: F401 - who has no driver is told which extra brings it
    import redis  # noqa: F401 - as above
except ImportError as error:
    raise MissingDriver("redis", "redis") from error

from eventbus.journal.redis.server import RedisServer
from eventbus.journal.redis.storage import RedisStorage


class RedisJournal(RemoteJournal):
    """A `SharedJournal` under the keys `{name}:*` of a database; `redis://user:password@host:port/db`, `rediss://` with TLS.

    An id is known again for `dedupe_s` at least, by the shortest that any process of the bus has. With `wait_replicas` a record is
    acknowledged once so many replicas have it; a failover may still lose records. `poll` (s) is how often the log is looked at when no
    hint comes, `timeout_s` the deadline of each call. `ssl_ca_certs`, `ssl_certfile` and `ssl_keyfile` are files in PEM: who signs the
    server's certificate, where not the system knows it; the client's certificate and its key. A process has up to seven connections.
    Raises `PolicyConflict` for a setting that cannot be.
    """

    def __init__(
        self,
        url: Url,
        *,
        name: str = "eventbus",
        poll: float = 1.0,
        timeout_s: float = 5.0,
        dedupe_s: float = 7_200.0,
        wait_replicas: int = 0,
        ssl: bool | None = None,
        ssl_ca_certs: str | None = None,
        ssl_certfile: str | None = None,
        ssl_keyfile: str | None = None,
        creates: bool = True,
    ) -> None:
        bus = Bus(bus_name(name), seconds("poll", poll), creates)
        database = str(url.path if url.path is not None else 0)
        if not re.fullmatch("[0-9]{1,9}", database):
            raise PolicyConflict("db", f"{shown(database)} is no number of a database: 0, or redis://host:6379/0")
        files = {"ssl_ca_certs": ssl_ca_certs, "ssl_certfile": ssl_certfile, "ssl_keyfile": ssl_keyfile}
        given = {key: text(key, value) for key, value in files.items() if value is not None}
        is_tls = url.scheme == "rediss" if ssl is None else truth("ssl", ssl)
        if url.scheme == "rediss" and not is_tls:
            raise PolicyConflict("ssl", "is false, and rediss:// is with TLS: write redis://")
        if given and not is_tls:
            raise PolicyConflict(next(iter(given)), "is for a connection with TLS: write rediss://, or ssl=True")
        options: dict[str, Any] = {
            "host": url.host or "localhost",
            "port": url.port or 6379,
            "username": url.user or None,
            "password": url.password,
            "db": int(database),
            "client_name": f"eventbus-{name}",
            **given,
        }
        user = f"{url.user}@" if url.user else ""
        place = f"{'rediss' if is_tls else 'redis'}://{user}{options['host']}:{options['port']}/{database}"
        server = RedisServer(place, options, seconds("timeout_s", timeout_s), is_tls=is_tls)
        storage = RedisStorage(
            server,
            bus,
            int(database),
            dedupe_s=seconds("dedupe_s", dedupe_s),
            replicas=whole("wait_replicas", wait_replicas, least=0),
        )
        super().__init__(storage)


__all__ = ["RedisJournal"]
