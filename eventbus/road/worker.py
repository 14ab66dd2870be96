"""Worker: what of one subscription may start, and what waits until it may. How an attempt is run is its `way`; how it ends, `Endings`.

Its mailbox, its keys, its retries and what is in flight keep themselves in order; here they are brought together. Knows no route and
no other subscription.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextvars import Context
from sys import maxsize
from typing import TYPE_CHECKING, Any

from eventbus.log import log
from eventbus.outcome import Status
from eventbus.road.behind import wait_behind
from eventbus.road.deadlines import Deadlines
from eventbus.road.gate import Gate
from eventbus.road.in_flight import InFlight
from eventbus.road.keys import Keys
from eventbus.road.mailbox import Mailbox
from eventbus.road.pace import Pace
from eventbus.road.retries import Retries
from eventbus.road.terms import Terms
from eventbus.stats import SubscriptionStats, Tally

if TYPE_CHECKING:
    from eventbus.errors import BusStopped
    from eventbus.policy import Policy
    from eventbus.road.ending import Endings
    from eventbus.road.lifetime import Lifetime
    from eventbus.road.part import Delivery, Part
    from eventbus.road.ways import Feed, Way
    from eventbus.selector import Selector


_ABANDONED_CAP = 64  # attempts of a subscription that ignore their cancellation


class Worker:
    """The movement of one subscription. `Subscription` is the handle on it."""

    __slots__ = (
        "_since_at",
        "_until_at",
        "busy",
        "deadlines",
        "endings",
        "feed",
        "gate",
        "given_up",
        "handler",
        "is_cancelled",
        "is_paused",
        "keys",
        "lifetime",
        "mailbox",
        "name",
        "number",
        "pace",
        "policy",
        "retries",
        "running",
        "selector",
        "since",
        "takes_delivery",
        "tally",
        "terms",
        "until",
        "uses_decimal",
        "way",
    )

    def __init__(
        self,
        handler: Callable[..., Any],
        *,
        name: str,
        selector: Selector,
        policy: Policy,
        takes_delivery: bool,
        way: Way,
        lifetime: Lifetime,
        endings: Endings,
    ) -> None:
        self.handler, self.takes_delivery, self.way = handler, takes_delivery, way
        self.name, self.selector, self.policy = name, selector, policy
        self.lifetime, self.endings = lifetime, endings
        self.number = 0  # in order of subscription
        self.since, self.until = 0, -1  # the bursts it gets: from one number on, and once it is cancelled up to one
        self._since_at, self._until_at = 0, maxsize  # of the first of them from that place on, of the last up to there
        self.tally = Tally(lifetime.totals)
        self.gate = Gate(name, policy, self.tally) if policy.is_gate else None
        self.feed: Feed | None = None
        self.mailbox = Mailbox(policy)
        self.keys = Keys(policy)
        self.retries = Retries(lifetime.clock, lifetime.crew)
        self.running = InFlight()
        self.busy = 0  # tasks and threads inside
        self.given_up = 0  # attempts that go on although they were abandoned
        self.is_paused = self.is_cancelled = False
        self.pace = Pace()
        self.uses_decimal = False  # then each attempt is given a decimal context of its own, or each would leave one
        self.deadlines: Deadlines | None = None
        self._set_deadlines()
        self.terms = Terms(policy)

    def _set_deadlines(self) -> None:
        if self.policy.timeout is not None:
            self.deadlines = Deadlines(self.policy.timeout, self.lifetime.grace, self.lifetime.clock.monotonic_ns)

    @property
    def is_gate(self) -> bool:
        """Do publishers have to wait for its queue?"""
        return self.gate is not None

    # --- arrival ---------------------------------------------------------------------------------------------------

    def gets(self, number: int) -> bool:
        """Was it subscribed when the burst of that number was accepted, or a part of it?"""
        return self.since <= number and (number <= self.until or self.until < 0)

    def share(self, number: int, places: Sequence[int]) -> Sequence[int]:
        """Those of these places in the burst that were taken while it was subscribed."""
        first, upto = self._since_at if number == self.since else 0, self._until_at if number == self.until else maxsize
        return [place for place in places if first <= place < upto]

    def enlist(self, number: int, since: int, place: int) -> None:
        """It has its place among the subscriptions, and gets what is accepted from that place in that burst on."""
        self.number, self.since, self._since_at = number, since, place

    def fed_by(self, feed: Feed) -> None:
        """From the beginning on: its deliveries come from there, not from the dispatcher."""
        self.feed = feed

    def put_back(self, delivery: Delivery) -> None:
        """It may run now: after those whose turn it is, and before what nobody has looked at."""
        self.mailbox.put_back(delivery)
        self.wake(first=delivery.is_urgent)

    def not_started(self, delivery: Delivery) -> None:
        """It was taken, and recalled before its attempt began."""
        if self.is_cancelled:
            self.endings.finish(self, delivery, Status.CANCELLED)
        else:
            self.put_back(delivery)

    # --- what may start --------------------------------------------------------------------------------------------

    @property
    def is_suspended(self) -> bool:
        """May no attempt start now?"""
        return self.is_paused or self.is_cancelled or not self.lifetime.is_running

    @property
    def has_slot(self) -> bool:
        """May one more run beside those that do?"""
        return self.busy < self.policy.concurrency

    def wake(self, *, first: bool = False) -> None:
        """Somebody is to see what may start."""
        if not self.is_suspended:
            self.way.wake(self, first=first)

    def enter(self) -> None:
        """One more task or thread is inside."""
        self.busy += 1

    def leave(self) -> None:
        """It is gone; what waits may start."""
        self.busy -= 1
        if self.running.waiters:
            self.running.look()
        if self.is_cancelled:
            self.lingers()
        mailbox = self.mailbox
        if mailbox.parts or mailbox.freed or mailbox.replaceable:
            self.wake_if_work()

    def lingers(self) -> None:
        """It was cancelled: for as long as anything of it is pending, it is one of those that the bus ends and counts."""
        self.lifetime.lingers(self, self.tally.pending > 0)

    def wake_if_work(self) -> None:
        """What waits may start now."""
        if self.mailbox.has_any:
            self.wake()

    def next_in(self, base: Context) -> Part | None:
        """The part whose turn it is, if its publisher had that context, and nothing has to be looked at before."""
        mailbox = self.mailbox
        if not mailbox.parts or mailbox.freed or mailbox.replaceable or self.takes_delivery or self.is_suspended:
            return None
        part = mailbox.parts[0]
        return part if part.burst.base is base and part.done < len(part.events) else None

    def detach(self, part: Part) -> Delivery:
        """The delivery that runs is followed by itself; the rest of its part may go on without it."""
        cell = part.cell
        delivery = self.running[cell] = part.detach()
        if self.policy.concurrency > 1:
            self.block(delivery)
        return delivery

    def take_single(self) -> Delivery | None:
        """Of those that are followed one by one the next that may start: what is too old expires, what its key holds back waits."""
        while not self.is_suspended:
            delivery = self.mailbox.take_single()
            if delivery is None or self._may_start(delivery):
                return delivery
        return None

    def take_one(self) -> Delivery | None:
        """The next that may start, whoever it is, followed by itself from here on."""
        while not self.is_suspended:
            delivery = self.take_single()
            if delivery is not None:
                return delivery
            part = self.mailbox.next_part()
            if part is None:
                return None
            delivery = part.follow(part.done)
            if self._may_start(delivery):
                return delivery
        return None

    def _may_start(self, delivery: Delivery) -> bool:
        if self._is_too_old(delivery):
            return False
        try:
            key = self.keys.before(delivery)
        except BaseException as error:  # it costs its own delivery only
            self.endings.give_up(self, delivery, "key= raised", error)
            return False
        if key is not None:
            wait_behind(self, key, delivery)
        return key is None

    def _is_too_old(self, delivery: Delivery) -> bool:
        """Has it waited too long for its first attempt? Then it has expired."""
        max_age_ns = delivery.part.max_age_ns
        if max_age_ns is None or delivery.attempt:
            return False
        if self.lifetime.clock.monotonic_ns() <= delivery.part.burst.accepted_ns + max_age_ns:
            return False
        self.endings.finish(self, delivery, Status.EXPIRED)
        return True

    # --- keys ------------------------------------------------------------------------------------------------------

    def block(self, delivery: Delivery) -> None:
        """Nothing else of its key starts before it has ended."""
        if self.keys.hold(delivery):
            self.interrupt()

    def release(self, delivery: Delivery) -> None:
        """Its key passes to the next that waits for it."""
        freed = self.keys.release(delivery)
        if freed is not None:
            if not freed.part.is_lossless:
                self.mailbox.replaceable.is_next(freed)
            self.put_back(freed)

    # --- the end of attempts ---------------------------------------------------------------------------------------

    def passed(self, part: Part, upto: int, ns: int, queued_ns: int = 0) -> None:
        """Attempts of a part are over up to there, and took so long; those followed by themselves are counted elsewhere."""
        ran = upto - part.done
        if ran <= 0:
            return
        each_ns = ns // ran
        self.tally.went_through(ran - part.strange, each_ns, ran)
        free = part.went_on(upto, queued_ns, each_ns)
        if free or self.lifetime.idle:
            self.endings.give_back(free)
        if upto >= len(part.events):
            parts = self.mailbox.parts
            if parts and parts[0] is part:
                parts.popleft()
            if not part.pending_singles:
                part.end()
        if self.gate is not None:
            self.gate.look()

    def uses_decimals(self) -> None:
        """Its handler leaves a decimal context behind."""
        self.uses_decimal = True

    # --- retries ---------------------------------------------------------------------------------------------------

    def retry_in(self, delivery: Delivery, seconds: float, *, keeps_key: bool) -> None:
        """Another attempt, later."""
        self.tally.retries()
        if keeps_key:
            self.block(delivery)
        else:
            self.release(delivery)
        self.retries.add(delivery, seconds, self._due)

    def _due(self, delivery: Delivery) -> None:
        if delivery in self.retries:
            if self.feed is not None:
                self.lifetime.crew.start(self._again(delivery))
            else:
                self._starts_over(delivery)

    async def _again(self, delivery: Delivery) -> None:
        await delivery.part.burst.begins_again(delivery)
        self._starts_over(delivery)

    def _starts_over(self, delivery: Delivery) -> None:
        if self.retries.take(delivery):  # not cancelled meanwhile
            self.put_back(delivery)

    def abandons(self, task: asyncio.Task[Any]) -> None:
        """An attempt ignores its cancellation, and its slot is another's. Too many of them, and nothing else starts here."""
        self.tally.abandons()
        self.given_up += 1
        self.lifetime.crew.abandon(task, self._came_back)
        if self.given_up >= _ABANDONED_CAP and not self.is_paused:
            self.pause()
            told = f"{self.given_up} attempts ignore their cancellation"
            log.error("subscription %s paused: %s", self.name, told, extra={"subscription": self.name})

    def _came_back(self) -> None:
        self.given_up -= 1

    # --- suspended, ended ------------------------------------------------------------------------------------------

    def interrupt(self) -> None:
        """Look up before the next event."""
        self.running.interrupt()
        self.way.recall(self)

    def pause(self) -> None:
        """Start no attempt until `resume`."""
        self.is_paused = True
        self.interrupt()

    def resume(self) -> None:
        """Go on where `pause` stopped."""
        self.is_paused = False
        self.wake()

    def cancel(self, number: int, place: int) -> None:
        """No attempt starts any more; what waits is settled as cancelled. What came before that place in that burst still comes here."""
        if self.is_cancelled:
            return
        self.is_cancelled = True
        self.until, self._until_at = (number, place) if place else (number - 1, maxsize)
        self.interrupt()
        singles, parts = self.mailbox.empty()
        waiting = [*self.retries.take_all(), *singles, *self.keys.take_all()]
        for delivery in waiting:
            delivery.wants(None)
        self.endings.cancel_all(self, waiting)
        for part in parts:
            self.way.part_with(self, part)
            self.endings.cancel_rest(self, part)
        if self.gate is not None:
            self.gate.let_in()  # what comes now does not go here
        if self.feed is not None:
            self.feed.ended()
        self.lingers()
        self.running.look()

    def move(self) -> None:
        """The bus goes on in another loop: timers are set anew, and what ran in the old one has failed."""
        self.retries.move(self._due)
        self.running.move()
        if self.gate is not None:
            self.gate.move()
        self._set_deadlines()

    def fail(self, error: BusStopped) -> None:
        """What waits is never settled here: whoever waits for it learns that."""
        for part in self.mailbox.parts:
            part.burst.fail(error)
        for delivery in [*self.retries, *self.mailbox.singles, *self.keys.behind]:
            delivery.part.burst.fail(error)
        self.running.fail(error)
        self.way.recall(self)

    # --- look ------------------------------------------------------------------------------------------------------

    def stats(self) -> SubscriptionStats:
        """The counts at this moment."""
        return self.tally.snapshot(
            self.name,
            self.selector.title,
            in_flight=len(self.running.events),
            retry_wait=len(self.retries),
            oldest_age_s=self._oldest_age_s(),
        )

    def _oldest_age_s(self) -> float:
        behind = [waiting[0].part.burst.accepted_ns for waiting in self.keys.values() if waiting]
        oldest_ns = min([*behind, *self.mailbox.accepted_ns], default=None)
        return 0.0 if oldest_ns is None else (self.lifetime.clock.monotonic_ns() - oldest_ns) / 1e9
