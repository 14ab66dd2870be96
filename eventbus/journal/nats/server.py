"""Server: connections by nats-py, what is asked on one, and what the errors mean.

A connection is made once and never mended by the client: a call that was cut short must not be sent by another one.
"""

from __future__ import annotations

import asyncio
import secrets
import ssl
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from pydantic_core import from_json, to_json

from eventbus.errors import JournalUnavailable
from eventbus.journal.nats.messages import Put
from eventbus.journal.remote.link import Connection, Server

MOST = 1_000  # messages of one batch
_GOODBYE_S = 1.0
_LOOK_S = 0.2
_PING_S, _PINGS = 1, 3  # who reads in the client may end without a word: then so many pings are not answered
_UNAVAILABLE = 503
_PAGE_BYTES = 8 << 20
_OVERHEAD = 100  # of the headers of a message, at most
_NOT_ALLOWED = frozenset({10039, 10076})  # JetStream, to the account or at all: no other try would mend it
_REMEDIES = {
    "jetstream not enabled": "start the server with --jetstream, or allow it to the account",
    "authorization violation": "check user and password, or the token, in the URL",
    "permissions violation": "let the user publish to $JS.API.> and the subjects of the bus, and subscribe to those and _INBOX.>",
    "tls": "check ssl= in the URL and the certificate of the server",
}


