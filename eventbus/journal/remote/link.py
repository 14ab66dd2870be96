"""Link: connections to a server, whatever its driver. A call has a deadline; a connection on which one was cut short is never used again.

Knows no driver: a `Server` of each backend says how to connect, and what its errors mean.
"""

from __future__ import annotations

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection, Coroutine
from functools import wraps
from typing import Any, Concatenate, NamedTuple, ParamSpec, Self, TypeVar

from eventbus.errors import BackendUnsafe, JournalError, JournalUnavailable, OutcomeUnknown
from eventbus.journal.remote.arrivals import Arrivals
from eventbus.journal.remote.storage import NotConnected

_T = TypeVar("_T")

Connection = Any
"""A connection of the driver."""

_CONNECT_S = 2.5  # for one try
_CHECK = "check host and port, and that the server runs"
_OPEN_S = 4.0  # a server that is down is told at once to who opens, whatever a call may take later
_BETWEEN_S = 0.25  # between two connections that did not last
_SHORTEST_S, _LONGEST_S = 0.05, 2.0  # between tries, at random below a bound that doubles


class Server(ABC):
    """Where connections come from. `failure` says why there are none now; None while there are, as far as is known."""

    broken: tuple[type[Exception], ...] = (OSError,)
    """What a driver raises when a connection is of no use any more, and when a server cannot take one just now."""

    def __init__(self, place: str, timeout_s: float) -> None:
        self.place = place
        self.timeout_s = timeout_s
        self.failure: str | None = None
        self._pausing: set[asyncio.Future[None]] = set()  # who tries again after a while
        self._greet: Callable[[Connection], Awaitable[None]] | None = None

    @abstractmethod
    async def reach(self) -> Connection:
        """One try at a connection. Raises one of `broken` if another try may mend it."""

    @abstractmethod
    def refusal(self, error: Exception) -> JournalUnavailable | None:
        """What an error of the driver means by which the server said no: nothing was changed. None for any other error."""

    @abstractmethod
    def is_open(self, connection: Connection) -> bool: ...

    @abstractmethod
    def abort(self, connection: Connection) -> None:
        """Close it at once, whatever it was doing."""

    async def part_from(self, connection: Connection) -> None:
        """Close it, and say goodbye where that is the custom."""
        self.abort(connection)

    def greet_with(self, greet: Callable[[Connection], Awaitable[None]]) -> None:
        """Each connection goes through this from here on, before it is used."""
        self._greet = greet

    async def dial(self) -> Connection:
        """One try at a connection that may be used."""
        connection = await self.reach()
        try:
            if self._greet is not None:
                await self._greet(connection)
        except BaseException:
            self.abort(connection)
            raise
        return connection

    async def connect(self, deadline: float) -> Connection:
        """A connection, tried for until the deadline of the loop, with growing pauses that end when anybody else is connected.

        Raises `NotConnected`, and at once `JournalUnavailable` for what no other try would mend.
        """
        now, bound = asyncio.get_running_loop().time, _SHORTEST_S
        while True:
            try:
                async with asyncio.timeout_at(min(deadline, now() + _CONNECT_S)):
                    connection = await self.dial()
            except Exception as error:
                if refusal := self.refusal(error):
                    raise refusal from error
                if not isinstance(error, self.broken):
                    raise
                self.failure = str(error) or "it does not answer"
                pause = random.uniform(_SHORTEST_S, bound)
                bound = min(2 * bound, _LONGEST_S)
                if now() + pause >= deadline:
                    reason = f"no connection ({self.failure}): {_CHECK}"
                    raise NotConnected(self.place, reason) from error
                await self._pause(pause)
            else:
                self._is_back()
                return connection

    async def _pause(self, seconds: float) -> None:
        self._pausing.add(back := asyncio.get_running_loop().create_future())
        try:
            await asyncio.wait([back], timeout=seconds)
        finally:
            self._pausing.discard(back)

    def _is_back(self) -> None:
        self.failure = None
        for back in self._pausing:
            if not back.done():
                back.set_result(None)

    async def always(self, work: Callable[[Connection], Awaitable[None]]) -> None:
        """Until cancelled: do work on a connection of its own, and begin anew on another whenever that ends."""
        now = asyncio.get_running_loop().time
        while True:
            connection = None
            try:
                connection = await self.connect(now() + self.timeout_s)
                await work(connection)
            except Exception as error:
                if not isinstance(error, (JournalError, *self.broken)) and self.refusal(error) is None:
                    raise
            finally:
                if connection is not None:
                    self.abort(connection)
            await asyncio.sleep(_BETWEEN_S)


