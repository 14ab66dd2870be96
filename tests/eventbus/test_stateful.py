"""The bus against a model of plain lists: whatever is done to it, in whatever order, its promises hold after every step.

The model knows what was accepted and what handlers did; it holds no queue, no task and no clock of its own. Handlers write down
each attempt as it starts and ends, and complain at once about one that should not have started.
"""

from __future__ import annotations

import asyncio
import decimal
import fnmatch
import gc
import sys
from collections import Counter
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from eventbus import (
    Delivery,
    DeliveryError,
    Event,
    Halted,
    HandlerCancelled,
    HandlerTimeout,
    HopLimit,
    InMemoryEventBus,
    Kind,
    OnFailure,
    Overflow,
    Receipt,
    Reject,
    Retry,
    RetryLater,
    Status,
    Subscription,
)
from eventbus.road.ending import Endings
from eventbus.road.keys import Keys
from eventbus.road.pool import ThreadPool
from eventbus.road.worker import Worker
from eventbus.testing import VirtualLoop
from eventbus.testing.virtual import VirtualTimeStuck

DOOR = 6
RESERVE = 4
GRACE = 1.0
TIMEOUT = 1.0
MAX_AGE = 2.0
PLAIN_PRECISION = decimal.getcontext().prec

ORIGIN: ContextVar[int] = ContextVar("origin", default=0)  # which act of publishing an event stems from
LEAK: ContextVar[int] = ContextVar("leak", default=0)  # what handlers leave behind


class Plain(Event, type="model.plain"):
    n: int
    key: int
    mood: str


class Quote(Event, type="model.quote", kind=Kind.QUOTE, key="key"):
    n: int
    key: int
    mood: str


class Signal(Event, type="model.signal", kind=Kind.SIGNAL, max_age=MAX_AGE):
    n: int
    key: int
    mood: str


class Fill(Event, type="model.fill", kind=Kind.EXECUTION, key="key"):
    n: int
    key: int
    mood: str


class Order(Event, type="model.order", kind=Kind.CONTROL):
    n: int
    key: int
    mood: str


def ad_hoc(**payload: Any) -> Event:
    return Event("model.ad.hoc", payload=payload)


MAKERS: list[Callable[..., Event]] = [Plain, Plain, ad_hoc, ad_hoc, Quote, Signal, Fill, Order]
SELECTORS: list[type[Event] | str] = [Event, Plain, "model.*", "model.quote", "model.[!q]*", "model.ad.hoc", Fill]

CALM = ["calm", "calm", "turn", "sleep", "long", "decimal", "leak", "timer", "cancel-self", "publish", "spawn"]
FAILING = [
    "raise",
    "raise-once",
    "exit",
    "cancelled",
    "cancel-self-and-wait",
    "reject",
    "later-once",
    "later",
    "swallow",
]
MEDDLING = ["cancel-subscription", "pause-subscription", "stop"]
MOODS = [*CALM, *CALM, *FAILING, *MEDDLING]
ONCE = {"raise-once", "later-once"}
LASTS = {"sleep": 0.3, "long": 3.7}


@dataclass(eq=False)
class Attempt:
    number: int
    ended: str = ""  # ok, failed, fatal (not worth a retry), rejected, later; "" while it runs


@dataclass(eq=False)
class Fact:
    """An accepted event, and what became of it at each subscription."""

    event: Event
    origin: int
    at: float
    attempts: dict[str, list[Attempt]] = field(default_factory=dict)
    goes_to: set[str] = field(default_factory=set)
    is_redriven: bool = False

    @property
    def mood(self) -> str:
        return str(self.event["mood"])


