"""Publishing: onto the bus, all of it or nothing, each id once, however often a client sends it.

Knows the bus, and what was published lately; no request, no socket.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from eventbus import Event, EventBus, Halted, JournalError, Kind, OutcomeUnknown, QueueFull, Receipt
from eventbus.gateway.bodies import ReceiptBody
from eventbus.gateway.checking import Checked, Checking
from eventbus.gateway.limits import Buckets
from eventbus.gateway.patterns import matches
from eventbus.gateway.problems import Problem

if TYPE_CHECKING:
    from eventbus.gateway.auth import Auth, Principal
    from eventbus.gateway.settings import Limits

_MOST_KNOWN = 10_000  # ids of events that were published lately
_THROTTLED = "trade.*"
_UNTRACED: Mapping[str, str] = {}

_Run = asyncio.Task[Mapping[str, ReceiptBody]]


class Publishing:
    """Of one gateway."""

    def __init__(self, bus: EventBus, auth: Auth, limits: Limits, monotonic: Callable[[], float]) -> None:
        self._bus = bus
        self._limits = limits
        self._checking = Checking(auth, limits)
        self._trades = Buckets(limits.trades_per_s, max(limits.trades_per_s, limits.events), monotonic)
        self._known: OrderedDict[str, tuple[bytes, _Run]] = OrderedDict()  # ids that may come again

    async def publish(
        self, items: Sequence[Any], who: Principal, key: str | None = None, trace: Mapping[str, str] = _UNTRACED
    ) -> list[ReceiptBody]:
        """Publish all of them or none; gives their receipts in order. Raises `Problem`, which names the first that is wrong.

        With a `key` of the client's own, items without an id get one that the same key gives again. `trace` is what the events say of
        the trace that they belong to.
        """
        checked = self._checking.check(items, who, key, trace)
        if self._bus.is_halted and any(one.event.__event__.kind is Kind.EXECUTION for one in checked):
            raise Halted(self._bus.halt_reason or "")
        if trades := sum(matches(_THROTTLED, one.event.type) for one in checked):
            self._trades.take(who.id, trades)
        runs: dict[str, _Run] = {}
        fresh: dict[str, Checked] = {}
        for one in checked:
            event_id = one.event.event_id
            known = self._known.get(event_id)
            if known is None:
                fresh[event_id] = one
            elif known[0] != one.sign:
                raise _conflict()
            else:
                runs[event_id] = known[1]
        # Who leaves meanwhile leaves alone: what was begun is finished, and answers a retry.
        run = asyncio.get_running_loop().create_task(self._run([*fresh.values()]))
        for event_id, one in fresh.items():
            runs[event_id] = run
            if one.can_come_again:
                self._known[event_id] = one.sign, run
        run.add_done_callback(lambda done: self._forget_failed(done, [*fresh]))
        while len(self._known) > _MOST_KNOWN:
            self._known.popitem(last=False)
        return [(await asyncio.shield(runs[one.event.event_id]))[one.event.event_id] for one in checked]

    def _forget_failed(self, run: _Run, event_ids: Sequence[str]) -> None:
        if run.cancelled() or run.exception() is not None:
            for event_id in event_ids:
                self._known.pop(event_id, None)

    async def _run(self, fresh: Sequence[Checked]) -> Mapping[str, ReceiptBody]:
        """The receipts by id: of those that the journal knows, and of those that are published now."""
        bodies: dict[str, ReceiptBody] = {}
        for one in fresh:
            if one.can_come_again and (known := await self._in_journal(one)) is not None:
                bodies[known.event_id] = known
        events = [one.event for one in fresh if one.event.event_id not in bodies]
        for body in await self._publish(events):
            bodies[body.event_id] = body
        return bodies

    async def _in_journal(self, one: Checked) -> ReceiptBody | None:
        """Where it is, if it is there. Raises `Problem` when its id has another body there."""
        if "durable" not in self._bus.capabilities:
            return None
        record = await self._bus.journal.find(one.event.event_id)
        if record is None:
            return None
        if not _is_same(one, Event.from_json(record.body)):
            raise _conflict()
        durability = str(self._bus.journal.durability)
        return ReceiptBody(event_id=record.event_id, seq=record.offset, durability=durability)

    async def _publish(self, events: Sequence[Event]) -> list[ReceiptBody]:
        """In one turn of the loop while there is room, which makes it one commit. Only the first waits for room with an end."""
        receipts: list[Receipt] = []
        for event in events:
            try:
                receipts.append(self._bus.publish_nowait(event))
            except QueueFull:
                wait = None if receipts else self._limits.publish_wait_s
                receipts.append(await self._bus.publish(event, timeout=wait))
        are_written = 0
        try:
            for receipt in receipts:
                await receipt.written()
                are_written += 1
        except JournalError as error:
            if are_written:  # the door was shut in between, so there were two commits
                raise OutcomeUnknown(events[0].event_id, str(error)) from error
            raise
        return [_body(receipt) for receipt in receipts]


def _body(receipt: Receipt) -> ReceiptBody:
    return ReceiptBody(event_id=receipt.event_id, seq=receipt.offset, durability=receipt.durability)


def _is_same(one: Checked, known: Event) -> bool:
    """Is it the event that the journal has? What was not given then and now differs: the time."""
    given, event = one.asked, one.event
    return (
        known.type == event.type
        and known.payload == event.payload
        and (given.timestamp is None or known.timestamp == event.timestamp)
        and known.source == event.source
        and (given.correlation_id is None or known.correlation_id == event.correlation_id)
    )


def _conflict() -> Problem:
    return Problem(409, "id_conflict", "an event with this id has another body: give the new fact a new id")
