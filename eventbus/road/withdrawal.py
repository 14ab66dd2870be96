"""Withdrawal: what of a subscription is another process's by now is taken out: none of it starts, and what runs is cancelled.

The counterpart of `arrival.py`. Each of these deliveries ends as cancelled here, and goes on there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from eventbus.outcome import Status
from eventbus.road.part import Delivery, Part

if TYPE_CHECKING:
    from eventbus.road.burst import Burst
    from eventbus.road.worker import Worker


def withdraw(worker: Worker, belongs: Callable[[Burst], bool]) -> None:
    """Take out what came in these bursts. A thread cannot be cancelled: it goes on, and what comes of it counts for nothing."""
    worker.interrupt()
    waiting = [*worker.retries, *worker.mailbox.singles, *worker.keys.behind]
    for delivery in [each for each in waiting if belongs(each.part.burst)]:
        _forget(worker, delivery)
        worker.endings.finish(worker, delivery, Status.CANCELLED)
    for part in [each for each in worker.mailbox.parts if not each.is_done and belongs(each.burst)]:
        worker.way.part_with(worker, part)
        worker.endings.cancel_rest(worker, part)
    for cell, what in [*worker.running.items()]:
        if belongs(what.burst if isinstance(what, Part) else what.part.burst):
            worker.way.abort(worker, cell)
    worker.running.look()


def _forget(worker: Worker, delivery: Delivery) -> None:
    """It waits for nothing any more."""
    if not (worker.retries.drop(delivery) or worker.mailbox.drop(delivery)):
        worker.keys.leave(delivery, None)
