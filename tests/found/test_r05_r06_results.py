"""R5 and R6: whatever awaitable a handler returns is awaited, and a group of errors is judged by what is in it."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any

import pytest

from eventbus import DeadLetter, Delivery, Event, InMemoryEventBus, Reject, Retry, RetryLater, Status

pytestmark = pytest.mark.virtual_time

Letters = Callable[[Any], Awaitable[list[DeadLetter]]]


class OrderPlaced(Event, type="found.results.order"):
    n: int = 0


# --- R5: awaitables that are returned ---------------------------------------------------------------------------------


class Work:
    """Work that a handler hands back instead of awaiting it; what was never awaited is closed when the test ends."""

    def __init__(self) -> None:
        self.done: list[int] = []
        self.error: Exception | None = None
        self.lasts = 0.0
        self._begun: list[Coroutine[Any, Any, str]] = []

    async def _do(self, event: Event) -> str:
        await asyncio.sleep(self.lasts)
        if self.error is not None:
            raise self.error
        self.done.append(event["n"])
        return f"did {event['n']}"

    def __call__(self, event: Event) -> Coroutine[Any, Any, str]:
        self._begun.append(self._do(event))
        return self._begun[-1]

    def close(self) -> None:
        for begun in self._begun:
            if inspect.getcoroutinestate(begun) == inspect.CORO_CREATED:
                begun.close()


class Promise:
    """An object of somebody's own that can be awaited."""

    def __init__(self, work: Coroutine[Any, Any, str]) -> None:
        self._work = work

    def __await__(self) -> Generator[Any, Any, str]:
        return self._work.__await__()


@pytest.fixture
def work() -> Any:
    work = Work()
    yield work
    work.close()


def coroutine(work: Work) -> Callable[..., Any]:
    async def handler(event: OrderPlaced) -> Any:
        return work(event)

    return handler


def after_a_turn(work: Work) -> Callable[..., Any]:
    async def handler(event: OrderPlaced) -> Any:
        await asyncio.sleep(0)
        return work(event)

    return handler


def with_delivery(work: Work) -> Callable[..., Any]:
    async def handler(event: OrderPlaced, _delivery: Delivery) -> Any:
        return work(event)

    return handler


def task(work: Work) -> Callable[..., Any]:
    async def handler(event: OrderPlaced) -> Any:
        begun = asyncio.create_task(work(event))
        begun.add_done_callback(lambda task: task.cancelled() or task.exception())  # nobody may ask for it
        return begun

    return handler


def promise(work: Work) -> Callable[..., Any]:
    async def handler(event: OrderPlaced) -> Any:
        return Promise(work(event))

    return handler


def partial(work: Work) -> Callable[..., Any]:
    async def handler(work: Work, event: OrderPlaced) -> Any:
        return work(event)

    return functools.partial(handler, work)


def sync(work: Work) -> Callable[..., Any]:
    def handler(event: OrderPlaced) -> Any:
        return work(event)

    return handler


ASYNC = [coroutine, after_a_turn, with_delivery, task, promise, partial]
HANDLERS = [*ASYNC, sync]
POLICIES: list[dict[str, Any]] = [
    {},
    {"retry": Retry(attempts=2)},
    {"timeout": 5},
    {"concurrency": 3},
    {"key": "n"},
    {"isolation": "task"},
    {"queue_size": 9},
    {"where": lambda event: True},
    {"max_age": 60},
]


def title(value: Any) -> str:
    return ",".join(value) or "plain" if isinstance(value, dict) else value.__name__


@pytest.mark.parametrize("policy", POLICIES, ids=title)
@pytest.mark.parametrize("make", HANDLERS, ids=title)
async def test_an_awaitable_that_a_handler_returns_is_awaited_and_its_value_is_the_result(
    event_bus: InMemoryEventBus, work: Work, make: Callable[[Work], Any], policy: dict[str, Any]
) -> None:
    event_bus.subscribe(OrderPlaced, make(work), **policy)
    receipts = [await event_bus.publish(OrderPlaced(n=n)) for n in range(3)]
    async with asyncio.timeout(3600):
        outcomes = [(await receipt)[0] for receipt in receipts]
    assert sorted(work.done) == [0, 1, 2]
    assert [(outcome.status, outcome.result) for outcome in outcomes] == [
        (Status.SUCCEEDED, f"did {n}") for n in range(3)
    ]


