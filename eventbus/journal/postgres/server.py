"""Server: connections by asyncpg, and what its errors mean. Each may be looked at before it is used."""

from __future__ import annotations

import ssl
from typing import Any

import asyncpg

from eventbus.errors import JournalUnavailable
from eventbus.journal.remote.link import Connection, Server

_REMEDIES: dict[type[Exception], str] = {
    asyncpg.InvalidAuthorizationSpecificationError: "check user and password in the URL, and pg_hba.conf of the server",
    asyncpg.InvalidCatalogNameError: "check the database in the URL, or create it: createdb",
    asyncpg.InsufficientPrivilegeError: "GRANT CREATE ON DATABASE to the user of the URL, or have the schema made for it",
    asyncpg.ClientConfigurationError: "check the URL",
    ssl.SSLError: "check ssl= in the URL and the certificate of the server",
}
_BROKEN = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.TooManyConnectionsError,
)


class PostgresServer(Server):
    """One database of a server, reached with the `options` of `asyncpg.connect`."""

    broken = _BROKEN

    def __init__(self, place: str, options: dict[str, Any], timeout_s: float) -> None:
        super().__init__(place, timeout_s)
        self._options = options
        self._prepared = 100

    def behind_a_pooler(self) -> None:
        """Statements are prepared for one call only from here on: the next may go to another process of the server."""
        self._prepared = 0

    async def reach(self) -> Connection:
        return await asyncpg.connect(**self._options, timeout=60, statement_cache_size=self._prepared)

    def refusal(self, error: Exception) -> JournalUnavailable | None:
        for kind, remedy in _REMEDIES.items():
            if isinstance(error, kind):
                return JournalUnavailable(self.place, f"{error}: {remedy}")
        if isinstance(error, asyncpg.DataError) or (
            isinstance(error, asyncpg.PostgresError) and not isinstance(error, _BROKEN)
        ):
            return JournalUnavailable(self.place, f"{type(error).__name__}: {error}")
        return None

    def is_open(self, connection: Connection) -> bool:
        return not connection.is_closed()

    def abort(self, connection: Connection) -> None:
        connection.terminate()

    async def part_from(self, connection: Connection) -> None:
        try:
            await connection.close(timeout=1)
        except _BROKEN:
            connection.terminate()
