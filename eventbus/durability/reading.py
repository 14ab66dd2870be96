"""Reading: old events again, on purpose, and how one led to another; from the journal, far from live subscriptions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Container, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

from eventbus.bounds import callable_with, number, whole
from eventbus.causality import Handled, explain
from eventbus.codec import decoder
from eventbus.errors import CodecError, PolicyConflict
from eventbus.selector import Selector

if TYPE_CHECKING:
    from eventbus.causality import Explanation, History
    from eventbus.durability.quarantine import Quarantine
    from eventbus.event import Event
    from eventbus.journal.protocol import Journal
    from eventbus.journal.values import Record, SettledDelivery, Trimmed

_PAGE = 1_000
_MOST = 2**63 - 1

Place = int | datetime | None
"""Where in the journal: an offset, a time, or (None) its end on that side."""


class Reading:
    """Of one journal. `ready` waits until it is open and everything that may be read is in it."""

    def __init__(self, journal: Journal, quarantine: Quarantine, ready: Callable[[str], Awaitable[None]]) -> None:
        self._journal = journal
        self._quarantine = quarantine
        self._ready = ready

    async def replay(
        self, since: Place, until: Place, types: str, where: Callable[[Event], object] | None
    ) -> AsyncIterator[Event]:
        """Events from `since` to `until`, both inclusive, oldest first; 0 is before the first. Raises `OffsetGone` below retention."""
        selector, journal = Selector(types), self._journal
        _check("since", since)
        _check("until", until)
        if where is not None:
            callable_with("where", where, "an event")
        await self._ready("replay()")
        after = await self._offset_before(since)
        last = min(until, journal.last) if isinstance(until, int) else journal.last
        earliest = since if isinstance(since, datetime) else None
        latest = until if isinstance(until, datetime) else None
        chooses = types != "*" or earliest is not None or latest is not None or where is not None
        while page := await journal.bodies(after, _PAGE, until=last):
            read = decoder()  # anew for each page: a class may have come meanwhile
            for offset, body in page:
                try:
                    event = read(body)
                except CodecError:
                    for record in await journal.read(offset - 1, 1):
                        await self._quarantine.read(record)
                    continue
                if chooses:
                    if not selector.matches(type(event), event.type):
                        continue
                    # Labels need not ascend: a time is asked of each event, not of its place.
                    if (earliest is not None and event.timestamp < earliest) or (
                        latest is not None and event.timestamp > latest
                    ):
                        continue
                    if where is not None and not where(event):
                        continue
                yield event
            after = page[-1][0]

    async def _offset_before(self, since: Place) -> int:
        if since is None or since == 0:
            return self._journal.first - 1
        if isinstance(since, int):
            return min(since - 1, self._journal.last)
        return await self._journal.seek(_ns_of(since))

    async def trim(self, before: int | datetime | None, max_bytes: int | None, *, force: bool) -> Trimmed:
        """Remove what is older than an offset or a time, or the oldest beyond a size."""
        _check("before", before)
        if max_bytes is not None:
            whole("max_bytes", max_bytes, least=0)
        before_ns = _ns_of(before) if isinstance(before, datetime) else None
        await self._ready("trim()")
        return await self._journal.trim(
            before_ns=before_ns,
            max_bytes=None if max_bytes is None else min(max_bytes, _MOST),
            before=min(before, _MOST) if isinstance(before, int) else None,
            force=force,
        )

    async def explain(self, event_id: str, history: History, titles: Container[str]) -> Explanation:
        """The causal tree of an event, with what was made of each. Raises `LookupError`.

        The journal knows it however old it is, and what groups made of it; what other subscriptions made of it is remembered
        for a while. `titles` are the subscriptions that read for groups.
        """
        await self._ready("explain()")
        record = await self._journal.find(event_id)
        if record is None:
            return history.explain(event_id)
        related = await self._journal.related(record.correlation_id or event_id)
        events = [(record, event) for record in related if (event := await self._quarantine.read(record)) is not None]
        found = explanation(event_id, events, await self._journal.outcomes([record.offset for record in related]))
        handled = dict(found.handled)
        for handled_id, lately in history.handled(found).items():
            others = (made for made in lately if made.subscription not in titles)
            handled[handled_id] = (*handled.get(handled_id, ()), *others)
        return replace(found, handled=handled)


async def play(handler: Callable[[Event], Any], events: AsyncIterator[Event], speed: float) -> int:
    """Call `handler` with each event, one after the other; gives how many. `speed` 1 keeps their pace, 0 none."""
    number("speed", speed)
    count, previous = 0, None
    async for event in events:
        if speed > 0 and previous is not None:
            await asyncio.sleep(max(0.0, (event.timestamp - previous).total_seconds() / speed))
        previous = event.timestamp
        result = handler(event)
        if isawaitable(result):
            await result
        count += 1
    return count


def explanation(
    event_id: str, related: Sequence[tuple[Record, Event]], outcomes: Iterable[SettledDelivery]
) -> Explanation:
    """The causal tree of one event among related ones, with what was made of each. Raises `LookupError`."""
    ids = {record.offset: record.event_id for record, _ in related}
    handled: dict[str, list[Handled]] = {}
    for group, offset, status, attempts, queued_ns, ran_ns in outcomes:
        if offset in ids:
            made = Handled(group, status, attempts, _seconds(queued_ns), _seconds(ran_ns))
            handled.setdefault(ids[offset], []).append(made)
    return explain(event_id, [event for _, event in related], {key: tuple(made) for key, made in handled.items()})


def aware(name: str, moment: datetime) -> datetime:
    """A time with its zone. Raises `PolicyConflict` for one without."""
    if moment.tzinfo is None:
        raise PolicyConflict(name, f"{moment} has no time zone: use an aware time")
    return moment


def _check(name: str, place: object) -> None:
    """Raise `PolicyConflict` unless it is an offset, an aware time or None."""
    if isinstance(place, datetime):
        aware(name, place)
    elif place is not None:
        whole(name, place, least=0)


def _ns_of(moment: datetime) -> int:
    """Its nanoseconds since the epoch, or the nearest that a journal can hold."""
    return max(-_MOST, min(_MOST, int(moment.timestamp() * 1e9)))


def _seconds(ns: int | None) -> float | None:
    return None if ns is None else ns / 1e9