@dataclass(eq=False)
class Member:
    """A subscription as the model sees it."""

    name: str
    handle: Subscription
    wants: type[Event] | str
    odd_only: bool
    is_cancelled: bool = False
    is_paused: bool = False
    redriven: int = 0
    running: list[Fact] = field(default_factory=list)

    def matches(self, event: Event) -> bool:
        if self.odd_only and event["n"] % 2 == 0:
            return False
        if isinstance(self.wants, str):
            return fnmatch.fnmatchcase(event.type, self.wants)
        return isinstance(event, self.wants)

    def is_over(self, attempt: Attempt) -> bool:
        """No other attempt follows this one, by the policy alone."""
        retry = self.handle.policy.retry
        match attempt.ended:
            case "ok" | "rejected" | "fatal":
                return True
            case "later":
                return attempt.number >= (retry.attempts if retry else 10)
            case "failed":
                return retry is None or attempt.number >= retry.attempts
        return False

    def status(self, fact: Fact) -> Status | None:
        """How this delivery ended, judged by its attempts; None: it is pending, or it never started."""
        attempts = fact.attempts.get(self.name)
        if not attempts or not attempts[-1].ended:
            return None
        if attempts[-1].ended == "ok":
            return Status.SUCCEEDED
        if self.is_over(attempts[-1]):
            return Status.DROPPED if self.handle.policy.on_failure is OnFailure.DROP else Status.DEAD_LETTERED
        return Status.CANCELLED if self.is_cancelled else None

    @property
    def is_lossy(self) -> bool:
        overflow = self.handle.policy.overflow
        return overflow is not None and overflow.is_lossy

    def may_lose(self, event: Event) -> bool:
        """May it end without any attempt, although nobody cancelled?"""
        drops = self.is_lossy or event.__event__.kind is Kind.QUOTE
        return self.may_expire(event) or (drops and event.__event__.kind not in (Kind.EXECUTION, Kind.CONTROL))

    def may_expire(self, event: Event) -> bool:
        kind = event.__event__.kind
        return kind is Kind.SIGNAL or (self.handle.policy.max_age is not None and kind is not Kind.EXECUTION)


