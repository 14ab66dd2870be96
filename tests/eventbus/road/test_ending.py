"""Ending: what an attempt came to is an outcome, another attempt or a dead letter, and each delivery has exactly one outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Literal

import pytest

from eventbus import Event, InMemoryEventBus, OnFailure, Overflow, Reject, Retry, RetryLater, Status
from eventbus.testing import Recorder, settle

pytestmark = pytest.mark.virtual_time

TWICE = Retry(attempts=2, delay=1, jitter=False)
D, L, S = Status.DROPPED, Status.DEAD_LETTERED, Status.SUCCEEDED


def fails(times: int, error: Callable[[], BaseException]) -> Callable[[], None]:
    left = [times]

    def act() -> None:
        if left[0]:
            left[0] -= 1
            raise error()

    return act


def shaped(way: str, act: Callable[[], Any]) -> Any:
    async def stepped(_event: Event) -> Any:
        return act()

    return (lambda _event: act()) if way == "thread" else stepped


@pytest.mark.parametrize("way", ["stepped", "task", "thread"])
@pytest.mark.parametrize(
    ("act", "policy", "expected"),
    [
        (lambda: fails(0, OSError), {}, (S, 1, 0, 0)),
        (lambda: fails(1, OSError), {}, (L, 1, 0, 1)),
        (lambda: fails(1, OSError), {"retry": TWICE}, (S, 2, 1, 0)),
        (lambda: fails(2, OSError), {"retry": TWICE}, (L, 2, 1, 1)),
        (lambda: fails(2, OSError), {"retry": TWICE, "on_failure": OnFailure.DROP}, (D, 2, 1, 0)),
        (lambda: fails(1, lambda: Reject("never")), {"retry": TWICE}, (L, 1, 0, 1)),
        (lambda: fails(3, lambda: RetryLater(after=5)), {}, (S, 4, 3, 0)),
        (lambda: fails(1, asyncio.CancelledError), {"retry": TWICE}, (S, 2, 1, 0)),
        (lambda: fails(1, lambda: SystemExit(3)), {}, (L, 1, 0, 1)),
    ],
    ids=["success", "failure", "second time", "given up", "dropped", "rejected", "later", "cancelled", "exit"],
)
async def test_what_an_attempt_comes_to(
    event_bus: InMemoryEventBus,
    way: str,
    act: Callable[[], Callable[[], None]],
    policy: dict[str, Any],
    expected: tuple[Status, int, int, int],
) -> None:
    """The same, whichever way it is run: status, attempts, retries, dead letters."""
    isolation: Literal["auto", "task"] = "task" if way == "task" else "auto"
    subscription = event_bus.subscribe("ending.*", shaped(way, act()), isolation=isolation, **policy)
    (outcome,) = await (await event_bus.publish("ending.sent"))
    stats = subscription.stats()
    assert (outcome.status, outcome.attempts, stats.retried, len(event_bus.dead_letters)) == expected
    assert (stats.accepted, stats.pending) == (1, 0)
    assert sum((stats.succeeded, stats.dead_lettered, stats.dropped)) == 1


async def test_a_dead_letter_says_what_when_and_why(event_bus: InMemoryEventBus) -> None:
    def fail(_event: Event) -> None:
        raise OSError("down")

    event_bus.subscribe("ending.*", fail, name="ledger", retry=TWICE)
    event = Event("ending.sent")
    await event_bus.publish_and_wait(event)
    (letter,) = event_bus.dead_letters
    assert (letter.event, letter.subscription, letter.attempts) == (event, "ledger", 2)
    assert "down" in letter.error
    assert (letter.last_failed - letter.first_failed).total_seconds() == pytest.approx(1)


async def test_halt_on_failure_halts_after_the_outcome_is_told(event_bus: InMemoryEventBus) -> None:
    def fail(_event: Event) -> None:
        raise OSError("down")

    event_bus.subscribe("ending.*", fail, name="ledger", on_failure=OnFailure.HALT)
    (outcome,) = await (await event_bus.publish("ending.sent"))
    assert outcome.status is L
    assert "ledger" in str(event_bus.halt_reason)


async def test_what_a_cancelled_subscription_never_began_is_cancelled_and_the_loop_has_its_turns(
    event_bus: InMemoryEventBus,
) -> None:
    """Those that are followed one by one are settled in slices."""
    release = asyncio.Event()
    subscription = event_bus.subscribe(
        "ending.*", lambda _event: release.wait(), key=lambda _event: "one", concurrency=2
    )
    receipts = await event_bus.publish_many(Event("ending.sent") for _ in range(3_000))
    await settle()
    subscription.cancel()
    await settle()
    stats = subscription.stats()
    assert (stats.cancelled, stats.pending) == (2_999, 1)
    release.set()
    statuses = [(await receipt)[0].status for receipt in receipts]
    assert (statuses.count(S), statuses.count(Status.CANCELLED)) == (1, 2_999)


@pytest.mark.parametrize(
    ("overflow", "kept"), [(Overflow.DROP_OLDEST, [17, 18, 19]), (Overflow.DROP_NEWEST, [0, 1, 2])]
)
async def test_what_may_be_dropped_waits_for_another_attempt_in_bounds(
    event_bus: InMemoryEventBus, overflow: Overflow, kept: list[int]
) -> None:
    tried = Recorder(lambda _event: 1 / 0)
    retry = Retry(attempts=2, delay=60, jitter=False)
    sub = event_bus.subscribe("a.b", tried, queue_size=3, overflow=overflow, retry=retry)
    for n in range(20):
        await event_bus.publish("a.b", {"n": n})
        await settle()
    stats = sub.stats()
    assert (stats.retry_wait, stats.dropped, stats.pending) == (3, 17, 3)
    await event_bus.drain()
    assert tried.values("n")[20:] == kept
    assert sub.stats().dead_lettered == 3


async def test_what_is_never_dropped_waits_for_another_attempt_without_a_bound_of_its_own(
    event_bus: InMemoryEventBus,
) -> None:
    sub = event_bus.subscribe("a.b", Recorder(lambda _event: 1 / 0), retry=Retry(attempts=2, delay=60, jitter=False))
    await event_bus.publish_many([Event("a.b", payload={"n": n}) for n in range(1_500)])
    await settle()
    assert (sub.stats().retry_wait, sub.stats().dropped) == (1_500, 0)
