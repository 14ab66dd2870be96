"""Tasks: with `isolation="task"` each delivery has a task of its own, so that nothing done to one reaches another."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from eventbus import Event, HandlerCancelled, HandlerTimeout, InMemoryEventBus, Retry, Status
from eventbus.testing import settle

pytestmark = pytest.mark.virtual_time


def current() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


async def test_no_two_deliveries_share_a_task(event_bus: InMemoryEventBus) -> None:
    tasks: list[asyncio.Task[Any]] = []

    async def handler(_event: Event) -> None:
        tasks.append(current())

    event_bus.subscribe("tasks.*", handler, isolation="task")
    await event_bus.publish_many(Event("tasks.sent") for _ in range(10))
    await event_bus.drain()
    assert len(set(tasks)) == len(tasks) == 10


async def test_a_task_that_is_cancelled_after_its_handler_returned_fails_nobody(event_bus: InMemoryEventBus) -> None:
    """What stepped handlers cannot be promised (C6)."""

    async def handler(event: Event) -> int:
        asyncio.get_running_loop().call_later(event["n"] / 10, current().cancel)
        await asyncio.sleep(0)
        return int(event["n"])

    event_bus.subscribe("tasks.*", handler, isolation="task")
    receipts = await event_bus.publish_many(Event("tasks.sent", payload={"n": n + 1}) for n in range(10))
    outcomes = [(await receipt)[0] for receipt in receipts]
    assert [outcome.result for outcome in outcomes] == list(range(1, 11))


async def test_a_handler_that_cancels_its_task_has_failed_and_is_tried_again(event_bus: InMemoryEventBus) -> None:
    attempts: list[int] = []

    async def handler(event: Event) -> None:
        attempts.append(event["n"])
        if attempts.count(event["n"]) == 1:
            current().cancel()
            await asyncio.sleep(1)

    event_bus.subscribe("tasks.*", handler, isolation="task", retry=Retry(attempts=2, delay=1, jitter=False))
    (outcome,) = await (await event_bus.publish("tasks.sent", {"n": 0}))
    assert (outcome.status, outcome.attempts) == (Status.SUCCEEDED, 2)


async def test_a_task_cancelled_before_its_first_step_has_an_outcome(event_bus: InMemoryEventBus) -> None:
    """Whoever looks through all tasks of the loop may get hold of it: then nothing of its coroutine runs."""

    async def handler(_event: Event) -> None:
        await asyncio.sleep(1)

    event_bus.subscribe("tasks.sent", handler, isolation="task", name="cancelled")
    before = asyncio.all_tasks()
    receipt = await event_bus.publish("tasks.sent")
    loop = asyncio.get_running_loop()

    def cancel() -> None:
        for task in asyncio.all_tasks() - before:
            task.cancel()

    loop.call_soon(cancel)
    loop.call_soon(loop.call_soon, cancel)
    (outcome,) = await receipt
    assert isinstance(outcome.error, HandlerCancelled)
    assert event_bus.get_stats()["pending"] == 0


@pytest.mark.parametrize("ignores", [False, True])
async def test_one_that_is_overdue_is_cancelled_and_abandoned_if_it_ignores_that(
    event_bus: InMemoryEventBus, ignores: bool
) -> None:
    release = asyncio.Event()

    async def handler(event: Event) -> None:
        while event["n"] == 0 and not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                if not ignores:
                    raise

    subscription = event_bus.subscribe("tasks.*", handler, isolation="task", timeout=1)
    first, second = await event_bus.publish_many(Event("tasks.sent", payload={"n": n}) for n in range(2))
    assert isinstance((await first)[0].error, HandlerTimeout)
    assert (await second)[0].status is Status.SUCCEEDED
    assert subscription.stats().abandoned == ignores
    release.set()
    await settle()


async def test_no_more_at_once_than_the_concurrency(event_bus: InMemoryEventBus) -> None:
    running: set[int] = set()
    most = 0

    async def handler(event: Event) -> None:
        nonlocal most
        running.add(event["n"])
        most = max(most, len(running))
        await asyncio.sleep(1)
        running.discard(event["n"])

    event_bus.subscribe("tasks.*", handler, isolation="task", concurrency=3)
    await event_bus.publish_many(Event("tasks.sent", payload={"n": n}) for n in range(9))
    await event_bus.drain()
    assert most == 3