@pytest.mark.parametrize("policy", POLICIES, ids=title)
@pytest.mark.parametrize("make", HANDLERS, ids=title)
async def test_a_request_is_answered_with_what_the_awaitable_gives(
    event_bus: InMemoryEventBus, work: Work, make: Callable[[Work], Any], policy: dict[str, Any]
) -> None:
    event_bus.subscribe(OrderPlaced, make(work), **policy)
    for n in range(3):
        assert await event_bus.request(OrderPlaced(n=n), timeout=60) == f"did {n}"


@pytest.mark.parametrize("policy", POLICIES, ids=title)
@pytest.mark.parametrize("make", HANDLERS, ids=title)
async def test_with_nobody_watching_the_work_is_done_all_the_same(
    event_bus: InMemoryEventBus, work: Work, make: Callable[[Work], Any], policy: dict[str, Any]
) -> None:
    event_bus.subscribe(OrderPlaced, make(work), **policy)
    for n in range(3):
        await event_bus.publish(OrderPlaced(n=n))
    assert await event_bus.drain(timeout=3600)
    assert sorted(work.done) == [0, 1, 2]


@pytest.mark.parametrize("policy", POLICIES, ids=title)
@pytest.mark.parametrize("make", HANDLERS, ids=title)
async def test_an_error_of_the_awaitable_is_one_of_the_delivery(
    event_bus: InMemoryEventBus, work: Work, make: Callable[[Work], Any], policy: dict[str, Any]
) -> None:
    work.error = OSError("it broke later")
    subscription = event_bus.subscribe(OrderPlaced, make(work), **policy)
    (error,) = await event_bus.publish_and_wait(OrderPlaced())
    assert error is work.error
    assert subscription.stats().dead_lettered == 1


@pytest.mark.parametrize("make", ASYNC, ids=title)
async def test_the_time_of_the_awaitable_counts_for_the_timeout(
    event_bus: InMemoryEventBus, work: Work, make: Callable[[Work], Any]
) -> None:
    work.lasts = 60
    event_bus.subscribe(OrderPlaced, make(work), timeout=5)
    (error,) = await event_bus.publish_and_wait(OrderPlaced())
    assert isinstance(error, TimeoutError)
    assert work.done == []


@pytest.mark.parametrize("policy", [{}, {"timeout": 5}], ids=title)
@pytest.mark.parametrize("make", ASYNC, ids=title)
async def test_the_next_delivery_waits_for_the_awaitable(
    event_bus: InMemoryEventBus, work: Work, make: Callable[[Work], Any], policy: dict[str, Any]
) -> None:
    work.lasts = 1
    loop, began = asyncio.get_running_loop(), asyncio.get_running_loop().time()
    event_bus.subscribe(OrderPlaced, make(work), **policy)
    for n in range(3):
        await event_bus.publish(OrderPlaced(n=n))
    assert await event_bus.drain(timeout=3600)
    assert work.done == [0, 1, 2]
    assert loop.time() - began == pytest.approx(3)


# --- R6: groups ------------------------------------------------------------------------------------------------------


async def reset() -> None:
    raise ConnectionResetError("the venue hung up")


async def busy() -> None:
    raise TimeoutError("the venue is busy")


async def wrong() -> None:
    raise ValueError("no such symbol")


async def reject() -> None:
    raise Reject("not ours")


async def later() -> None:
    raise RetryLater(after=20)


async def much_later() -> None:
    raise RetryLater(after=50)


Child = Callable[[], Coroutine[Any, Any, None]]


def grouped(*children: Child) -> Callable[[Event], Coroutine[Any, Any, None]]:
    """A handler whose children fail together."""

    async def handler(_event: Event) -> None:
        async with asyncio.TaskGroup() as group:
            for child in children:
                group.create_task(child())

    return handler


async def letter_of(bus: InMemoryEventBus, letters_of: Letters) -> DeadLetter:
    async with asyncio.timeout(3600):
        await bus.publish_and_wait(OrderPlaced())
    (letter,) = await letters_of(bus)
    return letter


@pytest.mark.parametrize("children", [(reset,), (reset, busy), (reset, reset, reset)])
async def test_a_group_is_retried_when_every_leaf_may_be(
    event_bus: InMemoryEventBus, letters_of: Letters, children: tuple[Child, ...]
) -> None:
    event_bus.subscribe(OrderPlaced, grouped(*children), retry=Retry(attempts=3, on=(OSError,)))
    assert (await letter_of(event_bus, letters_of)).attempts == 3


async def test_a_group_with_a_leaf_that_may_not_be_retried_is_given_up(
    event_bus: InMemoryEventBus, letters_of: Letters
) -> None:
    event_bus.subscribe(OrderPlaced, grouped(reset, wrong), retry=Retry(attempts=3, on=(OSError,)))
    assert (await letter_of(event_bus, letters_of)).attempts == 1


