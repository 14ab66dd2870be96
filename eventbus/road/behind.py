"""Behind: what waits behind a busy key, in a queue that keeps its size there, too: the old gives way to the new."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING

from eventbus.outcome import Status

if TYPE_CHECKING:
    from eventbus.road.part import Delivery, Part
    from eventbus.road.worker import Worker


def waits_for_key(worker: Worker, part: Part, place: int) -> bool:
    """Is the key of this event of a part in hand busy? Then it waits behind, followed by itself."""
    try:
        key = worker.keys.busy_one(part.events[place])
    except BaseException as error:  # noqa: BLE001 - it costs its own delivery only
        worker.endings.give_up(worker, part.follow(place, is_running=True), "key= raised", error)
        return True
    if key is None:
        return False
    wait_behind(worker, key, part.follow(place, is_running=True))
    return True


def wait_behind(worker: Worker, key: Hashable, delivery: Delivery) -> None:
    """A key that is busy for long must not gather what may be replaced or dropped."""
    older = None if delivery.part.is_lossless else worker.mailbox.replaceable.waits_behind(key, delivery)
    if older is None:
        worker.keys.wait(key, delivery)
    else:
        give_way(worker, older, delivery)


def give_way(worker: Worker, gone: Delivery, newer: Delivery) -> None:
    """A newer value has its place, or it was one too many."""
    if gone.key is not None:  # it waited behind that
        worker.keys.leave(gone, newer if newer.is_heir else None)
    if newer.is_heir:
        worker.tally.conflates(1, not gone.is_heir)
    worker.endings.finish(worker, gone, Status.DROPPED)
