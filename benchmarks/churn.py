"""Churn: subscriptions that come and go beside others, and many that are made."""

from __future__ import annotations

from typing import Any

from benchmarks import peers
from benchmarks.rows import Now, Row, Run, at_most, times
from benchmarks.sides import TYPES, Counted, Witness
from eventbus import InMemoryEventBus

ONE_IN = 100  # events


async def ignoring(_event: Any) -> None:
    """A handler that is of no interest."""


def beside(subscriptions: int, *, is_churning: bool) -> Run:
    """A hundred types are heard by one subscription each, of as many as there are; somebody listens to one of them for a while."""

    async def run(count: int, now: Now) -> float:
        events = [TYPES[number % len(TYPES)]() for number in range(count)]
        witness, bus = Witness(), InMemoryEventBus()
        for number in range(subscriptions):
            bus.subscribe(TYPES[number] if number < len(TYPES) else f"bench.silent{number}", witness.on_event)
        async with bus:
            began = now()
            for start in range(0, count, ONE_IN):
                watched = TYPES[start // ONE_IN % len(TYPES)]
                watch = bus.subscribe(watched, ignoring) if is_churning else None
                for event in events[start : start + ONE_IN]:
                    await bus.publish(event)
                if watch is not None:
                    watch.cancel()
            await bus.drain()
            seconds = now() - began
        witness.check(events, is_ordered=False)
        return seconds / count

    return run


async def subscribed(count: int, now: Now) -> float:
    """Seconds for all of them."""
    bus = InMemoryEventBus()

    began = now()
    for number in range(count):
        bus.subscribe(Counted if number % 2 else f"bench.topic{number}.*", ignoring)
    seconds = now() - began
    if bus.get_handler_count() != count:
        raise AssertionError(f"{bus.get_handler_count()} subscriptions")
    return seconds


def _beside(subscriptions: int) -> Row:
    return Row(
        f"subscribe + cancel per {ONE_IN} events beside {subscriptions:,} subscriptions",
        times(1.5),
        beside(subscriptions, is_churning=True),
        beside(subscriptions, is_churning=False),
        against="none",
        count=5_000,
    )


ROWS = (
    _beside(100),
    _beside(1_000),
    Row("10,000 subscriptions made", at_most(1, "s"), subscribed, count=10_000, rounds=1, peers=peers.subscribed()),
)