@pytest.mark.parametrize("children", [(reject,), (reset, reject), (reject, later)])
async def test_one_leaf_that_rejects_rejects_the_group(
    event_bus: InMemoryEventBus, letters_of: Letters, children: tuple[Child, ...]
) -> None:
    event_bus.subscribe(OrderPlaced, grouped(*children), retry=Retry(attempts=3))
    letter = await letter_of(event_bus, letters_of)
    assert letter.attempts == 1
    assert letter.reason == "rejected: not ours"


@pytest.mark.parametrize("children", [(later, much_later), (much_later, later), (later, much_later, reset)])
async def test_the_longest_retry_later_of_a_group_counts(
    event_bus: InMemoryEventBus, children: tuple[Child, ...]
) -> None:
    loop, attempts, fail = asyncio.get_running_loop(), list[float](), grouped(*children)

    async def handler(event: OrderPlaced) -> None:
        attempts.append(loop.time())
        if len(attempts) == 1:
            await fail(event)

    event_bus.subscribe(OrderPlaced, handler, retry=Retry(attempts=3, delay=1, on=(OSError,)))
    async with asyncio.timeout(3600):
        assert await event_bus.publish_and_wait(OrderPlaced()) == []
    assert attempts[1] - attempts[0] == pytest.approx(50)


async def test_retry_later_in_a_group_needs_no_retry_policy(event_bus: InMemoryEventBus) -> None:
    attempts, fail = list[int](), grouped(later)

    async def handler(event: OrderPlaced) -> None:
        attempts.append(event.n)
        if len(attempts) == 1:
            await fail(event)

    event_bus.subscribe(OrderPlaced, handler)
    async with asyncio.timeout(3600):
        assert await event_bus.publish_and_wait(OrderPlaced()) == []
    assert len(attempts) == 2


async def test_retry_later_beside_a_leaf_that_may_not_be_retried_is_given_up(
    event_bus: InMemoryEventBus, letters_of: Letters
) -> None:
    event_bus.subscribe(OrderPlaced, grouped(later, wrong), retry=Retry(attempts=3, on=(OSError,)))
    assert (await letter_of(event_bus, letters_of)).attempts == 1


async def test_groups_in_groups_are_looked_into(event_bus: InMemoryEventBus, letters_of: Letters) -> None:
    async def inner() -> None:
        await grouped(reset, busy)(OrderPlaced())

    event_bus.subscribe(OrderPlaced, grouped(inner, reset), retry=Retry(attempts=2, on=(OSError,)))
    letter = await letter_of(event_bus, letters_of)
    assert letter.attempts == 2
    assert letter.error.count("ConnectionResetError: the venue hung up") >= 2
    assert "TimeoutError: the venue is busy" in letter.error


@pytest.mark.parametrize("policy", [{}, {"timeout": 60}, {"concurrency": 2}, {"isolation": "task"}], ids=str)
async def test_the_dead_letter_names_each_leaf_with_its_line(
    event_bus: InMemoryEventBus, letters_of: Letters, policy: dict[str, Any]
) -> None:
    event_bus.subscribe(OrderPlaced, grouped(reset, wrong), **policy)
    error = (await letter_of(event_bus, letters_of)).error
    for child, text in ((reset, "ConnectionResetError: the venue hung up"), (wrong, "ValueError: no such symbol")):
        line = child.__code__.co_firstlineno + 1
        assert text in error
        assert f"{__file__}:{line}" in error or f'File "{__file__}", line {line}' in error


async def test_a_group_that_is_raised_by_hand_is_judged_alike(event_bus: InMemoryEventBus, letters_of: Letters) -> None:
    async def handler(_event: OrderPlaced) -> None:
        raise ExceptionGroup("both", [OSError("one"), ExceptionGroup("inner", [OSError("two")])])

    event_bus.subscribe(OrderPlaced, handler, retry=Retry(attempts=2, on=(OSError,)))
    letter = await letter_of(event_bus, letters_of)
    assert letter.attempts == 2
    assert "OSError: one" in letter.error
    assert "OSError: two" in letter.error


async def test_a_group_of_a_sync_handler_is_judged_alike(event_bus: InMemoryEventBus, letters_of: Letters) -> None:
    def handler(_event: OrderPlaced) -> None:
        raise ExceptionGroup("both", [OSError("one"), Reject("not ours")])

    event_bus.subscribe(OrderPlaced, handler, retry=Retry(attempts=3))
    letter = await letter_of(event_bus, letters_of)
    assert (letter.attempts, letter.reason) == (1, "rejected: not ours")