class Refused(Exception):
    """The server said no: nothing was changed. `code` is its own."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Gone(OSError):
    """The connection is lost, or nobody answers on it just now."""


class Ack(NamedTuple):
    """A message is stored, the last of its batch; or its id was there before."""

    place: int
    duplicate: bool


class _Asked:
    """Questions that were asked together, and the answers so far: one for each, or one after the other up to one with a status."""

    def __init__(self, count: int | None) -> None:
        self.done: asyncio.Future[list[Msg]] = asyncio.get_running_loop().create_future()
        self._many = count is None
        self._left = count or 0
        self._answers: list[Any] = [None] * self._left

    def answer(self, at: int, message: Msg) -> None:
        if self._many:
            self._answers.append(message)
            is_whole = "Status" in (message.headers or ())
        else:
            self._answers[at] = message
            self._left -= 1
            is_whole = self._left == 0
        if is_whole and not self.done.done():
            self.done.set_result(self._answers)


class Wire:
    """One connection."""

    def __init__(self) -> None:
        self.client = Client()
        self._lost: Callable[[], None] = lambda: None
        self.reason = "it was closed"
        self._asked: dict[int, _Asked] = {}
        self._count = 0
        self._inbox = ""
        self._look: asyncio.TimerHandle | None = None

    async def open(self, address: str, options: Mapping[str, Any]) -> None:
        """Connect. Whatever raises leaves nothing behind."""
        # With `pending_size` the client may hold back as much as it is given: whoever waited inside it could not be cancelled.
        once: dict[str, Any] = {
            "allow_reconnect": False,
            "max_reconnect_attempts": 1,
            "reconnect_time_wait": 0,
            "pending_size": 0,
            "ping_interval": _PING_S,
            "max_outstanding_pings": _PINGS,
        }
        told: dict[str, Any] = {"error_cb": self._failed, "closed_cb": self._closed}
        connecting = asyncio.ensure_future(self.client.connect([address], **told, **once, **options))
        try:
            await asyncio.wait([connecting])  # a cancellation may be lost inside it
            connecting.result()
            self._look_after()
            self._inbox = self.client.new_inbox()
            await self.client.subscribe(
                f"{self._inbox}.*", cb=self._answered, pending_msgs_limit=0, pending_bytes_limit=0
            )
        except nats.errors.NoServersError as error:
            raise Gone(self.reason) from error
        except BaseException:
            while not connecting.done():
                connecting.cancel()
                await asyncio.wait([connecting], timeout=0.1)
            _ = connecting.cancelled() or connecting.exception()  # it is looked at, whatever it is
            await self.end()
            raise

    @property
    def info(self) -> Mapping[str, Any]:
        """What the server said of itself."""
        return self.client._server_info  # noqa: SLF001 - the client shows only its version

    def when_lost(self, call: Callable[[], None]) -> None:
        """It is called when the connection is lost, or was."""
        self._lost = call

    async def end(self) -> None:
        """Say goodbye, or hang up on who does not listen."""
        transport = self.client._transport  # noqa: SLF001 - the client has no way to hang up
        try:
            async with asyncio.timeout(_GOODBYE_S):
                await self.client.close()
        except (TimeoutError, OSError, nats.errors.Error):
            pass
        with suppress(AttributeError, OSError):
            transport._io_writer.transport.abort()  # type: ignore[union-attr] # noqa: SLF001 - as above; there may be none
        self._over()

    # --- questions -----------------------------------------------------------------------------------------------------

    async def ask(self, questions: Sequence[Put]) -> list[Msg]:
        """Send all, and wait for the answer of each."""
        return await self._ask(questions, len(questions)) if questions else []

    async def api(self, call: str, body: Mapping[str, Any] | None = None, *, refused: bool = True) -> dict[str, Any]:
        """Call JetStream. What it refuses is raised, or given, as it said it."""
        (answer,) = await self.ask([Put(f"$JS.API.{call}", to_json(body or {}))])
        said: dict[str, Any] = from_json(_sent(answer).data)
        if refused and "error" in said:
            raise _refusal(said["error"])
        return said

    async def page(self, stream: str, after: int, limit: int, subject: str | None = None) -> tuple[list[Msg], bool]:
        """Up to so many messages beyond a place of the stream, and whether there are more."""
        query: dict[str, Any] = {"seq": max(after, 0) + 1, "batch": limit, "max_bytes": _PAGE_BYTES}
        if subject is not None:
            query["next_by_subj"] = subject
        *found, end = await self._ask([Put(f"$JS.API.DIRECT.GET.{stream}", to_json(query))], None)
        return found, bool(found) and (_sent(end).headers or {}).get("Nats-Num-Pending", "0") != "0"

    async def last(self, stream: str, subjects: Sequence[str]) -> list[Msg]:
        """The message under each of these subjects, where there is one: as they were at one moment, up to 1,000."""
        found: list[Msg] = []
        for at in range(0, len(subjects), MOST):
            query = to_json({"multi_last": subjects[at : at + MOST]})
            *some, end = await self._ask([Put(f"$JS.API.DIRECT.GET.{stream}", query)], None)
            _sent(end)
            found += some
        return found

    async def at(self, stream: str, places: Sequence[int]) -> list[Msg | None]:
        """The message at each of these places; None where there is none any more."""
        asked = [Put(f"$JS.API.DIRECT.GET.{stream}", to_json({"seq": max(place, 1)})) for place in places]
        return [None if "Status" in (_sent(answer).headers or ()) else answer for answer in await self.ask(asked)]

    # --- messages to be stored -------------------------------------------------------------------------------------------

    async def store(self, puts: Sequence[Put]) -> Ack:
        """All of them, up to 1,000, one after the other, or none. Raises `Refused`."""
        batch = secrets.token_hex(8)
        *before, last = [
            Put(put.subject, put.body, {**put.headers, "Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(at)})
            for at, put in enumerate(puts, 1)
        ]
        if before:
            last = last._replace(headers={**last.headers, "Nats-Batch-Commit": "1"})
        else:
            last = puts[0]
        for put in before:
            await self.send(put)
        (answer,) = await self._ask([last], 1)
        return _ack(answer)

    async def store_each(self, puts: Sequence[Put]) -> list[Ack | Refused]:
        """Each for itself: whether it is stored, or why not. Together, if all of them can be."""
        if 1 < len(puts) <= MOST and not any("Nats-Msg-Id" in put.headers for put in puts):
            with suppress(Refused):
                end = (await self.store(puts)).place
                return [Ack(place, False) for place in range(end + 1 - len(puts), end + 1)]
        told: list[Ack | Refused] = []
        for answer in await self.ask(puts):
            try:
                told.append(_ack(answer))
            except Refused as refused:
                told.append(refused)
        return told

    # --- helpers -------------------------------------------------------------------------------------------------------

    async def send(self, put: Put, reply: str = "") -> None:
        """Send one message; who listens hears it."""
        size = len(put.body) + sum(len(name) + len(value) for name, value in put.headers.items()) + _OVERHEAD
        if size > self.client.max_payload:  # the server would hang up
            raise Refused(0, f"a message of {size} bytes is more than its max_payload: raise that in the server")
        await self.client.publish(put.subject, put.body, reply, dict(put.headers) or None)

    async def _ask(self, questions: Sequence[Put], count: int | None) -> list[Msg]:
        if self.client.is_closed:
            raise Gone(self.reason)
        self._count = number = self._count + 1
        self._asked[number] = asked = _Asked(count)
        try:
            for at, put in enumerate(questions):
                await self.send(put, f"{self._inbox}.{number}-{at}")
            return await asked.done
        finally:
            del self._asked[number]

    async def _answered(self, message: Msg) -> None:
        number, _, at = message.subject.rpartition(".")[2].partition("-")
        if (asked := self._asked.get(int(number))) is not None:
            asked.answer(int(at), message)

    async def _failed(self, error: Exception) -> None:
        self.reason = str(error) or type(error).__name__
        if "permissions violation" in self.reason.lower():
            self.give_up(Refused(0, self.reason))

    def _look_after(self) -> None:
        """Where something is left to send, the client may fail while it closes, and then calls nobody: it is asked, too."""
        if self.client.is_closed:
            self._over()
        else:
            self._look = asyncio.get_running_loop().call_later(_LOOK_S, self._look_after)

    async def _closed(self) -> None:
        self._over()

    def _over(self) -> None:
        if self._look is None:  # it was not open, or was over before
            return
        self._look.cancel()
        self._look = None
        if (error := self.client.last_error) is not None:
            self.reason = str(error) or type(error).__name__
        self.give_up(Gone(self.reason))
        self._lost()

    def give_up(self, why: Exception) -> None:
        """Nobody is answered any more."""
        for asked in self._asked.values():
            if not asked.done.done():
                asked.done.set_exception(why)


class NatsServer(Server):
    """One server, at `address`, reached with the `options` of the client."""

    broken = (OSError, nats.errors.Error)

    def __init__(self, place: str, address: str, options: Mapping[str, Any], timeout_s: float) -> None:
        super().__init__(place, timeout_s)
        self._address = address
        self._options = options
        self._ending: set[asyncio.Task[None]] = set()

    async def reach(self) -> Connection:
        wire = Wire()
        await wire.open(self._address, self._options)
        if self._options["tls"] and not (wire.info.get("tls_required") or wire.info.get("tls_available")):
            await wire.end()
            raise Refused(0, "the server has no TLS, and ssl= asks for it")
        return wire

    def refusal(self, error: Exception) -> JournalUnavailable | None:
        text = str(error)
        is_told = isinstance(error, Refused | ssl.SSLError | nats.errors.Error)
        for said, remedy in _REMEDIES.items():
            if is_told and (said in text.lower() or (said == "tls" and isinstance(error, ssl.SSLError))):
                return JournalUnavailable(self.place, f"{text}: {remedy}")
        return JournalUnavailable(self.place, text) if isinstance(error, Refused) else None

    def is_open(self, connection: Connection) -> bool:
        return not connection.client.is_closed

    def abort(self, connection: Connection) -> None:
        connection.give_up(Gone("it was given up"))
        task = asyncio.get_running_loop().create_task(connection.end())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def part_from(self, connection: Connection) -> None:
        await connection.end()

    async def ended(self) -> None:
        """Wait for the connections that are being closed."""
        if self._ending:
            await asyncio.wait([*self._ending])


def _sent(answer: Msg) -> Msg:
    """An answer of JetStream; where there is none of it, nobody answers."""
    if (answer.headers or {}).get("Status") == str(_UNAVAILABLE):
        raise Gone("JetStream does not answer")
    return answer


def _ack(answer: Msg) -> Ack:
    said = from_json(_sent(answer).data)
    if "error" in said:
        raise _refusal(said["error"])
    return Ack(said["seq"], said.get("duplicate", False))


def _refusal(error: Mapping[str, Any]) -> Refused | Gone:
    code = error.get("err_code", 0)
    text = f"{error.get('description', 'no reason given')} ({code})"
    return Gone(text) if error.get("code") == _UNAVAILABLE and code not in _NOT_ALLOWED else Refused(code, text)