class LoopPool(ThreadPool):
    """Runs the jobs of sync handlers on the loop, one after the other: the same turns every time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(1)
        self._loop = loop

    def submit(self, job: Callable[[], None]) -> None:
        self._loop.call_soon(job)


class BusMachine(RuleBasedStateMachine):
    """Everything that users may do to a bus in memory."""

    members = Bundle("members")
    max_bytes: int | None = None

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop(patience=0.01)
        self.errors: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda _loop, context: self.errors.append(context))
        self.bus = InMemoryEventBus(
            max_queue_size=DOOR,
            max_bytes=self.max_bytes,
            reserve=RESERVE,
            grace=GRACE,
            clock=self.loop.clock,
            pool=LoopPool(self.loop),
            seed=1,
        )
        self.main: asyncio.Task[None] | None = None
        self.facts: list[Fact] = []
        self.everybody: dict[str, Member] = {}
        self.complaints: list[str] = []
        self.publishers: list[asyncio.Task[Any]] = []  # those that may still wait at the door
        self.children: list[asyncio.Task[Any]] = []  # left behind by handlers
        self.receipts: list[tuple[Fact, Receipt]] = []
        self.counter = 0
        self.origin = 0
        self.is_settled = True  # nothing is left to do before time goes on
        self.is_stopping = False  # stop() was called, nothing may start any more
        self.before = Counter[str]()
        self.shown: list[Event] = []  # by a tap
        self.bus.tap(lambda events, _offset: self.shown.extend(events))

    # --- what handlers do ------------------------------------------------------------------------------------------

    def begin(self, member: Member, event: Event) -> tuple[Fact, Attempt]:
        """An attempt starts: write it down, and complain if it should not."""
        fact = next(fact for fact in self.facts if fact.event is event)
        attempts = fact.attempts.setdefault(member.name, [])
        where = f"{member.name} at {event['n']}"
        policy = member.handle.policy
        if attempts and not fact.is_redriven:
            if not attempts[-1].ended:
                self.complaints.append(f"{where}: two attempts at once")
            elif member.is_over(attempts[-1]):
                self.complaints.append(f"{where}: an attempt after the last")
        if member.name not in fact.goes_to:
            self.complaints.append(f"{where}: it was not subscribed when the event was accepted")
        if member.is_cancelled:
            self.complaints.append(f"{where}: an attempt after cancel()")
        if member.is_paused:
            self.complaints.append(f"{where}: an attempt while paused")
        if self.is_stopping:
            self.complaints.append(f"{where}: an attempt after stop()")
        if len(member.running) >= policy.concurrency:
            self.complaints.append(f"{where}: more at once than its concurrency")
        if policy.key is not None or policy.concurrency == 1:
            self.check_order(member, fact, first=not attempts)
        if not attempts and member.may_expire(event) and self.loop.time() - fact.at > MAX_AGE + 1e-6:
            self.complaints.append(f"{where}: too old for a first attempt")
        if ORIGIN.get() != fact.origin and not fact.is_redriven:  # who redrives is the publisher then
            self.complaints.append(f"{where}: context of origin {ORIGIN.get()}, published in {fact.origin}")
        if LEAK.get() or decimal.getcontext().prec != PLAIN_PRECISION:
            self.complaints.append(f"{where}: sees what another handler left in its context")
        if event.payload != self.payloads[event["n"]]:
            self.complaints.append(f"{where}: the payload changed")
        attempt = Attempt(len(attempts) + 1 if not fact.is_redriven else 1)
        if fact.is_redriven and attempts and not member.is_over(attempts[-1]):
            attempt.number = attempts[-1].number + 1
        attempts.append(attempt)
        member.running.append(fact)
        return fact, attempt

    def check_order(self, member: Member, fact: Fact, *, first: bool) -> None:
        """Of one key, or all with concurrency 1: first attempts in order of acceptance, and never two at once."""
        key = member.handle.policy.key
        mine = fact.event["key"]

        def related(other: Fact) -> bool:
            return other is not fact and (key is None or other.event["key"] == mine)

        for other in member.running:
            if related(other) and (key is not None or member.handle.policy.concurrency == 1):
                self.complaints.append(f"{member.name} at {fact.event['n']}: overlaps {other.event['n']}")
        if not first or fact.is_redriven:
            return
        is_urgent = fact.event.__event__.kind is Kind.CONTROL
        for other in self.facts[self.facts.index(fact) + 1 :]:
            overtakes = (other.event.__event__.kind is Kind.CONTROL) is not is_urgent
            if related(other) and other.attempts.get(member.name) and not other.is_redriven and not overtakes:
                if self.may_take_the_place(member, fact, other) or self.was_held_back(member, fact, other):
                    continue
                self.complaints.append(f"{member.name} at {fact.event['n']}: after the later {other.event['n']}")

    @staticmethod
    def may_take_the_place(member: Member, fact: Fact, later: Fact) -> bool:
        """A conflated value takes the turn of the value that it replaced: it may come before others."""
        conflates = member.handle.policy.overflow is Overflow.LATEST_BY_KEY
        return conflates or later.event.__event__.kind is Kind.QUOTE or fact.event.__event__.kind is Kind.QUOTE

    def was_held_back(self, member: Member, fact: Fact, later: Fact) -> bool:
        """By the key of its class, which a retry keeps busy: other keys go on, also where one runs at a time."""

        def key_of(each: Fact) -> int | None:
            return each.event["key"] if each.event.__event__.key is not None else None

        def was_retried(attempts: list[Attempt]) -> bool:
            return len(attempts) > 1 or (attempts[-1].ended != "" and not member.is_over(attempts[-1]))

        mine = key_of(fact)
        if mine is None or mine == key_of(later):
            return False
        tried = [each for each in self.facts if key_of(each) == mine and member.name in each.attempts]
        return any(was_retried(each.attempts[member.name]) for each in tried)

    def end(self, member: Member, fact: Fact, attempt: Attempt, how: str) -> None:
        attempt.ended = how
        member.running.remove(fact)

    def mood_of(self, fact: Fact, attempt: Attempt) -> str:
        mood = fact.mood
        return "calm" if mood in ONCE and attempt.number > 1 else mood

    def act(self, member: Member, fact: Fact, attempt: Attempt, mood: str) -> None:
        """What a handler can do without giving way."""
        match mood:
            case "decimal":
                decimal.getcontext().prec = 3
            case "leak":
                LEAK.set(1)
            case "publish":
                self.publish_from_handler(fact)
            case "cancel-subscription":
                member.handle.cancel()
                member.is_cancelled = True
            case "pause-subscription":
                member.handle.pause()
                member.is_paused = True
            case "stop":
                self.bus.stop()
                self.is_stopping = True
            case "raise" | "raise-once":
                raise ValueError(mood)
            case "exit":
                raise SystemExit(mood)
            case "cancelled":
                raise asyncio.CancelledError(mood)
            case "reject":
                raise Reject(mood)
            case "later" | "later-once":
                raise RetryLater(after=0.25)

    def publish_from_handler(self, fact: Fact) -> None:
        child = self.new_event(Plain, "calm", fact.event["key"])
        try:
            self.bus.publish_nowait(child)
        except (DeliveryError, Halted):
            return
        self.accept(child, ORIGIN.get())
        if (child.causation_id, child.correlation_id) != (fact.event.event_id, fact.event.correlation_id):
            self.complaints.append(f"{child['n']}: was not caused by {fact.event['n']}")

    async def act_async(self, member: Member, fact: Fact, attempt: Attempt, mood: str) -> None:
        """What needs a task."""
        task = asyncio.current_task()
        assert task is not None
        match mood:
            case "turn":
                await asyncio.sleep(0)
            case "sleep" | "long":
                await asyncio.sleep(LASTS[mood])
            case "timer":
                self.loop.call_later(0.2, task.cancel)
            case "cancel-self":
                task.cancel()
            case "cancel-self-and-wait":
                task.cancel()
                await asyncio.sleep(0.1)
            case "swallow":
                try:
                    await asyncio.sleep(2.6)
                except asyncio.CancelledError:
                    await asyncio.sleep(0.2)
            case "spawn":
                self.children.append(self.loop.create_task(asyncio.sleep(0.4)))
            case _:
                self.act(member, fact, attempt, mood)

    def judge(self, member: Member, error: BaseException | None, lasted: float) -> str:
        """How the bus must see an attempt that ended like this."""
        policy = member.handle.policy
        if policy.timeout is not None and lasted >= policy.timeout:
            return "failed"
        match error:
            case None:
                return "ok"
            case Reject():
                return "rejected"
            case RetryLater():
                return "later"
            case asyncio.CancelledError() | Exception():
                return "failed"
        return "fatal"

    async def run_async(self, member: Member, event: Event) -> int:
        return await self.run_begun(member, *self.begin(member, event))

    async def run_begun(self, member: Member, fact: Fact, attempt: Attempt) -> int:
        started, error = self.loop.time(), None
        try:
            await self.act_async(member, fact, attempt, self.mood_of(fact, attempt))
        except BaseException as raised:
            error = raised
            raise
        finally:
            self.end(member, fact, attempt, self.judge(member, error, self.loop.time() - started))
        return int(fact.event["n"])

    def run_sync(self, member: Member, event: Event) -> int:
        fact, attempt = self.begin(member, event)
        error = None
        try:
            self.act(member, fact, attempt, self.mood_of(fact, attempt))
        except BaseException as raised:
            error = raised
            raise
        finally:
            self.end(member, fact, attempt, self.judge(member, error, 0.0))
        return int(event["n"])

    # --- rules ------------------------------------------------------------------------------------------------------

    def do(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(coroutine)

    def settle(self) -> None:
        self.do(self.loop.settled())
        self.is_settled = True

    @initialize()
    def start(self) -> None:
        self.payloads: dict[int, dict[str, Any]] = {}
        self.restart()

    @precondition(lambda self: self.main is None)
    @rule()
    def restart(self) -> None:
        self.is_stopping = False
        self.main = self.loop.create_task(self.bus.run_forever())
        self.settle()
        self.look_whether_it_stopped()

    @precondition(lambda self: self.main is not None)
    @rule()
    def stop(self) -> None:
        self.bus.stop()
        self.is_stopping = True
        self.settle()
        self.look_whether_it_stopped()

    def look_whether_it_stopped(self) -> None:
        if self.is_stopping and self.main is not None:
            self.settle()
            assert self.main.done(), "run_forever() goes on after stop()"
            self.main.result()
            self.main = None

    @rule(
        target=members,
        wants=st.sampled_from(SELECTORS),
        shape=st.sampled_from(["async", "async", "async", "sync", "lambda", "two"]),
        concurrency=st.sampled_from([1, 1, 1, 2, 3]),
        keyed=st.booleans(),
        retry=st.sampled_from([None, None, 1, 3]),
        out_of_order=st.sampled_from([False, False, True]),
        timeout=st.sampled_from([None, None, None, TIMEOUT]),
        queue=st.sampled_from([None, None, None, *Overflow]),
        size=st.integers(1, 4),
        max_age=st.sampled_from([None, None, None, MAX_AGE]),
        on_failure=st.sampled_from([OnFailure.DEAD_LETTER, OnFailure.DEAD_LETTER, OnFailure.DROP]),
        isolation=st.sampled_from(["auto", "auto", "auto", "task"]),
        odd_only=st.sampled_from([False, False, False, True]),
    )
    def subscribe(
        self,
        wants: type[Event] | str,
        shape: str,
        concurrency: int,
        keyed: bool,
        retry: int | None,
        out_of_order: bool,
        timeout: float | None,
        queue: Overflow | None,
        size: int,
        max_age: float | None,
        on_failure: OnFailure,
        isolation: str,
        odd_only: bool,
    ) -> Member:
        name = f"s{len(self.everybody)}"
        policy: dict[str, Any] = {"concurrency": concurrency, "on_failure": on_failure, "isolation": isolation}
        if keyed:
            policy["key"] = "key"
        if retry is not None:
            policy["retry"] = Retry(attempts=retry, delay=0.4, factor=1.0, jitter=False, out_of_order=out_of_order)
        if timeout is not None and shape != "sync":
            policy["timeout"] = timeout
        if queue is not None and wants is not Fill:
            policy |= {"overflow": queue, "queue_size": size}
        if max_age is not None and wants is not Fill:
            policy["max_age"] = max_age
        if odd_only:
            policy["where"] = lambda event: event["n"] % 2 == 1

        async def handle(event: Event) -> int:
            return await self.run_async(member, event)

        async def handle_two(event: Event, delivery: Any) -> int:
            if delivery.event is not event or delivery.subscription != name:
                self.complaints.append(f"{name}: was given another's delivery")
            return await self.run_async(member, event)

        handlers: dict[str, Callable[..., Any]] = {
            "async": handle,
            "two": handle_two,
            "sync": lambda event: self.run_sync(member, event),
            "lambda": lambda event: self.run_begun(member, *self.begin(member, event)),
        }
        handle_ = self.bus.subscribe(wants, handlers[shape], name=name, **policy)
        member = Member(name, handle_, wants, odd_only)
        self.everybody[name] = member
        return member

    @rule(member=members)
    def cancel(self, member: Member) -> None:
        async def cancel() -> None:
            member.is_cancelled = True
            still_running = await member.handle.cancel()
            running = sorted(fact.event.event_id for fact in member.running)
            assert sorted(still_running) == running, "cancel() tells wrongly what still runs"

        self.do(cancel())
        self.settle()

    @rule(member=members)
    def pause(self, member: Member) -> None:
        member.handle.pause()
        member.is_paused = True
        self.settle()

    @rule(member=members)
    def resume(self, member: Member) -> None:
        member.is_paused = False
        member.handle.resume()
        self.settle()
        self.look_whether_it_stopped()

    def new_event(self, make: Callable[..., Event], mood: str, key: int) -> Event:
        self.counter += 1
        event = make(n=self.counter, key=key, mood=mood)
        self.payloads[self.counter] = event.payload
        return event

    def accept(self, event: Event, origin: int) -> Fact:
        goes_to = {m.name for m in self.everybody.values() if not m.is_cancelled and m.matches(event)}
        fact = Fact(event, origin, self.loop.time(), goes_to=goes_to)
        self.facts.append(fact)
        return fact

    @rule(
        makers=st.lists(st.sampled_from(MAKERS), min_size=1, max_size=5),
        moods=st.lists(st.sampled_from(MOODS), min_size=5, max_size=5),
        keys=st.lists(st.integers(0, 2), min_size=5, max_size=5),
        keep=st.booleans(),
        way=st.sampled_from(["publish", "publish", "patient", "nowait"]),
        lets_run=st.booleans(),
        back=st.sampled_from([0, 0, 0, 1, 3]),
    )
    def publish(
        self,
        makers: list[Callable[..., Event]],
        moods: list[str],
        keys: list[int],
        keep: bool,
        way: str,
        lets_run: bool,
        back: int,
    ) -> None:
        """Publish some events in a row from one context; with `keep` somebody holds the receipts.

        With `back` each of them has for its cause the event that was accepted so many before.
        """
        self.origin += 1
        origin = self.origin
        events = [self.new_event(make, mood, key) for make, mood, key in zip(makers, moods, keys, strict=False)]

        async def publish() -> None:
            ORIGIN.set(origin)
            for event in events:
                cause = self.facts[-back].event if 0 < back <= len(self.facts) else None
                try:
                    if way == "nowait":
                        receipt = self.bus.publish_nowait(event, cause=cause)
                    else:
                        receipt = await self.bus.publish(event, timeout=0.7 if way == "patient" else None, cause=cause)
                except (DeliveryError, HopLimit):
                    continue
                if event.causation_id != (None if cause is None else cause.event_id):
                    self.complaints.append(f"{event['n']}: has another cause than the one it was given")
                fact = self.accept(event, origin)
                if keep:
                    self.receipts.append((fact, receipt))
                del receipt

        self.publishers.append(self.loop.create_task(publish()))
        if lets_run:
            self.settle()
        else:
            self.do(asyncio.sleep(0))
            self.is_settled = False
        self.look_whether_it_stopped()

    @precondition(lambda self: any(not task.done() for task in self.publishers))
    @rule()
    def cancel_a_publish(self) -> None:
        next(task for task in self.publishers if not task.done()).cancel()
        self.settle()

    @rule(
        seconds=st.sampled_from([0, 0.1, 0.5, 0.5, 2, 2, 20, 3600]),
        wall=st.sampled_from([0, 0, 0, 0.001, -3600, 86_400]),
    )
    def advance(self, seconds: float, wall: float) -> None:
        """Time goes on; the wall clock may jump, which nobody must notice."""
        self.loop.clock.jump_wall(wall)
        self.do(self.loop.clock.advance(seconds))
        self.is_settled = True
        self.look_whether_it_stopped()

    @rule(everything=st.booleans())
    def redrive(self, everything: bool) -> None:
        def where(letter: Any) -> bool:
            member = self.everybody[letter.subscription]
            chosen = (everything or letter.event["n"] % 2 == 1) and not member.is_cancelled
            if chosen:
                member.redriven += 1
                next(fact for fact in self.facts if fact.event is letter.event).is_redriven = True
            return chosen

        expected = sum(member.redriven for member in self.everybody.values())
        redriven = self.do(self.bus.dead_letters.redrive(where))
        assert redriven == sum(member.redriven for member in self.everybody.values()) - expected
        self.settle()
        self.look_whether_it_stopped()

    # --- what holds after every step -----------------------------------------------------------------------------------

    @invariant()
    def promises_hold(self) -> None:
        self.nothing_went_wrong_unseen()
        self.counts_equal_the_truth()
        self.counters_never_go_down()
        self.nothing_grows_beyond_its_bound()
        self.kept_receipts_equal_the_truth()
        self.publishers_wait_only_for_room()

    def nothing_went_wrong_unseen(self) -> None:
        assert not self.complaints, self.complaints
        assert not self.errors, self.errors

    def counts_equal_the_truth(self) -> None:
        stats = self.bus.stats()
        assert stats.published == len(self.facts)
        rows = {name: member.handle.stats() for name, member in self.everybody.items()}
        assert all(rows[row.name] == row for row in stats.subscriptions)
        assert rows.keys() - {row.name for row in stats.subscriptions} <= {
            name for name, member in self.everybody.items() if member.is_cancelled
        }
        for name, member in self.everybody.items():
            row = rows[name]
            ended = row.succeeded + row.dead_lettered + row.dropped + row.expired + row.cancelled
            assert row.accepted == ended + row.pending
            assert row.pending == row.queued + row.in_flight + row.retry_wait
            if not self.is_settled:  # between the end of an attempt and its outcome
                continue
            mine = [fact for fact in self.facts if member.name in fact.goes_to]
            if stats.queue_size == 0:
                assert row.accepted == len(mine) + member.redriven
            attempts = [attempt for fact in mine for attempt in fact.attempts.get(member.name, [])]
            failed = [attempt for attempt in attempts if attempt.ended not in ("", "ok")]
            assert row.errors == len(failed)
            assert row.succeeded == sum(attempt.ended == "ok" for attempt in attempts)
            given_up = sum(member.is_over(attempt) for attempt in failed)
            if member.handle.policy.on_failure is OnFailure.DROP:
                assert row.dead_lettered == 0
                assert row.dropped >= given_up
            else:
                assert row.dead_lettered == given_up
            assert row.in_flight == len(member.running)
            if not any(member.may_lose(fact.event) for fact in mine) and not member.is_cancelled:
                assert row.cancelled == row.expired == 0
                assert row.dropped == (given_up if member.handle.policy.on_failure is OnFailure.DROP else 0)
            if member.is_cancelled:
                assert row.pending == row.in_flight
        assert stats.succeeded == sum(row.succeeded for row in rows.values())
        assert stats.pending == stats.queue_size + sum(row.pending for row in rows.values())

    def counters_never_go_down(self) -> None:
        stats = self.bus.get_stats()
        now = Counter({name: stats[name] for name in ("published", "dispatched", "errors", "retried", "dropped")})
        now |= Counter({name: stats[name] for name in ("dead_lettered", "expired")})
        assert all(now[name] >= self.before[name] for name in self.before)
        self.before = now

    def nothing_grows_beyond_its_bound(self) -> None:
        urgent = sum(
            fact.event.__event__.kind is Kind.CONTROL for fact in self.facts
        )  # they have a reserve of their own
        assert self.bus._door.places.occupied <= DOOR + RESERVE + urgent
        for member in self.everybody.values():
            size = member.handle.policy.queue_size
            if size is None or member.redriven:
                continue
            row = member.handle.stats()
            if member.is_lossy:
                lossless = sum(
                    fact.event.__event__.kind in (Kind.EXECUTION, Kind.CONTROL)
                    for fact in self.facts
                    if member.name in fact.goes_to
                )
                # What comes back from a retry finds a full queue, and so does what was on its way to a task or a thread.
                last = [fact.attempts[member.name][-1] for fact in self.facts if member.name in fact.attempts]
                back = sum(attempt.ended != "" and not member.is_over(attempt) for attempt in last)
                assert row.queued <= size + lossless + back + member.handle.policy.concurrency
            else:
                assert row.pending <= size + urgent

    def kept_receipts_equal_the_truth(self) -> None:
        kept = [(fact, self.loop.create_task(awaited(receipt))) for fact, receipt in self.receipts[-8:]]
        self.do(asyncio.sleep(0))
        for fact, waiting in kept:
            if not waiting.done():
                waiting.cancel()
                continue
            outcomes = {outcome.subscription: outcome for outcome in waiting.result()}
            assert len(outcomes) == len(waiting.result())
            if fact.is_redriven:
                continue
            assert outcomes.keys() == fact.goes_to
            for name, outcome in outcomes.items():
                truth = self.everybody[name].status(fact)
                if truth is Status.CANCELLED and self.everybody[name].may_expire(fact.event):
                    assert outcome.status in (truth, Status.EXPIRED)  # while it waited for another attempt
                elif truth is not None:
                    assert (outcome.status, outcome.attempts) == (truth, len(fact.attempts[name])), (
                        name,
                        fact,
                        outcome,
                    )
                    if truth is Status.SUCCEEDED:
                        assert outcome.result == fact.event["n"]
                    elif truth is Status.DEAD_LETTERED and fact.mood == "long":
                        # A timer left behind may hit it.
                        assert isinstance(outcome.error, HandlerTimeout | HandlerCancelled)
                else:
                    assert outcome.status in (Status.CANCELLED, Status.DROPPED, Status.EXPIRED)

    def publishers_wait_only_for_room(self) -> None:
        waiting = [task for task in self.publishers if not task.done()]
        if waiting and self.is_settled:
            gates = [m for m in self.everybody.values() if m.handle.policy.is_gate and not m.is_cancelled]
            full = any(m.handle.stats().pending >= (m.handle.policy.queue_size or 0) for m in gates)
            lets_in = self.bus._door.places.lets_in_soon  # it lets them in together, a moment after
            assert self.bus._door.places.occupied >= DOOR or full or lets_in or self.bus.stats().queue_size
        for task in self.publishers:
            if task.done() and not task.cancelled():
                task.result()
        self.publishers = waiting

    # --- the end ----------------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        try:
            if sys.exc_info()[0] is None:  # a step that failed has the word
                self.finish()
        finally:
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.settle()
            self.loop.close()

    def finish(self) -> None:
        """Let everything end by itself: all that was accepted comes to its end, and nothing is left behind."""
        for _ in range(
            20 + len(self.facts) * len(self.everybody)
        ):  # each event may stop the bus, or pause its subscription
            for member in self.everybody.values():
                if member.is_paused:
                    self.resume(member)
            if self.main is None:
                self.restart()
            self.do(self.loop.clock.advance(100))
            self.look_whether_it_stopped()
            quiet = not any(m.is_paused for m in self.everybody.values())
            quiet = quiet and all(task.done() for task in self.publishers)
            if self.main is not None and quiet and self.do(self.bus.drain(timeout=1000)):
                break
        self.nothing_went_wrong_unseen()
        assert not [task for task in self.publishers if not task.done()], "a publisher still waits"
        report = self.do(self.bus.shutdown(timeout=100))
        left = [m.handle.stats() for m in self.everybody.values() if m.handle.stats().pending]
        assert (report.drained, report.abandoned, report.left) == (True, (), 0), (report, left)
        self.main = None
        self.counts_equal_the_truth()
        self.kept_receipts_equal_the_truth()
        assert self.bus.stats().pending == 0
        assert self.bus._door.places.occupied == 0
        shown, accepted = Counter(map(id, self.shown)), Counter(id(fact.event) for fact in self.facts)
        assert shown == accepted, "a tap is shown each event once"
        for member in self.everybody.values():
            self.check_that_all_was_delivered(member)
        self.do(self.loop.clock.advance(10))
        assert asyncio.all_tasks(self.loop) == set()
        timers = [handle for handle in self.loop._scheduled if not handle.cancelled()]  # type: ignore[attr-defined]
        assert timers == []
        gc.collect(0)
        self.nothing_went_wrong_unseen()

    def check_that_all_was_delivered(self, member: Member) -> None:
        if member.is_cancelled:
            return
        mine = [fact for fact in self.facts if member.name in fact.goes_to]
        for fact in mine:
            if not member.may_lose(fact.event):
                assert member.status(fact) is not None, f"{member.name} never got {fact.event['n']}"
        overflow = member.handle.policy.overflow
        values = [
            fact for fact in mine if fact.event.__event__.kind is Kind.QUOTE and not member.may_expire(fact.event)
        ]
        if values and overflow in (None, Overflow.BLOCK):
            newest = {fact.event["key"]: fact for fact in values}
            if overflow is None:
                assert all(fact.attempts.get(member.name) for fact in newest.values()), "the newest value was lost"


async def awaited(receipt: Receipt) -> Any:
    return await receipt


class WeighedBusMachine(BusMachine):
    """Every event is measured, though never too large: what is settled leaves the budget, and at last it is empty."""

    max_bytes = 100_000_000

    def finish(self) -> None:
        super().finish()
        budget = self.bus._door.places.budget
        assert budget is not None
        assert budget.total == 0


TestBus = BusMachine.TestCase
# Without the phase that explains: it traces every line and takes minutes.
TestBus.settings = settings(
    settings.get_profile("model"),
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    report_multiple_bugs=False,
)
TestWeighedBus = WeighedBusMachine.TestCase
TestWeighedBus.settings = settings(TestBus.settings, max_examples=max(1, TestBus.settings.max_examples // 20))


# --- would the model notice? ----------------------------------------------------------------------------------------------


def an_outcome_is_lost(patch: pytest.MonkeyPatch) -> None:
    """A delivery that was given up is forgotten: nobody hears of it again."""
    patch.setattr(Endings, "give_up", lambda *_arguments, **_policy: None)


def an_outcome_is_doubled(patch: pytest.MonkeyPatch) -> None:
    """A delivery that was tried again ends twice."""
    finish = Endings.finish

    def finish_twice(endings: Endings, worker: Worker, delivery: Delivery, *how: Any, **more: Any) -> None:
        finish(endings, worker, delivery, *how, **more)
        if delivery.attempt > 1:
            finish(endings, worker, delivery, *how, **more)

    patch.setattr(Endings, "finish", finish_twice)


def a_key_is_overlapped(patch: pytest.MonkeyPatch) -> None:
    """Nothing waits for its key, whichever way it is run."""
    patch.setattr(Keys, "before", lambda *_arguments: None)
    patch.setattr(Keys, "busy_one", lambda *_arguments: None)


@pytest.mark.parametrize(
    "plant",
    [an_outcome_is_lost, an_outcome_is_doubled, pytest.param(a_key_is_overlapped, marks=pytest.mark.slow)],
)
def test_a_planted_fault_is_found(plant: Callable[[pytest.MonkeyPatch], None]) -> None:
    """The model would be worth nothing if it agreed with a bus that breaks its promises."""
    few = settings(
        settings.get_profile("model"),
        max_examples=400,
        phases=[Phase.generate],
        derandomize=True,
        database=None,
        report_multiple_bugs=False,
        print_blob=False,
    )
    with pytest.MonkeyPatch.context() as patch:
        plant(patch)
        with pytest.raises((AssertionError, VirtualTimeStuck)):
            run_state_machine_as_test(BusMachine, settings=few)
