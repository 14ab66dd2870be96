"""Waits: handlers that wait for what other handlers are to settle, and the circles they must not close.

A handler that waits occupies its slot. Where every slot of a subscription is occupied by handlers that wait, directly or in a circle, for
one of its own deliveries, nobody would ever go on: who closes the circle is told so instead.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from eventbus.errors import WouldDeadlock
from eventbus.outcome import PENDING

if TYPE_CHECKING:
    from eventbus.event import Event
    from eventbus.road.burst import Burst
    from eventbus.road.context import Mark
    from eventbus.road.worker import Worker


class _Handling(NamedTuple):
    """One delivery that runs, and waits."""

    worker: Worker
    event_id: str


class _Wait(NamedTuple):
    """What it waits for: the outcomes of an event."""

    by: _Handling
    handled: Event
    burst: Burst
    place: int  # in the burst
    event: Event
    future: asyncio.Future[Any]


class Waits:
    """The waits inside handlers of one bus that last now."""

    def __init__(self) -> None:
        self._waits: dict[_Handling, list[_Wait]] = defaultdict(list)
        self._of_worker: dict[Worker, set[_Handling]] = defaultdict(set)
        self._unrouted: dict[Burst, list[_Wait]] = defaultdict(list)

    @contextmanager
    def of(self, mark: Mark, burst: Burst, index: int, event: Event, future: asyncio.Future[Any]) -> Iterator[None]:
        """A handler waits for the outcomes of an event meanwhile. Raises `WouldDeadlock` if they would never come."""
        cell, _place, handled = mark
        wait = _Wait(_Handling(cell.worker, handled.event_id), handled, burst, index, event, future)
        self._waits[wait.by].append(wait)
        self._of_worker[cell.worker].add(wait.by)
        if not burst.is_routed:
            self._unrouted[burst].append(wait)
        try:
            if burst.is_routed:
                self._check(wait)
            yield
        finally:
            self._forget(wait)

    def routed(self, burst: Burst) -> None:
        """It is known now who gets the events of a burst: whoever would wait for himself is told."""
        for wait in self._unrouted.pop(burst, ()):
            try:
                self._check(wait)
            except WouldDeadlock as error:
                if not wait.future.done():
                    wait.future.set_exception(error)

    def _forget(self, wait: _Wait) -> None:
        waits = self._waits[wait.by]
        waits.remove(wait)
        if not waits:
            del self._waits[wait.by]
            handlings = self._of_worker[wait.by.worker]
            handlings.discard(wait.by)
            if not handlings:
                del self._of_worker[wait.by.worker]
        unrouted = self._unrouted.get(wait.burst)
        if unrouted is not None and wait in unrouted:
            unrouted.remove(wait)
            if not unrouted:
                del self._unrouted[wait.burst]

    def _check(self, wait: _Wait) -> None:
        """Who of those that this wait depends on can go on? At first nobody; then whoever needs only such as can."""
        stuck = self._reached_from(wait.by)
        while moving := [by for by in stuck if not self._is_stuck(by, stuck)]:
            stuck.difference_update(moving)
        if wait.by in stuck:
            raise WouldDeadlock(
                call="waiting", circle=dict.fromkeys(by.worker.name for by in self._in_order(stuck, wait))
            )

    def _in_order(self, stuck: set[_Handling], wait: _Wait) -> list[_Handling]:
        return [wait.by, *sorted((by for by in stuck if by != wait.by), key=lambda by: by.worker.number)]

    def _reached_from(self, by: _Handling) -> set[_Handling]:
        found, looking = {by}, [by]
        while looking:
            for worker, _event in self._needs(looking.pop()):
                for other in self._of_worker.get(worker, ()):
                    if other not in found:
                        found.add(other)
                        looking.append(other)
        return found

    def _needs(self, by: _Handling) -> Iterator[tuple[Worker, Event]]:
        """The deliveries that must end before it goes on."""
        for wait in self._waits.get(by, ()):
            for part in wait.burst.parts:
                if part.outcome(wait.place) is PENDING:
                    yield part.worker, wait.event

    def _is_stuck(self, by: _Handling, stuck: set[_Handling]) -> bool:
        return any(self._never_ends(worker, event, stuck) for worker, event in self._needs(by))

    def _never_ends(self, worker: Worker, event: Event, stuck: set[_Handling]) -> bool:
        here = _Handling(worker, event.event_id)
        if here in self._waits:
            return here in stuck
        occupants = [by for by in self._of_worker.get(worker, ()) if by in stuck]
        if len(occupants) >= worker.policy.concurrency:
            return True
        return bool(occupants) and self._shares_key(worker, event, occupants)

    def _shares_key(self, worker: Worker, event: Event, occupants: Iterable[_Handling]) -> bool:
        """Does one of them hold the key that this event needs?"""
        try:
            key = worker.policy.key_of(event)
            if key is None:
                return False
            return any(worker.policy.key_of(wait.handled) == key for by in occupants for wait in self._waits[by][:1])
        except BaseException:  # noqa: BLE001 - a key function is the user's: one that raises holds nobody back
            return False
