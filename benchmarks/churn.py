"""Churn: subscriptions that come and go beside others, and many that are made."""

from __future__ import annotations

from typing import Any

from benchmarks import peers
from benchmarks.rows import Now, Row, Run, at_most, times
from benchmarks.sides import Counted, Witness, numbered
from eventbus import InMemoryEventBus

ONE_IN = 100  # events


async def ignoring(_event: Any) -> None:
    """A handler that is of no interest."""


def beside(subscriptions: int, *, is_churning: bool) -> Run:
    """Each subscription hears a type of its own, published in turn; somebody listens to one of them for a while, then to another."""

    async def run(count: int, now: Now) -> float:
        types = list(map(numbered, range(subscriptions)))
        first, events = [cls() for cls in types], [types[number % subscriptions]() for number in range(count)]
        witness, bus = Witness(), InMemoryEventBus()
        for cls in types:
            bus.subscribe(cls, witness.on_event)
        async with bus:
            for event in first:  # every route is known
                await bus.publish(event)
            await bus.drain()
            began = now()
            for start in range(0, count, ONE_IN):
                watch = bus.subscribe(type(events[start]), ignoring) if is_churning else None
                for event in events[start : start + ONE_IN]:
                    await bus.publish(event)
                if watch is not None:
                    watch.cancel()
            await bus.drain()
            seconds = now() - began
        witness.check([*first, *events], is_ordered=False)
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
