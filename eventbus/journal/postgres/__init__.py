"""The journal in a schema of a PostgreSQL server, shared by any number of processes.

In the order of a call: `storage` (opened, watched), `writes` over `reads` over `rows` (SQL over `schema.sql`), `server` (connections).
"""

from __future__ import annotations

from typing import Any

from eventbus.bounds import bus_name, seconds
from eventbus.errors import MissingDriver, PolicyConflict
from eventbus.journal.remote.journal import RemoteJournal
from eventbus.journal.remote.link import Bus
from eventbus.url import Url
from eventbus.wording import shown

try:
    import asyncpg  # noqa: F401 - who has no driver is told which extra brings it
except ImportError as error:
    raise MissingDriver("postgres", "postgres") from error

from eventbus.journal.postgres.server import PostgresServer
from eventbus.journal.postgres.storage import PostgresStorage

_LEVELS = ("on", "remote_apply", "remote_write", "local", "off")


class PostgresJournal(RemoteJournal):
    """A `SharedJournal` in the schema `name` of a database; `postgresql://user:password@host:port/database`.

    `synchronous_commit` off is faster, and loses the newest records with the server. `poll` (s) is how often the log is looked at
    when no notification comes, `timeout_s` the deadline of each call, `ssl` true, false or a mode such as `verify-full`. A process has
    up to seven connections. Raises `PolicyConflict` for a setting that cannot be.
    """

    def __init__(
        self,
        url: Url,
        *,
        name: str = "eventbus",
        poll: float = 1.0,
        timeout_s: float = 5.0,
        synchronous_commit: str = "on",
        ssl: bool | str | None = None,
        creates: bool = True,
    ) -> None:
        bus = Bus(bus_name(name), seconds("poll", poll), creates)
        if synchronous_commit not in _LEVELS:
            raise PolicyConflict("synchronous_commit", f"{shown(synchronous_commit)} is none of {', '.join(_LEVELS)}")
        options: dict[str, Any] = {
            "host": url.host,
            "port": url.port,
            "user": url.user,
            "password": url.password,
            "database": url.path,
            "ssl": ssl,
            "server_settings": {"application_name": f"eventbus {name}"},
        }
        user = f"{url.user}@" if url.user else ""
        place = f"postgresql://{user}{url.host or 'localhost'}:{url.port or 5432}/{url.path or ''}"
        given = {key: value for key, value in options.items() if value is not None}
        server = PostgresServer(place, given, seconds("timeout_s", timeout_s))
        super().__init__(PostgresStorage(server, bus, synchronous_commit))


__all__ = ["PostgresJournal"]
