"""R4: whatever an object of the user's does costs one delivery at most, and values are checked where they are made.

Each seam is a place where the bus calls something that is not its own; at each of them everything is thrown that can be.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import sys
from collections.abc import Callable, Coroutine, Generator
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field, replace
from datetime import timedelta
from math import inf, nan
from typing import Any

import pytest

from eventbus import Event, InMemoryEventBus, Policy, PolicyConflict, Reject, Retry, RetryLater, Status, Subscription
from eventbus.testing import Recorder, VirtualLoop


class OrderPlaced(Event, type="found.objects.order"):
    """Number 1 is the one that something is wrong with."""

    n: int = 0
    value: Any = None


class OrderBooked(Event, type="found.objects.booked"):
    """What a handler publishes."""


WRONG = 1
EVENTS = 5

# --- what is thrown --------------------------------------------------------------------------------------------------


class OwnBaseException(BaseException):
    """Somebody's idea of an exception that nobody may catch."""


class Unprintable(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")

    __repr__ = __str__


class NoText(Exception):
    def __str__(self) -> str:
        return 5  # type: ignore[return-value]  # noqa: PLE0307 - that it is none is the point


class Incomparable(Exception):
    def __eq__(self, _other: object) -> bool:
        raise ValueError("not to be compared")

    def __hash__(self) -> int:
        raise ValueError("not to be hashed")


class Odd:
    """A value that can do nothing but raise."""

    def __init__(self, boom: Callable[[], Any]) -> None:
        self._boom = boom

    def __eq__(self, _other: object) -> bool:
        return bool(self._boom())

    def __hash__(self) -> int:
        return int(self._boom())

    def __bool__(self) -> bool:
        return bool(self._boom())

    def __str__(self) -> str:
        return str(self._boom())

    __repr__ = __str__


def with_notes() -> Exception:
    error = ValueError("with notes")
    error.__notes__ = [Unprintable(), 5]  # type: ignore[list-item]  # nobody checks them
    return error


def in_a_circle() -> Exception:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    return first


def in_groups() -> Exception:
    return ExceptionGroup("outer", [ExceptionGroup("inner", [Unprintable(), ValueError("leaf")])])


KINDS: dict[str, Callable[[], BaseException]] = {
    "ordinary": lambda: ValueError("wrong"),
    "base": OwnBaseException,
    "interrupt": KeyboardInterrupt,
    "exit": lambda: SystemExit(3),
    "cancelled": asyncio.CancelledError,
    "generator-exit": GeneratorExit,
    "stop": lambda: StopIteration("value"),
    "stop-async": StopAsyncIteration,
    "recursion": lambda: RecursionError("too deep"),
    "memory": MemoryError,
    "unprintable": Unprintable,
    "no-text": NoText,
    "incomparable": Incomparable,
    "notes": with_notes,
    "circle": in_a_circle,
    "groups": in_groups,
    "syntax": lambda: SyntaxError("odd", (None, 5, None, "text")),
    "retry-later": RetryLater,
    "reject": lambda: Reject("at the wrong place"),
}

# --- where it is thrown ----------------------------------------------------------------------------------------------

Boom = Callable[[], Any]


@dataclass(frozen=True)
class Part:
    """What the victim subscribes, what is done before each event is published, what the event holds, what the bus is given."""

    handler: Callable[[OrderPlaced], Any]
    policy: dict[str, Any] = field(default_factory=dict)
    before: Callable[[int], object] = lambda n: None
    value: Callable[[int], Any] = lambda n: None
    settings: dict[str, Any] = field(default_factory=dict)


async def fine(_event: OrderPlaced) -> str:
    return "fine"


def only_wrong(boom: Boom, otherwise: Any = None) -> Callable[[OrderPlaced], Any]:
    return lambda event: boom() if event.n == WRONG else otherwise


def handler(boom: Boom) -> Part:
    async def handle(event: OrderPlaced) -> Any:
        return only_wrong(boom)(event)

    return Part(handle)


def handler_after_a_turn(boom: Boom) -> Part:
    async def handle(event: OrderPlaced) -> Any:
        await asyncio.sleep(0)
        return only_wrong(boom)(event)

    return Part(handle)


def handler_with_a_policy(boom: Boom) -> Part:
    return replace(handler(boom), policy={"retry": Retry(attempts=2, delay=1), "timeout": 60, "concurrency": 2})


def handler_in_its_own_task(boom: Boom) -> Part:
    return replace(handler(boom), policy={"isolation": "task"})


def sync_handler(boom: Boom) -> Part:
    return Part(only_wrong(boom))


def predicate(boom: Boom) -> Part:
    return Part(fine, {"where": only_wrong(boom, otherwise=True)})


def truth_of_a_predicate(boom: Boom) -> Part:
    return Part(fine, {"where": lambda event: Odd(boom) if event.n == WRONG else True})


def key(boom: Boom) -> Part:
    return Part(fine, {"key": only_wrong(boom, otherwise="key")})


def key_in_parallel(boom: Boom) -> Part:
    return Part(fine, {"key": only_wrong(boom, otherwise="key"), "concurrency": 2})


def hash_of_a_key(boom: Boom) -> Part:
    return Part(fine, {"key": lambda event: Odd(boom) if event.n == WRONG else "key", "concurrency": 2})


def equality_of_a_key(boom: Boom) -> Part:
    class Key(Odd):
        def __hash__(self) -> int:
            return 0

    async def suspends(_event: OrderPlaced) -> None:
        await asyncio.sleep(1)

    return Part(suspends, {"key": lambda event: Key(boom) if event.n == WRONG else 0, "concurrency": 3})


def retry_on(boom: Boom) -> Part:
    class Asked(type):
        def __instancecheck__(cls, _error: object) -> bool:
            return bool(boom())

    class AskedError(Exception, metaclass=Asked):
        """Whether an error is one of these is asked of the class."""

    async def handle(event: OrderPlaced) -> None:
        if event.n == WRONG:
            raise ValueError("wrong")

    return Part(handle, {"retry": Retry(attempts=2, on=(AskedError,))})


def delay_of_a_retry(boom: Boom) -> Part:
    class Later(RetryLater):
        """With a mind of its own about when."""

        after = property(lambda self: boom(), lambda self, value: None)

    async def handle(event: OrderPlaced) -> None:
        if event.n == WRONG:
            raise Later

    return Part(handle)


def reason_of_a_rejection(boom: Boom) -> Part:
    class No(Reject):
        reason = property(lambda self: boom(), lambda self, value: None)

    async def handle(event: OrderPlaced) -> None:
        if event.n == WRONG:
            raise No("because")

    return Part(handle)


def text_of_an_error(boom: Boom) -> Part:
    class Silent(Exception):
        def __str__(self) -> str:
            return str(boom())

        __repr__ = __str__

    async def handle(event: OrderPlaced) -> None:
        if event.n == WRONG:
            raise Silent

    return Part(handle)


def awaitable_result(boom: Boom) -> Part:
    class Result:
        def __await__(self) -> Generator[Any, None, Any]:
            yield from ()
            return boom()

    def handle(event: OrderPlaced) -> Any:
        return Result() if event.n == WRONG else "fine"

    return Part(handle)


def result(boom: Boom) -> Part:
    async def handle(event: OrderPlaced) -> Any:
        return Odd(boom) if event.n == WRONG else "fine"

    return Part(handle)


VARIABLE: ContextVar[Any] = ContextVar("found-variable", default=None)


BUS: ContextVar[InMemoryEventBus] = ContextVar("found-bus")


def variable_of_the_publisher(boom: Boom) -> Part:
    return Part(fine, before=lambda n: VARIABLE.set(Odd(boom) if n == WRONG else None))


def variable_of_the_handler(boom: Boom) -> Part:
    async def handle(event: OrderPlaced) -> None:
        if event.n == WRONG:
            VARIABLE.set(Odd(boom))

    return Part(handle)


def log_handler(boom: Boom) -> Part:
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            boom()

    async def handle(event: OrderPlaced) -> None:
        if event.n == WRONG:
            logging.getLogger("eventbus").addHandler(Broken())
            raise ValueError("to be told")

    return Part(handle)


def value_of_an_event(boom: Boom) -> Part:
    return Part(fine, value=lambda n: Odd(boom) if n == WRONG else n)


def value_of_an_event_that_is_its_key(boom: Boom) -> Part:
    return Part(fine, {"key": "value", "concurrency": 2}, value=lambda n: Odd(boom) if n == WRONG else n)


def identity_of_what_a_handler_publishes(boom: Boom) -> Part:
    async def handle(_event: OrderPlaced) -> None:
        await BUS.get().publish(OrderBooked())

    return Part(handle, settings={"identify": lambda event, cause, name: only_wrong(boom)(cause)})


SEAMS = [
    handler,
    handler_after_a_turn,
    handler_with_a_policy,
    handler_in_its_own_task,
    sync_handler,
    predicate,
    truth_of_a_predicate,
    key,
    key_in_parallel,
    hash_of_a_key,
    equality_of_a_key,
    retry_on,
    delay_of_a_retry,
    reason_of_a_rejection,
    text_of_an_error,
    awaitable_result,
    result,
    variable_of_the_publisher,
    variable_of_the_handler,
    value_of_an_event,
    value_of_an_event_that_is_its_key,
    identity_of_what_a_handler_publishes,
    log_handler,
]


def run(main: Coroutine[Any, Any, None]) -> None:
    """In virtual time, for a day at most. What gets out of it, be it an interrupt, fails this test and ends no other."""
    escaped = escaped_from(main)
    if escaped:
        heard, sys.unraisablehook = sys.unraisablehook, lambda _unraisable: None
        gc.collect()  # what the broken loop left behind complains now, and not in the test that comes next
        sys.unraisablehook = heard
        pytest.fail(f"{escaped} got out of the bus")


def escaped_from(main: Coroutine[Any, Any, None]) -> str:
    """The name of a `BaseException` that got out; pytest would end with it."""

    async def bounded() -> None:
        async with asyncio.timeout(86_400):
            await main

    log = logging.getLogger("eventbus")
    handlers = [*log.handlers]
    runner = asyncio.Runner(loop_factory=VirtualLoop)
    try:
        runner.run(bounded(), context=copy_context())
    except Exception:
        raise
    except BaseException as error:  # noqa: BLE001 - whichever it is
        return type(error).__name__
    finally:
        for added in [one for one in log.handlers if one not in handlers]:
            log.removeHandler(added)
        with contextlib.suppress(KeyboardInterrupt, SystemExit):  # a task that ended with it tells it again
            runner.close()
    return ""


async def nobody_else_notices(part: Part, *, is_watched: bool) -> None:
    """Publish in a row, for the victim and a neighbour on each side: only what is wrong may end otherwise than well."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    bus = InMemoryEventBus(clock=loop.clock, pool=loop.pool(), **part.settings)
    BUS.set(bus)
    before, after = Recorder(), Recorder()
    bus.subscribe(OrderPlaced, before, name="before")
    victim = bus.subscribe(OrderPlaced, part.handler, name="victim", **part.policy)
    bus.subscribe(OrderPlaced, after, name="after")
    await bus.connect()
    receipts = []
    for n in range(EVENTS):
        part.before(n)
        receipt = await bus.publish(OrderPlaced(n=n, value=part.value(n)))
        if is_watched:
            receipts.append(receipt)
        del receipt
    part.before(-1)
    assert await bus.drain(timeout=3600)
    for n, receipt in enumerate(receipts):
        ended = {outcome.subscription: outcome.status for outcome in await receipt}
        expected = dict.fromkeys(["before", "victim", "after"], Status.SUCCEEDED)
        if n == WRONG:
            ended.pop("victim", None)
            expected.pop("victim")
        assert ended == expected
    assert before.values("n") == after.values("n") == [*range(EVENTS)]
    assert_conserved(victim)
    assert victim.stats().succeeded >= EVENTS - 1
    assert bus.is_running
    assert await bus.publish_and_wait(OrderPlaced(n=9)) == []
    report = await bus.shutdown(timeout=60)
    assert (report.drained, report.left) == (True, 0)


def assert_conserved(subscription: Subscription) -> None:
    """What was accepted has ended, each in one way."""
    stats = subscription.stats()
    ended = stats.succeeded + stats.dead_lettered + stats.dropped + stats.expired + stats.cancelled
    assert (stats.accepted, stats.pending, stats.in_flight) == (ended, 0, 0)


def thrower(kind: str) -> Boom:
    def boom() -> Any:
        raise KINDS[kind]()

    return boom


@pytest.mark.parametrize("is_watched", [True, False], ids=["watched", "unwatched"])
@pytest.mark.parametrize(
    ("seam", "kind"), [pytest.param(seam, kind, id=f"{seam.__name__}-{kind}") for seam in SEAMS for kind in KINDS]
)
def test_whatever_is_thrown_at_a_seam_costs_one_delivery_at_most(
    seam: Callable[[Boom], Part], kind: str, is_watched: bool
) -> None:
    run(nobody_else_notices(seam(thrower(kind)), is_watched=is_watched))


# --- what was thrown in the field ------------------------------------------------------------------------------------

UNTYPED: Any = RetryLater  # called as nobody should who runs a type checker


def text_first() -> BaseException:
    return RetryLater("not ready")


def timedelta_first() -> BaseException:
    error: BaseException = UNTYPED(timedelta(seconds=1))
    return error


def timedelta_after() -> BaseException:
    return RetryLater(after=timedelta(seconds=1))


@pytest.mark.parametrize("make", [text_first, timedelta_first, timedelta_after])
@pytest.mark.parametrize("is_watched", [True, False], ids=["watched", "unwatched"])
def test_a_retry_later_made_wrongly_costs_its_delivery_at_most(
    make: Callable[[], BaseException], is_watched: bool
) -> None:
    async def handle(event: OrderPlaced) -> None:
        if event.n == WRONG:
            raise make()

    run(nobody_else_notices(Part(handle, {"retry": Retry(attempts=2, delay=1)}), is_watched=is_watched))


async def test_retry_later_takes_its_reason_first_as_reject_does() -> None:
    later = RetryLater("the venue is closed", after=5)
    assert (str(later), later.reason, later.after) == ("the venue is closed", "the venue is closed", 5)
    assert str(Reject("the venue is closed")) == "the venue is closed"


async def test_retry_later_needs_neither_reason_nor_time() -> None:
    assert RetryLater().after is None
    assert RetryLater(after=0).after == 0
    assert RetryLater(after=timedelta(minutes=1)).after == 60


def test_the_time_of_a_retry_later_is_given_by_name_only() -> None:
    with pytest.raises(TypeError):
        UNTYPED("the venue is closed", 5)


@pytest.mark.parametrize(
    "after", ["5", nan, inf, -1, True, object()], ids=["text", "nan", "inf", "-1", "True", "object"]
)
def test_a_retry_later_with_a_time_of_no_use_cannot_be_made(after: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        RetryLater(after=after)


@pytest.mark.virtual_time
async def test_retry_later_with_a_reason_is_retried_as_the_policy_says(event_bus: InMemoryEventBus) -> None:
    attempts: list[int] = []

    async def handle(event: OrderPlaced) -> None:
        attempts.append(event.n)
        if len(attempts) < 3:
            raise RetryLater("not ready")

    event_bus.subscribe(OrderPlaced, handle, retry=Retry(attempts=3, delay=1))
    async with asyncio.timeout(3600):
        assert await event_bus.publish_and_wait(OrderPlaced()) == []
    assert len(attempts) == 3


# --- values are checked where they are made --------------------------------------------------------------------------


Refused = dict[str, list[Any]]
"""By argument: what it refuses."""


def checked(refused: Refused) -> list[Any]:
    return [pytest.param(name, value, id=f"{name}={value!r}") for name, values in refused.items() for value in values]


ODD_SECONDS = [nan, inf, True, "5", timedelta(1)]

IN_RETRY: Refused = {
    "attempts": [0, -1, 2.5, nan, inf, True, "3"],
    "delay": [-inf, -1, *ODD_SECONDS],
    "factor": [0.5, -inf, -1, *ODD_SECONDS],
    "max_delay": [-inf, -1, *ODD_SECONDS],
    "jitter": ["yes"],
    "on": [OSError, (OSError, "ValueError"), (5,), (), None],
    "out_of_order": ["no"],
}


@pytest.mark.parametrize(("name", "value"), checked(IN_RETRY))
def test_a_retry_of_no_use_cannot_be_made(name: str, value: Any) -> None:
    arguments: dict[str, Any] = {name: value}
    with pytest.raises(PolicyConflict, match=name):
        Retry(**arguments)


IN_POLICY: Refused = {
    "concurrency": [0, -1, 2.5, nan, inf, "3", True],
    "queue_size": [0, -1, 2.5, nan, inf, "3", True],
    "timeout": [0, -1, -inf, *ODD_SECONDS],
    "max_age": [0, -1, -inf, *ODD_SECONDS],
    "where": ["n > 1", 5],
    "key": [5, ("n",)],
    "retry": [3, "twice", {"attempts": 3}],
    "overflow": ["sometimes", 5],
    "on_failure": ["shrug", 5, None],
    "isolation": ["process", None, 5],
}


@pytest.mark.parametrize(("name", "value"), checked(IN_POLICY))
def test_a_policy_of_no_use_cannot_be_made(name: str, value: Any) -> None:
    arguments: dict[str, Any] = {name: value}
    with pytest.raises(PolicyConflict, match=name):
        Policy(**arguments)


IN_BUS: Refused = {
    "max_queue_size": [0, -1, 2.5, nan, inf, True, "10"],
    "max_workers": [0, -1, 2.5, nan, inf, True, "4"],
    "max_bytes": [0, -1, 2.5, nan, inf, True, "1 MB"],
    "reserve": [-1, 2.5, nan, inf, True, "5"],
    "history": [-1, 2.5, nan, inf, True, "5"],
    "grace": [-1, *ODD_SECONDS],
    "name": [5, b"bus"],
    "identify": ["by hand", 5],
    "clock": [5, "now"],
    "pool": [5, "threads"],
    "seed": ["random", 2.5, True],
}


@pytest.mark.parametrize(("name", "value"), checked(IN_BUS))
def test_a_bus_of_no_use_cannot_be_made(name: str, value: Any) -> None:
    arguments: dict[str, Any] = {name: value}
    with pytest.raises(PolicyConflict, match=name):
        InMemoryEventBus(**arguments)


IN_SUBSCRIPTION: Refused = {
    "handler": ["print", 5, None],
    "name": [5, b"desk"],
}


@pytest.mark.parametrize(("name", "value"), checked(IN_SUBSCRIPTION))
def test_a_subscription_of_no_use_cannot_be_made(name: str, value: Any) -> None:
    arguments: dict[str, Any] = {"handler": fine, name: value}
    bus = InMemoryEventBus()
    with pytest.raises(PolicyConflict, match=name):
        bus.subscribe(OrderPlaced, **arguments)
    assert bus.subscriptions == ()


TIMEOUTS: Refused = {
    **{call: [-1, *ODD_SECONDS] for call in ("publish", "publish_many", "publish_and_wait", "drain", "shutdown")},
    **{call: ["5", timedelta(1), -1, nan, inf, True] for call in ("request", "expect")},
}


@pytest.mark.virtual_time
@pytest.mark.parametrize(("call", "timeout"), checked(TIMEOUTS))
async def test_a_timeout_of_no_use_is_refused_and_nothing_is_done(
    event_bus: InMemoryEventBus, call: str, timeout: Any
) -> None:
    calls: dict[str, Callable[[], Any]] = {
        "publish": lambda: event_bus.publish(OrderPlaced(), timeout=timeout),
        "publish_many": lambda: event_bus.publish_many([OrderPlaced()], timeout=timeout),
        "publish_and_wait": lambda: event_bus.publish_and_wait(OrderPlaced(), timeout=timeout),
        "request": lambda: event_bus.request(OrderPlaced(), timeout=timeout),
        "expect": lambda: event_bus.expect(OrderPlaced, timeout=timeout),
        "drain": lambda: event_bus.drain(timeout=timeout),
        "shutdown": lambda: event_bus.shutdown(timeout=timeout),
    }
    heard = Recorder(lambda event: "answered")
    event_bus.subscribe(OrderPlaced, heard)
    with pytest.raises((TypeError, ValueError)):
        async with asyncio.timeout(3600):
            await calls[call]()
    assert heard.events == []
    assert await event_bus.request(OrderPlaced(), timeout=60) == "answered"


@pytest.mark.virtual_time
@pytest.mark.parametrize("value", [nan, inf, -1, True, "5", timedelta(1)], ids=repr)
async def test_a_grace_of_no_use_is_refused_and_the_subscription_goes_on(
    event_bus: InMemoryEventBus, value: Any
) -> None:
    subscription = event_bus.subscribe(OrderPlaced, fine)
    with pytest.raises((TypeError, ValueError)):
        await subscription.cancel(grace=value)
    assert subscription.is_active


CLASS_ARGUMENTS: Refused = {
    "max_age": [0, -1, *ODD_SECONDS],
    "version": [0, -1, 2.5, True, "2"],
    "kind": ["rumour", 5],
    "key": ["nothing", 5],
}


@pytest.mark.parametrize(("name", "value"), checked(CLASS_ARGUMENTS))
def test_a_class_of_events_of_no_use_cannot_be_made(name: str, value: Any) -> None:
    arguments: dict[str, Any] = {name: value}
    with pytest.raises((TypeError, ValueError)):

        class OrderLost(Event, type="found.objects.lost", **arguments):
            n: int = 0


@pytest.mark.parametrize(
    "arguments",
    [
        {"retry": Retry(attempts=1, delay=0, max_delay=0, factor=1, on=[OSError])},
        {"timeout": 1, "max_age": 0.5, "concurrency": 1, "queue_size": 1},
        {"timeout": None, "max_age": None, "queue_size": None, "retry": None, "where": None, "key": None},
    ],
    ids=str,
)
def test_values_at_the_edge_are_of_use(arguments: dict[str, Any]) -> None:
    assert InMemoryEventBus().subscribe(OrderPlaced, fine, **arguments).is_active


def test_a_bus_may_have_no_reserve_no_history_no_grace_and_no_budget() -> None:
    assert InMemoryEventBus(1, 1, reserve=0, history=0, grace=0, max_bytes=None).name
