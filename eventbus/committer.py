"""Committer: stands between door and lane on a bus with a journal: append, commit, and only then dispatch.

Whatever was accepted in one turn of the loop is appended as one batch; the journal's own group commit joins what is concurrent.
Knows no subscription.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from eventbus.burst import Burst
from eventbus.codec import encode
from eventbus.door import Door
from eventbus.errors import CodecError, EventBusError, IdConflict
from eventbus.event import Event, event_key
from eventbus.journal.base import Append, Appended, Journal
from eventbus.runtime import log


class Committer:
    """Bursts on their way into the journal."""

    def __init__(self, journal: Journal, door: Door) -> None:
        self._journal = journal
        self._door = door
        self._bursts: list[Burst] = []
        self._appends: set[asyncio.Future[list[Appended]]] = set()
        self.failures = 0

    def take(self, burst: Burst) -> None:
        """A burst was accepted; it is written at the end of this turn of the loop."""
        loop = asyncio.get_running_loop()
        if not self._bursts:
            loop.call_soon(self._flush)
        burst.committed = loop.create_future()
        self._door.uncommitted += len(burst.events)
        self._bursts.append(burst)

    def take_back(self, burst: Burst) -> None:
        """An event of this turn turned out to be none that can be written."""
        self._bursts.remove(burst)
        self._refuse(burst, CodecError("not accepted"))

    @property
    def is_busy(self) -> bool:
        return bool(self._bursts or self._appends)

    async def flushed(self) -> None:
        """Wait until everything accepted so far is in the journal, or refused by it."""
        while self.is_busy:
            if self._appends:
                await asyncio.wait(self._appends)
            else:
                await asyncio.sleep(0)

    def _flush(self) -> None:
        bursts, self._bursts = self._bursts, []
        self._append(bursts)

    def _append(self, bursts: Sequence[Burst]) -> None:
        records = [as_record(burst.events[0], burst.body) for burst in bursts if burst.body is not None]
        if not records:
            for burst in bursts:
                self._enter(burst)
            return
        appending = asyncio.ensure_future(self._journal.append(records))
        self._appends.add(appending)
        appending.add_done_callback(lambda done: self._answered(bursts, done))

    def _answered(self, bursts: Sequence[Burst], done: asyncio.Future[list[Appended]]) -> None:
        self._appends.discard(done)
        error = None if done.cancelled() else done.exception()
        if isinstance(error, IdConflict) and len(bursts) > 1:
            # One event contradicts the journal; its neighbours have nothing to do with it.
            for burst in bursts:
                self._append([burst])
            return
        if error is not None or done.cancelled():
            for burst in bursts:
                self._refuse(burst, error or asyncio.CancelledError())
            return
        places = iter(done.result())
        level = str(self._journal.durability)
        for burst in bursts:
            if burst.body is None:
                self._enter(burst)
                continue
            place = next(places)
            burst.offset, burst.durability = place.offset, level
            if place.duplicate:
                self._drop(burst)
            else:
                self._enter(burst)

    def _enter(self, burst: Burst) -> None:
        """The burst is durable: on to the dispatcher."""
        self._door.uncommitted -= len(burst.events)
        self._door.lane.put_nowait(burst)
        _resolve(burst, None)

    def _drop(self, burst: Burst) -> None:
        """It was accepted before, under the same id: once is enough."""
        self._door.withdraw(burst)
        burst.is_closed = True
        for flight in burst.flights.values():
            flight.landed()
        _resolve(burst, None)

    def _refuse(self, burst: Burst, error: BaseException) -> None:
        self.failures += 1
        self._door.withdraw(burst)
        burst.is_closed = True
        if not isinstance(error, EventBusError):
            log.error("journal failed", extra={"error": repr(error)})
        for flight in burst.flights.values():
            flight.fail(error)
        _resolve(burst, error)


def _resolve(burst: Burst, error: BaseException | None) -> None:
    committed = burst.committed
    if committed is None or committed.done():
        return
    if error is None:
        committed.set_result(None)
    else:
        committed.set_exception(error)
        committed.exception()  # seen: publish_nowait leaves nobody who waits, and the failure is counted


def as_record(event: Event, body: bytes | None = None) -> Append:
    """How an event is kept in a journal."""
    spec = event.__event__
    key = event_key(event, spec.key)
    text = None if key is None else str(key)
    return Append(
        event_id=event.event_id,
        type=event.type,
        version=spec.version,
        kind=spec.kind.value,
        key=text,
        time_ns=int(event.timestamp.timestamp() * 1e9),
        correlation_id=event.correlation_id,
        causation_id=event.causation_id,
        body=encode(event) if body is None else body,
        retain=f"{event.type} {text or ''}" if spec.retain else None,
    )
