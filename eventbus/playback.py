"""Playback: old events again, on purpose, and how one led to another; read from the journal, far from live subscriptions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from inspect import isawaitable
from typing import Any

from eventbus.causality import Explanation, Handled, explain
from eventbus.codec import decoder
from eventbus.errors import CodecError, PolicyConflict
from eventbus.event import Event
from eventbus.journal.protocol import Journal
from eventbus.journal.values import Record, SettledDelivery
from eventbus.quarantine import Quarantine
from eventbus.selector import Selector

_PAGE = 1_000

Place = int | datetime | None
"""Where in the journal: an offset, a time, or (None) its end on that side."""


async def replay(
    ready: Callable[[], Awaitable[None]],
    journal: Journal,
    quarantine: Quarantine,
    since: Place,
    until: Place,
    types: str,
    where: Callable[[Event], bool] | None,
) -> AsyncIterator[Event]:
    """Events from `since` to `until`, both inclusive, oldest first. Raises `OffsetGone` below retention."""
    selector = Selector(types)
    await ready()
    after = await _offset_before(journal, since)
    last = until if isinstance(until, int) else journal.last
    earliest = since if isinstance(since, datetime) else None
    latest = _aware("until", until) if isinstance(until, datetime) else None
    chooses = types != "*" or earliest is not None or latest is not None or where is not None
    while page := await journal.bodies(after, _PAGE, until=last):
        read = decoder()  # anew for each page: a class may have come meanwhile
        for offset, body in page:
            try:
                event = read(body)
            except CodecError:
                for record in await journal.read(offset - 1, 1):
                    await quarantine.read(record)
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


async def replay_to(handler: Callable[[Event], Any], events: AsyncIterator[Event], speed: float) -> int:
    """Call `handler` with each event, one after the other; gives how many. `speed` 1 keeps their pace, 0 none."""
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


async def trace(journal: Journal, quarantine: Quarantine, event_id: str) -> Explanation:
    """The causal tree of an event, with what its durable subscriptions made of each. Raises `LookupError`."""
    record = await journal.find(event_id)
    if record is None:
        raise LookupError(f"event {event_id} is not in the journal")
    related = await journal.related(record.correlation_id or event_id)
    events = [(kept, event) for kept in related if (event := await quarantine.read(kept)) is not None]
    return explanation(event_id, events, await journal.outcomes([kept.offset for kept in related]))


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


def _seconds(ns: int | None) -> float | None:
    return None if ns is None else ns / 1e9


async def _offset_before(journal: Journal, since: Place) -> int:
    if since is None:
        return journal.first - 1
    if isinstance(since, int):
        return since - 1
    return await journal.seek(int(_aware("since", since).timestamp() * 1e9))


def _aware(name: str, moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise PolicyConflict(name, f"{moment} has no time zone: use an aware time")
    return moment
