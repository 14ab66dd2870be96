"""R7: what a handler waits for may not wait for the handler: the wait that closes the circle is refused at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from eventbus import Event, InMemoryEventBus, Outcome, Receipt, Status, WouldDeadlock, create_event_bus
from eventbus.testing import settle

pytestmark = pytest.mark.virtual_time

Handler = Callable[[Any], Awaitable[Any]]


class Asked(Event, type="found.asked"):
    """A question for desk A, B, C: each has a subscription of its own."""

    depth: int = 0
    symbol: str = "AAPL"


class AskedA(Asked, type="found.asked.a"):
    pass


class AskedB(Asked, type="found.asked.b"):
    pass


class AskedC(Asked, type="found.asked.c"):
    pass


async def publish_and_wait(bus: InMemoryEventBus, event: Event) -> Any:
    for error in await bus.publish_and_wait(event):
        raise error
    return "answered"


async def request(bus: InMemoryEventBus, event: Event) -> Any:
    return await bus.request(event)


async def request_with_timeout(bus: InMemoryEventBus, event: Event) -> Any:
    return await bus.request(event, timeout=30)


async def await_receipt(bus: InMemoryEventBus, event: Event) -> Any:
    for outcome in await (await bus.publish(event)):
        if outcome.error is not None:
            raise outcome.error
    return "answered"


WAYS_TO_WAIT = [publish_and_wait, request, request_with_timeout, await_receipt]
Wait = Callable[[InMemoryEventBus, Event], Awaitable[Any]]

AT_ONCE = "at once"
LONG = 60.0  # seconds in virtual time: what still waits then waits for ever


class Desk:
    """Asks what it is told to ask, and keeps what it got and when."""

    def __init__(self, bus: InMemoryEventBus, wait: Wait) -> None:
        self.bus = bus
        self.wait = wait
        self.refused: list[tuple[str, float]] = []
        self.answered: list[str] = []

    async def ask(self, event: Event, asker: str) -> Any:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(LONG):
                answer = await self.wait(self.bus, event)
        except WouldDeadlock:
            self.refused.append((asker, loop.time() - began))
            raise
        self.answered.append(asker)
        return answer


@pytest.fixture(params=WAYS_TO_WAIT)
def desk(request: pytest.FixtureRequest, event_bus: InMemoryEventBus) -> Desk:
    return Desk(event_bus, request.param)


async def outcome_of(bus: InMemoryEventBus, event: Event) -> Outcome:
    async with asyncio.timeout(10 * LONG):
        (outcome,) = await (await bus.publish(event))
    return outcome


def asks_below(desk: Desk, cls: type[Asked], asker: str) -> Handler:
    """A handler that asks `cls` while there is depth left."""

    async def handler(event: Asked) -> str:
        if event.depth > 0:
            await desk.ask(cls(depth=event.depth - 1, symbol=event.symbol), f"{asker}{event.depth}")
        return "answered"

    return handler


# --- one subscription ------------------------------------------------------------------------------------------------

SERIAL: list[dict[str, Any]] = [{}, {"timeout": 5}, {"isolation": "task"}, {"key": "symbol"}, {"queue_size": 50}]


@pytest.mark.parametrize("policy", SERIAL, ids=str)
async def test_a_handler_that_asks_its_own_subscription_is_refused_at_once(desk: Desk, policy: dict[str, Any]) -> None:
    desk.bus.subscribe(AskedA, asks_below(desk, AskedA, "A"), **policy)
    outcome = await outcome_of(desk.bus, AskedA(depth=1))
    assert desk.refused == [("A1", 0.0)]
    assert isinstance(outcome.error, WouldDeadlock)
    assert outcome.attempts == 1


async def test_a_handler_that_expects_the_refusal_goes_on(desk: Desk) -> None:
    async def handler(event: AskedA) -> str:
        if event.depth:
            with pytest.raises(WouldDeadlock):
                await desk.ask(AskedA(depth=0), "A")
        return "went on"

    desk.bus.subscribe(AskedA, handler)
    outcome = await outcome_of(desk.bus, AskedA(depth=1))
    assert (outcome.status, outcome.result) == (Status.SUCCEEDED, "went on")
    assert (await outcome_of(desk.bus, AskedA())).status is Status.SUCCEEDED


async def test_a_wildcard_that_asks_anything_it_hears_is_refused(desk: Desk) -> None:
    async def hear_all(event: Asked) -> str:
        if event.depth:
            await desk.ask(AskedB(), "*")
        return "answered"

    desk.bus.subscribe("found.asked.*", hear_all)
    outcome = await outcome_of(desk.bus, AskedA(depth=1))
    assert isinstance(outcome.error, WouldDeadlock)
    assert desk.refused == [("*", 0.0)]


async def test_one_of_several_deliveries_that_would_wait_for_the_asker_is_enough(desk: Desk) -> None:
    async def answer(_event: AskedA) -> str:
        return "answered"

    desk.bus.subscribe(AskedA, answer, name="free")
    desk.bus.subscribe(AskedA, asks_below(desk, AskedA, "A"), name="asker")
    async with asyncio.timeout(10 * LONG):
        outcomes = {outcome.subscription: outcome for outcome in await (await desk.bus.publish(AskedA(depth=1)))}
    assert outcomes["free"].status is Status.SUCCEEDED
    assert isinstance(outcomes["asker"].error, WouldDeadlock)


async def test_asking_another_subscription_works(desk: Desk) -> None:
    desk.bus.subscribe(AskedA, asks_below(desk, AskedB, "A"))
    desk.bus.subscribe(AskedB, asks_below(desk, AskedC, "B"))
    desk.bus.subscribe(AskedC, asks_below(desk, AskedA, "C"))
    assert (await outcome_of(desk.bus, AskedA(depth=2))).result == "answered"
    assert desk.refused == []
    assert desk.answered == ["B1", "A2"]


async def test_an_event_that_nobody_hears_may_be_waited_for(event_bus: InMemoryEventBus) -> None:
    async def handler(_event: AskedA) -> str:
        assert await event_bus.publish_and_wait(AskedB()) == []
        assert await (await event_bus.publish(AskedC())) == ()
        return "went on"

    event_bus.subscribe(AskedA, handler)
    assert (await outcome_of(event_bus, AskedA())).result == "went on"


async def test_what_its_predicate_refuses_is_no_circle(desk: Desk) -> None:
    desk.bus.subscribe(AskedA, asks_below(desk, AskedA, "A"), where=lambda event: event.depth == 1)
    desk.bus.subscribe(AskedA, asks_below(desk, AskedA, "other"), where=lambda event: event.depth == 0)
    assert (await outcome_of(desk.bus, AskedA(depth=1))).result == "answered"


# --- slots -----------------------------------------------------------------------------------------------------------


async def test_with_two_slots_a_handler_may_ask_its_own_subscription_once(desk: Desk) -> None:
    desk.bus.subscribe(AskedA, asks_below(desk, AskedA, "A"), concurrency=2)
    assert (await outcome_of(desk.bus, AskedA(depth=1))).result == "answered"
    assert desk.answered == ["A1"]


async def test_with_two_slots_asking_nested_twice_is_refused(desk: Desk) -> None:
    desk.bus.subscribe(AskedA, asks_below(desk, AskedA, "A"), concurrency=2)
    outcome = await outcome_of(desk.bus, AskedA(depth=2))
    assert desk.refused[0] == ("A1", 0.0)
    assert isinstance(outcome.error, WouldDeadlock)


async def test_a_slot_that_somebody_else_holds_will_be_free_and_is_waited_for(
    desk: Desk,
) -> None:
    go = asyncio.Event()
    ask = asks_below(desk, AskedA, "A")

    async def handler(event: AskedA) -> Any:
        return await go.wait() if event.symbol == "BUSY" else await ask(event)

    desk.bus.subscribe(AskedA, handler, concurrency=2)
    busy = asyncio.create_task(outcome_of(desk.bus, AskedA(symbol="BUSY")))
    await settle()
    asking = asyncio.create_task(outcome_of(desk.bus, AskedA(depth=1)))
    await settle()
    assert not asking.done()
    go.set()
    assert [(await task).status for task in (busy, asking)] == [Status.SUCCEEDED] * 2
    assert desk.refused == []


async def test_two_askers_that_hold_both_slots_are_a_circle_and_the_one_that_closes_it_is_refused(desk: Desk) -> None:
    both = asyncio.Barrier(2)

    async def handler(event: AskedA) -> str:
        if event.depth:
            await both.wait()
            await desk.ask(AskedA(), event.symbol)
        return "answered"

    desk.bus.subscribe(AskedA, handler, concurrency=2)
    asked = [asyncio.create_task(outcome_of(desk.bus, AskedA(depth=1, symbol=name))) for name in ("first", "second")]
    outcomes = [await task for task in asked]
    assert sorted(outcome.status for outcome in outcomes) == [Status.DEAD_LETTERED, Status.SUCCEEDED]
    assert [took for _name, took in desk.refused] == [0.0]
    assert len(desk.answered) == 1


async def test_the_same_key_is_refused_though_slots_are_free(desk: Desk) -> None:
    desk.bus.subscribe(AskedA, asks_below(desk, AskedA, "A"), concurrency=4, key="symbol")
    outcome = await outcome_of(desk.bus, AskedA(depth=1))
    assert desk.refused == [("A1", 0.0)]
    assert isinstance(outcome.error, WouldDeadlock)


async def test_another_key_works_where_a_slot_is_free(desk: Desk) -> None:
    async def handler(event: AskedA) -> str:
        if event.depth:
            await desk.ask(AskedA(symbol="MSFT"), "A1")
        return "answered"

    desk.bus.subscribe(AskedA, handler, concurrency=4, key="symbol")
    assert (await outcome_of(desk.bus, AskedA(depth=1))).result == "answered"
    assert desk.refused == []


async def test_a_timeout_of_the_subscription_does_not_make_the_wait_legal(desk: Desk) -> None:
    loop = asyncio.get_running_loop()
    desk.bus.subscribe(AskedA, asks_below(desk, AskedA, "A"), timeout=5)
    began = loop.time()
    outcome = await outcome_of(desk.bus, AskedA(depth=1))
    assert isinstance(outcome.error, WouldDeadlock)
    assert loop.time() == began


# --- circles of several ----------------------------------------------------------------------------------------------


async def test_a_asks_b_asks_a_is_refused_where_the_circle_closes(desk: Desk) -> None:
    desk.bus.subscribe(AskedA, asks_below(desk, AskedB, "A"))
    desk.bus.subscribe(AskedB, asks_below(desk, AskedA, "B"))
    outcome = await outcome_of(desk.bus, AskedA(depth=2))
    assert desk.refused[0] == ("B1", 0.0)
    assert isinstance(outcome.error, WouldDeadlock)


async def test_a_circle_of_three_is_refused_where_it_closes(desk: Desk) -> None:
    desk.bus.subscribe(AskedA, asks_below(desk, AskedB, "A"))
    desk.bus.subscribe(AskedB, asks_below(desk, AskedC, "B"))
    desk.bus.subscribe(AskedC, asks_below(desk, AskedA, "C"))
    await outcome_of(desk.bus, AskedA(depth=3))
    assert desk.refused[0] == ("C1", 0.0)


async def test_a_circle_with_a_free_slot_works(desk: Desk) -> None:
    desk.bus.subscribe(AskedA, asks_below(desk, AskedB, "A"), concurrency=2)
    desk.bus.subscribe(AskedB, asks_below(desk, AskedA, "B"))
    assert (await outcome_of(desk.bus, AskedA(depth=2))).result == "answered"


async def test_two_chains_that_ask_each_other_are_a_circle_and_one_of_them_is_refused(desk: Desk) -> None:
    both = asyncio.Barrier(2)

    def asks(cls: type[Asked], asker: str) -> Handler:
        async def handler(event: Asked) -> str:
            if event.depth:
                await both.wait()
                await desk.ask(cls(), asker)
            return "answered"

        return handler

    desk.bus.subscribe(AskedA, asks(AskedB, "A"))
    desk.bus.subscribe(AskedB, asks(AskedA, "B"))
    chains = [asyncio.create_task(outcome_of(desk.bus, cls(depth=1))) for cls in (AskedA, AskedB)]
    outcomes = [await chain for chain in chains]
    assert sorted(outcome.status for outcome in outcomes) == [Status.DEAD_LETTERED, Status.SUCCEEDED]
    assert [took for _name, took in desk.refused] == [0.0]
    assert len(desk.answered) == 1


async def test_two_chains_that_ask_a_third_wait_for_their_turn(desk: Desk) -> None:
    async def answer(_event: AskedC) -> str:
        await asyncio.sleep(1)
        return "answered"

    desk.bus.subscribe(AskedA, asks_below(desk, AskedC, "A"))
    desk.bus.subscribe(AskedB, asks_below(desk, AskedC, "B"))
    desk.bus.subscribe(AskedC, answer)
    chains = [asyncio.create_task(outcome_of(desk.bus, cls(depth=1))) for cls in (AskedA, AskedB)]
    assert [(await chain).result for chain in chains] == ["answered"] * 2
    assert desk.refused == []


# --- receipts of others ----------------------------------------------------------------------------------------------


async def test_awaiting_the_receipt_of_the_event_in_hand_is_refused(event_bus: InMemoryEventBus) -> None:
    receipts: list[Receipt] = []

    async def handler(_event: AskedA) -> None:
        await settle()
        async with asyncio.timeout(LONG):
            await receipts[0]

    event_bus.subscribe(AskedA, handler)
    receipts.append(await event_bus.publish(AskedA()))
    (outcome,) = await receipts[0]
    assert isinstance(outcome.error, WouldDeadlock)


async def test_awaiting_the_receipt_of_what_waits_behind_the_handler_is_refused(event_bus: InMemoryEventBus) -> None:
    receipts: list[Receipt] = []

    async def handler(event: AskedA) -> str:
        if event.depth:
            await settle()
            async with asyncio.timeout(LONG):
                await receipts[1]
        return "answered"

    event_bus.subscribe(AskedA, handler)
    receipts.extend([await event_bus.publish(AskedA(depth=depth)) for depth in (1, 0)])
    outcomes = [(await receipt)[0] for receipt in receipts]
    assert isinstance(outcomes[0].error, WouldDeadlock)
    assert outcomes[1].result == "answered"


async def test_awaiting_the_receipt_of_what_was_settled_is_no_wait(event_bus: InMemoryEventBus) -> None:
    receipts: list[Receipt] = []

    async def handler(event: AskedA) -> list[Any]:
        return [outcome.result for outcome in await receipts[0]] if event.depth else ["answered"]

    event_bus.subscribe(AskedA, handler)
    receipts.append(await event_bus.publish(AskedA()))
    await event_bus.drain()
    assert (await outcome_of(event_bus, AskedA(depth=1))).result == [["answered"]]


# --- child tasks -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["task", "group", "gather", "shield"])
async def test_a_child_task_of_a_running_handler_is_refused_as_the_handler_is(desk: Desk, how: str) -> None:
    async def handler(event: AskedA) -> str:
        if event.depth:
            asking = desk.ask(AskedA(), "child")
            match how:
                case "task":
                    await asyncio.create_task(asking)
                case "gather":
                    await asyncio.gather(asking)
                case "shield":
                    await asyncio.shield(asking)
                case _:
                    async with asyncio.TaskGroup() as group:
                        group.create_task(asking)
        return "answered"

    desk.bus.subscribe(AskedA, handler)
    outcome = await outcome_of(desk.bus, AskedA(depth=1))
    assert outcome.status is Status.DEAD_LETTERED
    assert desk.refused == [("child", 0.0)]


async def test_a_task_that_outlives_its_handler_may_ask_what_it_likes(desk: Desk) -> None:
    left: list[asyncio.Task[Any]] = []

    async def later() -> Any:
        await asyncio.sleep(1)
        return await desk.ask(AskedA(), "left behind")

    async def handler(event: AskedA) -> str:
        if event.depth:
            left.append(asyncio.create_task(later()))
        return "answered"

    desk.bus.subscribe(AskedA, handler)
    assert (await outcome_of(desk.bus, AskedA(depth=1))).result == "answered"
    assert await left[0] == "answered"
    assert desk.answered == ["left behind"]


async def test_outside_of_handlers_the_same_waits_are_legal(desk: Desk) -> None:
    desk.bus.subscribe(AskedA, asks_below(desk, AskedB, "A"))
    assert await desk.ask(AskedA(), "outside") == "answered"


# --- the whole bus ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", [{}, {"concurrency": 4}, {"isolation": "task"}], ids=str)
@pytest.mark.parametrize("timeout", [None, 30.0])
@pytest.mark.parametrize("in_child", [False, True], ids=["handler", "child"])
async def test_draining_inside_a_handler_is_refused_at_once(
    event_bus: InMemoryEventBus, policy: dict[str, Any], timeout: float | None, in_child: bool
) -> None:
    loop = asyncio.get_running_loop()

    async def handler(_event: AskedA) -> None:
        if in_child:
            await asyncio.create_task(event_bus.drain(timeout))
        else:
            await event_bus.drain(timeout)

    event_bus.subscribe(AskedA, handler, **policy)
    began = loop.time()
    outcome = await outcome_of(event_bus, AskedA())
    assert isinstance(outcome.error, WouldDeadlock)
    assert loop.time() == began


@pytest.mark.virtual_time(only=False)
@pytest.mark.parametrize("query", ["", "?write_behind=true"])
async def test_flushing_inside_a_handler_is_refused_at_once(tmp_path: Path, query: str) -> None:
    async with create_event_bus(f"sqlite:///{tmp_path}/run.db{query}") as bus:
        flushing: Any = bus

        async def handler(_event: AskedA) -> None:
            await flushing.flush()

        bus.subscribe(AskedA, handler)
        (outcome,) = await (await bus.publish(AskedA()))
    assert isinstance(outcome.error, WouldDeadlock)
