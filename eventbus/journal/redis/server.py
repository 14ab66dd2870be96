"""Server: connections by redis-py, and what its errors mean. Each may be looked at before it is used."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from typing import Any

import hiredis
from redis import exceptions
from redis.asyncio import Connection as TcpConnection
from redis.asyncio import SSLConnection

from eventbus.errors import JournalUnavailable
from eventbus.journal.remote.link import Connection, Server

# What stands in an answer by which the server said no. Inside of a script it comes with the place in the script.
_REMEDIES = {
    "WRONGPASS": "check user and password in the URL, and the ACL of the server",
    "NOAUTH": "check user and password in the URL, and the ACL of the server",
    "AUTH <password> called": "the server asks for no password: leave it out of the URL",
    "invalid username-password": "check user and password in the URL, and the ACL of the server",
    "NOPERM": "the user of the URL may not: grant it all commands on the keys and channels of the bus",
    "DB index": "check the number of the database in the URL, and databases of the server",
    "OOM": "raise maxmemory of the server, or keep less: retention_s, retention_bytes",
    "MISCONF": "the server cannot write its files: see its log, and free its disk",
    "READONLY": "it is a replica, which cannot be written: use the primary",
    "NOREPLICAS": "too few replicas are connected: see min-replicas-to-write of the server",
    "MOVED": "the keys of this bus are on another node of the cluster: use the address that is named",
    "CLUSTERDOWN": "the cluster is not whole: see CLUSTER INFO on one of its nodes",
}
_BROKEN = (
    OSError,
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.InvalidResponse,
    exceptions.ReadOnlyError,  # it was the primary once: the next connection may find the new one
)


class _Wire(TcpConnection):
    """A connection whose commands are packed in C, and that can be dropped at once."""

    def pack_command(self, *args: Any) -> list[bytes]:
        return [hiredis.pack_command(args)]

    @property
    def is_alive(self) -> bool:
        """False once either end has closed it."""
        reader, writer = self._reader, self._writer
        return reader is not None and writer is not None and not (writer.is_closing() or reader.at_eof())

    def drop(self) -> None:
        """Close it at once, with what was under way."""
        if self._writer is not None:
            self._writer.transport.abort()
        self._parser.on_disconnect()  # type: ignore[no-untyped-call] # redis-py has no types here
        self._reader = self._writer = None

    async def call(self, *words: Any) -> Any:
        """One command, and its answer."""
        await self.send_command(*words)
        return await self.read_response()

    async def ask(self, *commands: Sequence[Any]) -> list[Any]:
        """Several commands at once; an answer for each, which may be that it is refused."""
        await self.send_packed_command([hiredis.pack_command(tuple(command)) for command in commands])
        answers: list[Any] = []
        for _ in commands:
            try:
                answers.append(await self.read_response())
            except exceptions.ResponseError as error:
                answers.append(error)
        return answers


class _TlsWire(_Wire, SSLConnection):
    """The same, encrypted."""


class RedisServer(Server):
    """One database of a server, reached with the `options` of redis-py's connections."""

    broken = _BROKEN

    def __init__(self, place: str, options: dict[str, Any], timeout_s: float, *, is_tls: bool) -> None:
        super().__init__(place, timeout_s)
        self._options = options
        self._wire = _TlsWire if is_tls else _Wire

    async def reach(self) -> Connection:
        connection = self._wire(
            **self._options, protocol=2, socket_timeout=None, socket_connect_timeout=None, driver_info=None
        )
        try:
            await connection.connect()  # type: ignore[no-untyped-call] # as above
        except BaseException:
            connection.drop()
            raise
        return connection

    def refusal(self, error: Exception) -> JournalUnavailable | None:
        certificate = error.__context__ if isinstance(error.__context__, ssl.SSLError) else error
        if isinstance(certificate, ssl.SSLError):
            remedy = "check ssl= and ssl_ca_certs= in the URL, and the certificate of the server"
            return JournalUnavailable(self.place, f"{certificate}: {remedy}")
        if isinstance(error, exceptions.BusyLoadingError):
            return None
        if isinstance(error, exceptions.ResponseError | exceptions.AuthenticationError):
            said = str(error) or type(error).__name__
            named = f"{error.status_code} {said}"
            remedy = next((remedy for word, remedy in _REMEDIES.items() if word in named), "see the log of the server")
            return JournalUnavailable(self.place, f"{said}: {remedy}")
        return None

    def is_open(self, connection: Connection) -> bool:
        if not connection.is_alive:
            connection.drop()  # its other end closed it
        return bool(connection.is_alive)

    def abort(self, connection: Connection) -> None:
        connection.drop()