class Link:
    """Connections for one kind of call: up to `size`, made when they are needed, and made anew after they were lost."""

    def __init__(self, server: Server, size: int = 1) -> None:
        self._server = server
        self._turns = asyncio.Semaphore(size)
        self._idle: list[Connection] = []

    async def run(
        self, work: Callable[[Connection], Awaitable[_T]], *, changes: bool = False, timeout_s: float | None = None
    ) -> _T:
        """Do work on a connection. Raises `JournalUnavailable` when nothing was changed, `OutcomeUnknown` when something may have been."""
        server, connection = self._server, None
        limit_s = server.timeout_s if timeout_s is None else timeout_s
        deadline = asyncio.get_running_loop().time() + limit_s
        try:
            async with asyncio.timeout_at(deadline), self._turns:
                connection = await self._take(deadline)
                try:
                    return await work(connection)
                except BaseException as error:
                    if isinstance(error, (asyncio.CancelledError, *server.broken)):
                        server.abort(connection)
                    raise
                finally:
                    if server.is_open(connection):
                        self._idle.append(connection)
        except TimeoutError as error:
            if connection is None:
                why = f"no connection within {limit_s:g} s ({server.failure}): {_CHECK}"
                raise NotConnected(server.place, why) from error
            raise self._unsure(f"no answer within {limit_s:g} s", changes) from error
        except server.broken as error:
            if (refusal := server.refusal(error)) is not None:
                raise refusal from error
            raise self._unsure(f"the connection broke: {error or type(error).__name__}", changes) from error
        except Exception as error:
            if (refusal := server.refusal(error)) is not None:
                raise refusal from error
            raise

    async def close(self) -> None:
        """Let go of what is not in use."""
        while self._idle:
            await self._server.part_from(self._idle.pop())

    async def _take(self, deadline: float) -> Connection:
        while self._idle:
            if self._server.is_open(connection := self._idle.pop()):
                return connection
        return await self._server.connect(deadline)

    def _unsure(self, reason: str, changes: bool) -> JournalUnavailable | OutcomeUnknown:
        return OutcomeUnknown("", reason) if changes else JournalUnavailable(self._server.place, reason)


class Bus(NamedTuple):
    """A bus on a server: its name there, how often its log is looked at where no hint comes (s), whether it is made if it is not there."""

    name: str
    poll_s: float
    creates: bool


class Linked(ABC):
    """A bus whose methods are done on links to its server: `question` and `change` give them their connection."""

    backend: str
    """As people call it."""

    capabilities = frozenset(
        {"append", "dead_letters", "durable", "groups", "quarantine", "replay", "retention", "shared", "types"}
        | {"values", "verify", "wait"}
    )

    def __init__(self, server: Server, bus: Bus) -> None:
        self.server = server
        self.bus = bus
        self.links = {
            "asking": Link(server, 3),
            **{name: Link(server) for name in ("appending", "settling", "tending")},
        }
        self._arrivals = Arrivals()

    @property
    def shelf(self) -> Self:
        """Its cursors are kept with the rest."""
        return self

    async def open(self, arrivals: Arrivals) -> None:
        """Raises `BackendUnsafe` for a server that would break a promise, `JournalUnavailable` for one that cannot be used."""
        self._arrivals = arrivals
        self.server.greet_with(self._greet)
        try:
            await self.links["asking"].run(self._look, timeout_s=min(self.server.timeout_s, _OPEN_S))
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Let go of every connection."""
        await asyncio.gather(*(link.close() for link in self.links.values()))

    async def look(self) -> None:
        """Say by `Arrivals.stands` how the log stands."""
        await self.links["asking"].run(self._look)

    async def watch(self, channels: Collection[str], told: Callable[[str, bytes], None]) -> None:
        """See `Storage.watch`."""
        await self.server.always(lambda connection: self._listen(connection, channels, told))

    @abstractmethod
    async def _greet(self, connection: Connection) -> None:
        """May this server keep a bus, and is it there? Ends with a look at it."""

    @abstractmethod
    async def _look(self, connection: Connection) -> None:
        """See `look`."""

    @abstractmethod
    async def _listen(
        self, connection: Connection, channels: Collection[str], told: Callable[[str, bytes], None]
    ) -> None:
        """See `watch`; until the connection is of no use any more."""

    def _no_bus(self) -> JournalUnavailable:
        return JournalUnavailable(self.server.place, f"there is no bus {self.bus.name}: check name= in the URL")

    def _unsafe(self, what: str, remedy: str = "choose another name=") -> BackendUnsafe:
        return BackendUnsafe(self.backend, what, remedy)

    def _other_format(self, of: str, found: object) -> BackendUnsafe:
        return self._unsafe(
            f"{of} has format {found}", f"use a version that knows it, or another name= than {self.bus.name}"
        )


async def came(event: asyncio.Event, within_s: float) -> bool:
    """Wait so long at most for it; gives whether it was set. The next wait is for the next."""
    try:
        async with asyncio.timeout(within_s):
            await event.wait()
    except TimeoutError:
        return False
    finally:
        event.clear()
    return True


_S = TypeVar("_S", bound=Linked)
_P = ParamSpec("_P")
_Work = Callable[Concatenate[_S, Connection, _P], Awaitable[_T]]
_Call = Callable[Concatenate[_S, _P], Coroutine[Any, Any, _T]]


def question(work: _Work[_S, _P, _T]) -> _Call[_S, _P, _T]:
    """A method that asks, and changes nothing."""
    return _on("asking", work, changes=False)


def change(link: str) -> Callable[[_Work[_S, _P, _T]], _Call[_S, _P, _T]]:
    """A method that changes something, on a link of its own kind, so that no two kinds wait for each other."""
    return lambda work: _on(link, work, changes=True)


def _on(link: str, work: _Work[_S, _P, _T], *, changes: bool) -> _Call[_S, _P, _T]:
    @wraps(work)
    async def call(self: _S, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        return await self.links[link].run(lambda connection: work(self, connection, *args, **kwargs), changes=changes)

    return call
