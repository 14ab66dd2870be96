"""Ending: what an attempt came to: an outcome, another attempt, a dead letter. The one place where deliveries end.

Shared by all workers of a bus. Whatever a user's exception does when it is looked at costs its own delivery only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from eventbus.errors import HandlerCancelled
from eventbus.failure import Failure
from eventbus.log import log
from eventbus.outcome import Outcome, Status
from eventbus.policy import GiveUp, OnFailure, Overflow, RetryIn

if TYPE_CHECKING:
    from eventbus.dead_letter import DeadLetters
    from eventbus.road.door import Door
    from eventbus.road.lifetime import Lifetime
    from eventbus.road.part import Delivery, Part
    from eventbus.road.telling import FailureLog
    from eventbus.road.worker import Worker

_RETRIES = 1_000  # of what may be dropped, where the subscription names no size: so many wait for another attempt
_SLICE = 1_000  # deliveries settled in one turn of the loop


class Endings:
    """How the deliveries of one bus end."""

    def __init__(
        self, lifetime: Lifetime, door: Door, letters: DeadLetters, told: FailureLog, halt: Callable[[str], Any]
    ) -> None:
        self._lifetime = lifetime
        self._places = door.places
        self._letters = letters
        self._told = told
        self._halt = halt

    def succeed(self, worker: Worker, delivery: Delivery, result: Any, ran_ns: int) -> None:
        """An attempt of a delivery that is followed by itself returned."""
        worker.tally.went_through(1, ran_ns, 1)
        answer = delivery.answer if result is None else result
        self.finish(worker, delivery, Status.SUCCEEDED, answer, ran_ns=ran_ns)

    def fail(self, worker: Worker, delivery: Delivery, error: BaseException, ran_ns: int) -> None:
        """An attempt of a delivery that is followed by itself raised: settle it, or schedule its next attempt."""
        worker.tally.attempted(ran_ns, 1)
        self.fail_in_part(worker, delivery, error, ran_ns)

    def fail_in_part(self, worker: Worker, delivery: Delivery, error: BaseException, ran_ns: int = 0) -> None:
        """The same for an attempt whose time is counted with its part."""
        if (
            delivery.part.burst.is_withdrawn
        ):  # another process has it by now, and what came of it here counts for nothing
            self.finish(worker, delivery, Status.CANCELLED, error=error, ran_ns=ran_ns)
            return
        if isinstance(error, asyncio.CancelledError):
            if self._lifetime.is_ending:  # the bus cancelled what still ran: not a failure of the handler
                self.finish(worker, delivery, Status.CANCELLED, error=error, ran_ns=ran_ns)
                return
            error = HandlerCancelled(worker.name, error)
        worker.tally.failed()
        self._lifetime.raised.add(error)
        decision = worker.policy.after(error, attempt=delivery.attempt, rng=self._lifetime.rng)
        delivery.failed_at(self._lifetime.clock.now())
        match decision:
            case RetryIn(seconds) if not worker.is_cancelled:
                if not self._may_wait(worker, delivery):
                    self.finish(worker, delivery, Status.DROPPED, error=error, ran_ns=ran_ns)
                    return
                log.info(
                    "delivery retried",
                    extra={
                        "type": delivery.event.type,
                        "subscription": worker.name,
                        "attempt": delivery.attempt,
                        "delay_s": seconds,
                    },
                )
                retry = worker.policy.retry
                worker.retry_in(delivery, seconds, keeps_key=retry is None or not retry.out_of_order)
            case RetryIn():
                self.finish(worker, delivery, Status.CANCELLED, error=error, ran_ns=ran_ns)
            case GiveUp(reason):
                self.give_up(worker, delivery, reason, error, ran_ns)

    def _may_wait(self, worker: Worker, delivery: Delivery) -> bool:
        """For another attempt. What may be dropped holds no place at the door, so that only so many of it wait: the oldest goes, or
        the newest, as the policy says."""
        policy, overflow = worker.policy, worker.policy.overflow_for(delivery.event.__event__)
        is_lossless = overflow in (Overflow.BLOCK, Overflow.REJECT)
        is_bounded = is_lossless or worker.feed is not None  # by the door, or by its group
        if is_bounded or len(worker.retries) < (policy.queue_size or _RETRIES):
            return True
        if overflow is Overflow.DROP_NEWEST:
            return False
        oldest = next(iter(worker.retries))
        worker.retries.drop(oldest)
        self.finish(worker, oldest, Status.DROPPED)
        return True

    def give_up(
        self, worker: Worker, delivery: Delivery, reason: str, error: BaseException | None = None, ran_ns: int = 0
    ) -> None:
        """No further attempt: keep it as a dead letter, or drop it, as the policy says.

        Without an error its attempts ended with an earlier process.
        """
        error = error or HandlerCancelled(worker.name)
        failure = Failure.of(error)
        policy = worker.policy
        self._told.tell(
            worker.name, delivery.event, reason, failure, is_dead_lettered=policy.on_failure is not OnFailure.DROP
        )
        if policy.on_failure is OnFailure.DROP:
            self.finish(worker, delivery, Status.DROPPED, error=error, ran_ns=ran_ns)
            return
        now = self._lifetime.clock.now()
        letter = self._letters.add(
            delivery.event,
            subscription=worker.name,
            reason=reason,
            error=failure,
            attempts=delivery.attempt,
            first_failed=delivery.first_failed or now,
            last_failed=now,
            is_shelved=delivery.part.burst.keeps_letters,
        )
        self.finish(worker, delivery, Status.DEAD_LETTERED, error=error, ran_ns=ran_ns, letter=letter)
        if policy.on_failure is OnFailure.HALT:
            self._halt(f"{worker.name} could not handle {delivery.event}: {reason}")

    def finish(
        self,
        worker: Worker,
        delivery: Delivery,
        status: Status,
        result: Any = None,
        *,
        error: BaseException | None = None,
        ran_ns: int = 0,
        letter: Any = None,
    ) -> None:
        """A delivery that is followed by itself gets its terminal outcome."""
        part = delivery.part
        outcome = Outcome(worker.name, status, result, error, delivery.attempt, delivery.queued_ns / 1e9, ran_ns / 1e9)
        part.concluded(delivery.place, outcome)
        if status is not Status.SUCCEEDED:  # that was counted with its attempt
            worker.tally.ended(status, 1)
        self.give_back(part.burst.finished(delivery, outcome, letter))
        if part.is_done and not part.pending_singles:
            part.end()
        worker.release(delivery)
        if worker.gate is not None:
            worker.gate.look()

    def give_back(self, places: int) -> None:
        """Deliveries have their outcome, and are counted; so many events need their places no more."""
        if places:
            self._places.give_back(places)
        if self._lifetime.idle and not self._lifetime.totals.pending:
            self._lifetime.look_idle()

    def cancel_rest(self, worker: Worker, part: Part) -> None:
        """The subscription ended: what has not begun of a part never will."""
        if part.is_done:
            return
        burst = part.burst
        first, ended = part.give_up_rest(Status.CANCELLED)
        worker.tally.ended(Status.CANCELLED, ended)
        self.give_back(burst.passed(part, first, part.done, ended))
        if not part.pending_singles:
            part.end()

    def cancel_all(self, worker: Worker, deliveries: Sequence[Delivery]) -> None:
        """The same for those that are followed one by one: in slices, other work has its turn in between."""
        for delivery in deliveries[:_SLICE]:
            self.finish(worker, delivery, Status.CANCELLED)
        rest = deliveries[_SLICE:]
        if rest:
            self._lifetime.crew.call_soon(self.cancel_all, worker, rest)
        else:
            worker.lingers()
