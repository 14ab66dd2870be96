"""Several buses over one log: one order for all who listen, and a group whose parts are shared, taken over, and given back."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

import pytest

from eventbus import BackendDataLoss, Event, HopLimit, InMemoryEventBus, OutcomeUnknown
from eventbus.durability.record import as_record
from eventbus.road.causes import HOP_LIMIT
from eventbus.testing import Recorder, SharedMemoryLog, VirtualClock

pytestmark = pytest.mark.virtual_time

Make = Callable[..., InMemoryEventBus]


class Moved(Event, type="test.shared.moved", key="account"):
    """Something moved."""

    account: str = "a"
    n: int = 0


async def test_plain_subscriptions_of_every_process_hear_everything_in_one_order(make: Make) -> None:
    first, second = make(), make()
    heard = Recorder(), Recorder()
    first.subscribe("*", heard[0])
    second.subscribe("*", heard[1])
    async with first, second:
        await asyncio.gather(
            *(bus.publish(Moved(n=n)) for n in range(50) for bus in (first, second)),
        )
        await asyncio.sleep(2)
    assert len(heard[0]) == len(heard[1]) == 100
    assert [event.event_id for event in heard[0].events] == [event.event_id for event in heard[1].events]


async def test_one_process_handles_a_group_of_one_part_and_the_other_takes_over(make: Make) -> None:
    first, second = make(), make()
    heard = Recorder(), Recorder()
    await first.connect()
    first.subscribe("test.*", heard[0], group="books")
    await asyncio.sleep(0.1)
    await second.connect()
    second.subscribe("test.*", heard[1], group="books")
    await asyncio.sleep(1)
    for n in range(10):
        await second.publish(Moved(n=n))
    await asyncio.sleep(1)
    assert (heard[0].values("n"), len(heard[1])) == ([*range(10)], 0)
    await first.shutdown()
    await second.publish(Moved(n=10))
    await asyncio.sleep(0.5)
    assert heard[1].values("n") == [10]


async def test_parts_are_shared_fairly_and_each_event_is_handled_once(make: Make) -> None:
    first, second = make(), make()
    heard = Recorder(), Recorder()
    async with first, second:
        first.subscribe(Moved, heard[0], group="books", concurrency=4)
        second.subscribe(Moved, heard[1], group="books", concurrency=4)
        await asyncio.sleep(60)
        for n in range(200):
            await first.publish(Moved(account=str(n % 40), n=n))
        await asyncio.sleep(5)
    counts = Counter(heard[0].values("n") + heard[1].values("n"))
    assert counts == Counter(range(200))
    assert min(len(heard[0]), len(heard[1])) > 40
    assert not {event["account"] for event in heard[0].events} & {event["account"] for event in heard[1].events}


async def test_each_process_tells_which_parts_it_holds_and_how_far_behind_it_is(make: Make) -> None:
    first, second = make(), make()
    async with first, second:
        for bus in (first, second):
            bus.subscribe(Moved, Recorder(), group="books", parts=4)
        await asyncio.sleep(60)
        (mine,), (other,) = first.stats().groups, second.stats().groups
        assert [(one.name, one.parts, one.held, one.lag) for one in (mine, other)] == [("books", 4, 2, 0)] * 2
        await second.shutdown()
        await asyncio.sleep(60)
        assert first.stats().groups[0].held == 4
        first.subscriptions[0].pause()
        for n in range(10):
            await first.publish(Moved(n=n))
        await asyncio.sleep(5)
        assert first.stats().groups[0].lag == 10
        first.subscriptions[0].resume()


async def test_what_a_dead_process_held_is_taken_over_when_its_lease_runs_out(make: Make) -> None:
    first, second = make(lease=2.0), make(lease=2.0)
    heard = Recorder(), Recorder()
    await first.connect()
    first.subscribe(Moved, heard[0], group="books")
    await asyncio.sleep(1)
    await second.connect()
    second.subscribe(Moved, heard[1], group="books")
    await asyncio.sleep(1)
    await second.publish(Moved(n=1))
    await asyncio.sleep(1)
    first.journal.cut_off()  # type: ignore[attr-defined]
    for n in range(2, 6):
        await second.publish(Moved(n=n))
    await asyncio.sleep(3)
    assert heard[0].values("n") + heard[1].values("n") == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("epoch", [None, "memory-2"])
async def test_where_the_server_went_back_nothing_is_handled_until_that_is_accepted(
    make: Make, log: SharedMemoryLog, epoch: str | None
) -> None:
    bus, heard, grouped = make(lease=3.0), Recorder(), Recorder()
    await bus.connect()
    bus.subscribe("t.*", heard)
    await bus.subscribe("t.*", grouped, group="books")
    for n in range(10):
        await bus.publish("t.x", {"n": n})
    await asyncio.sleep(2)
    log.go_back(6, epoch)
    await asyncio.sleep(5)
    with pytest.raises(BackendDataLoss):
        await bus.publish("t.x", {"n": 10})
    log.append([as_record(Event("t.x", payload={"n": 11}))])
    await asyncio.sleep(5)
    assert grouped.values("n") == heard.values("n") == [*range(10)]
    await bus.accept_data_loss()
    for n in range(12, 15):
        await bus.publish("t.x", {"n": n})
    await asyncio.sleep(5)
    assert grouped.values("n")[10:] == heard.values("n")[10:] == [12, 13, 14]


@pytest.mark.parametrize("accepted_after", range(6))
async def test_what_stood_there_before_a_loss_was_accepted_is_no_news(
    make: Make, log: SharedMemoryLog, accepted_after: int
) -> None:
    bus, heard = make(lease=9.0, poll=0.1, latency=2.0), Recorder()  # a call takes its time
    await bus.connect()
    bus.subscribe("t.*", heard)
    for n in range(3):
        await bus.publish("t.x", {"n": n})
    log.go_back(2)
    await asyncio.sleep(20)
    log.append([as_record(Event("t.x", payload={"n": n})) for n in range(10, 16)])
    await asyncio.sleep(accepted_after)
    await bus.accept_data_loss()
    await bus.publish("t.x", {"n": 20})
    await asyncio.sleep(5)
    assert heard.values("n") == [0, 1, 2, 20]


async def test_a_bus_that_is_to_go_on_counts_the_loss_and_does(make: Make, log: SharedMemoryLog) -> None:
    bus, grouped = make(lease=3.0, on_data_loss="continue"), Recorder()
    await bus.connect()
    await bus.subscribe("t.*", grouped, group="books")
    for n in range(4):
        await bus.publish("t.x", {"n": n})
    await asyncio.sleep(2)
    log.go_back(1)
    await asyncio.sleep(5)
    await bus.publish("t.x", {"n": 9})
    await asyncio.sleep(2)
    assert grouped.values("n") == [0, 1, 2, 3, 9]


async def test_who_cancels_a_group_gives_its_parts_to_others_at_once(make: Make) -> None:
    first, second, heard = make(), make(), Recorder()
    await first.connect()
    await second.connect()
    leaving = await first.subscribe("t.*", Recorder(), group="books")
    await asyncio.sleep(1)
    await second.subscribe("t.*", heard, group="books")
    await leaving.cancel()
    await second.publish("t.x", {"n": 1})
    await asyncio.sleep(1)
    assert heard.values("n") == [1]


@pytest.mark.parametrize("group", [None, "books"])
async def test_a_chain_that_goes_to_and_fro_between_processes_ends_at_the_limit_of_hops(
    make: Make, group: str | None
) -> None:
    buses, heard, limits = (make(), make()), Recorder(), list[str]()
    for name, bus, answer in (("test.ping", buses[0], "test.pong"), ("test.pong", buses[1], "test.ping")):
        await bus.connect()

        async def on_ball(_event: Event, bus: InMemoryEventBus = bus, answer: str = answer) -> None:
            try:
                await bus.publish(answer)
            except HopLimit as limit:
                limits.append(str(limit))

        await bus.subscribe(name, on_ball, group=None if group is None else f"{group}-{name}")
    buses[0].subscribe("test.*", heard)
    await buses[0].publish("test.ping")
    await asyncio.sleep(60)
    assert len(limits) == 1
    assert len(heard) == HOP_LIMIT + 1
    assert [event.metadata.get("hops", 0) for event in heard.events] == list(range(HOP_LIMIT + 1))


@pytest.mark.parametrize(("timeout", "within_s"), [(None, 4.0), (1.0, 1.0)])
async def test_a_publish_that_nobody_answers_ends_in_doubt(
    make: Make, virtual_clock: VirtualClock, timeout: float | None, within_s: float
) -> None:
    bus = make(timeout_s=2.0)
    await bus.connect()
    never: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    bus.journal.append = lambda _batch: never  # type: ignore[method-assign, assignment, return-value] # no answer comes
    began = virtual_clock.time()
    events = [Event("t.x", payload={"n": n}) for n in range(3)]
    answers = await asyncio.gather(*(bus.publish(event, timeout=timeout) for event in events), return_exceptions=True)
    assert [type(answer) for answer in answers] == [OutcomeUnknown] * 3
    assert [answer.event_id for answer in answers if isinstance(answer, OutcomeUnknown)] == [
        event.event_id for event in events
    ]
    assert virtual_clock.time() - began == pytest.approx(within_s, abs=0.1)
    never.cancel()
