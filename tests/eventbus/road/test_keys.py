"""Keys: what has the same key is handled one after the other, and only a retry that may come out of order lets others by."""

from __future__ import annotations

import pytest

from eventbus import (
    Event,
    InMemoryEventBus,
    Kind,
    Retry,
)

pytestmark = pytest.mark.virtual_time


class Filled(Event, type="keys.filled", kind=Kind.EXECUTION, key="account"):
    account: str
    n: int


@pytest.mark.parametrize("shape", ["stepped", "task", "concurrent", "sync"])
async def test_retrying_event_blocks_its_key(event_bus: InMemoryEventBus, shape: str) -> None:
    order: list[tuple[str, int]] = []
    failed: set[int] = set()

    def work(event: Event) -> None:
        order.append((event["key"], event["n"]))
        if event["n"] in (1, 3) and event["n"] not in failed:
            failed.add(event["n"])
            raise OSError("once")

    async def work_async(event: Event) -> None:
        work(event)

    event_bus.subscribe(
        "a.b",
        work if shape == "sync" else work_async,
        key="key",
        concurrency=3 if shape == "concurrent" else 1,
        isolation="task" if shape == "task" else "auto",
        retry=Retry(attempts=2, delay=1, jitter=False),
    )
    for n, key in enumerate("abaabb"):
        await event_bus.publish("a.b", {"n": n, "key": key})
    assert await event_bus.drain()
    assert [n for key, n in order if key == "a"] == [0, 2, 3, 3]
    assert [n for key, n in order if key == "b"] == [1, 1, 4, 5]


async def test_out_of_order_retry_lets_its_key_go_on(event_bus: InMemoryEventBus) -> None:
    order: list[int] = []

    async def work(event: Event) -> None:
        order.append(event["n"])
        if order.count(0) < 2 and event["n"] == 0:
            raise OSError("once")

    retry = Retry(attempts=2, delay=1, jitter=False, out_of_order=True)
    event_bus.subscribe("a.b", work, key=lambda _event: "same", retry=retry)
    for n in range(3):
        await event_bus.publish("a.b", {"n": n})
    assert await event_bus.drain()
    assert order == [0, 1, 2, 0]


async def test_a_retry_holds_back_the_key_of_its_class_and_no_other(event_bus: InMemoryEventBus) -> None:
    """One at a time, in order of acceptance, though what a retry holds back lets other keys by."""
    order: list[int] = []

    async def work(event: Event) -> None:
        order.append(event["n"])
        if order == [0]:
            raise OSError("once")

    event_bus.subscribe(Filled, work, retry=Retry(attempts=2, delay=1, jitter=False))
    for n, account in enumerate("aabab"):
        await event_bus.publish(Filled(account=account, n=n))
    assert await event_bus.drain()
    assert order == [0, 2, 4, 0, 1, 3]
