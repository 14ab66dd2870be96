"""Arrival: what a subscription makes of events that come: whom its predicate wants, what waits, what goes for it.

The counterpart of `ending.py`. A policy costs when it acts, never by being there. Runs no handler; whoever may start is woken.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from eventbus.road.behind import give_way
from eventbus.road.part import Delivery, Part

if TYPE_CHECKING:
    from eventbus.event import Event
    from eventbus.road.burst import Burst
    from eventbus.road.worker import Worker


def offer(
    worker: Worker, burst: Burst, events: Sequence[Event], indices: Sequence[int] | None, parts: list[Part]
) -> None:
    """A burst arrives; adds the parts that the subscription makes of it."""
    policy = worker.policy
    if worker.feed is not None:
        part = worker.feed.arrived(burst, events, indices)
        parts += () if part is None else (part,)
        return
    if policy.where is not None:
        wanted = [place for place, event in enumerate(events) if _wants(worker, event, place, burst, indices, parts)]
        if len(wanted) < len(events):
            if worker.gate is not None:
                worker.gate.let_in()  # those that are not wanted need no place here
            indices = wanted if indices is None else [indices[place] for place in wanted]
            events = [events[place] for place in wanted]
        if not events:
            return
    alike: Iterable[tuple[Sequence[Event], Sequence[int] | None]] = ((events, indices),)
    if burst.is_mixed and (policy.overflow is not None or policy.max_age is not None):
        alike = worker.terms.stretches(events, indices)
    for stretch, places in alike:
        is_lossless, max_age_ns = worker.terms.of(stretch[0].__event__)
        part = Part(burst, worker, stretch, places, is_lossless, max_age_ns)
        parts.append(part)
        worker.tally.accept(len(stretch))
        if worker.is_cancelled:
            worker.endings.cancel_rest(worker, part)
        elif not is_lossless:
            _put_lossy(worker, part)
        elif burst.is_urgent:
            _put(worker, part)
        else:
            worker.mailbox.parts.append(part)
    if not (worker.is_paused or worker.is_cancelled):
        worker.way.wake(worker, first=burst.is_urgent)


def deliver(worker: Worker, part: Part) -> None:
    """Events that no publish brings: retained ones, dead letters again, what a group reads from its journal."""
    worker.tally.accept(len(part.events))
    _put(worker, part)
    worker.wake(first=part.burst.is_urgent)


def resume(worker: Worker, part: Part, attempt: int) -> Delivery:
    """The one event of a part that has attempts behind it: followed by itself from the start."""
    worker.tally.accept(1)
    return part.follow(0, attempt)


def _wants(
    worker: Worker, event: Event, place: int, burst: Burst, indices: Sequence[int] | None, parts: list[Part]
) -> bool:
    assert worker.policy.where is not None
    try:
        return bool(worker.policy.where(event))
    except BaseException as error:  # noqa: BLE001 - the predicate is the user's: it costs its own delivery only
        part = Part(burst, worker, (event,), (place if indices is None else indices[place],))
        parts.append(part)
        worker.tally.accept(1)
        worker.endings.give_up(worker, part.follow(0), "where= raised", error)
        return False


def _put(worker: Worker, part: Part) -> None:
    """It waits for its turn; what is urgent is looked at before the next event."""
    if part.burst.is_urgent:
        worker.interrupt()
    worker.mailbox.put(part)


def _put_lossy(worker: Worker, part: Part) -> None:
    """Behind? Then newer values replace older ones, and the oldest or newest goes beyond the size."""
    size, mailbox = worker.policy.queue_size, worker.mailbox
    is_behind = (
        worker.busy or mailbox.parts or mailbox.freed or mailbox.replaceable or worker.keys or worker.is_suspended
    )
    if not is_behind and (size is None or len(part.events) <= size):
        mailbox.parts.append(part)
        return
    # Only now, as something newer has come:
    for older in [older for older in mailbox.parts if not older.is_lossless]:
        mailbox.parts.remove(older)
        worker.way.part_with(worker, older)
        _spill(worker, older)
    _spill(worker, part)


def _spill(worker: Worker, part: Part) -> None:
    """Whatever has not begun may be replaced or dropped from now on, one by one."""
    while not part.is_done:
        delivery = part.follow(part.done)
        try:
            gone = worker.mailbox.replaceable.add(delivery)
        except BaseException as error:  # noqa: BLE001 - it costs its own delivery only
            worker.endings.give_up(worker, delivery, "key= raised", error)
            continue
        if gone is not None:
            give_way(worker, gone, delivery)
