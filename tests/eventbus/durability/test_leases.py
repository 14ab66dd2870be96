"""Who holds what: parts are agreed on once, kept while their process is heard of, and never used past the local deadline."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from eventbus import Event, InMemoryEventBus, PolicyConflict, Retention
from eventbus.road.part import Delivery
from eventbus.testing import Recorder, SharedMemoryLog

pytestmark = pytest.mark.virtual_time
Make = Callable[..., InMemoryEventBus]


def holders(log: SharedMemoryLog) -> Counter[str]:
    """How many parts each process holds."""
    return Counter(
        owner for name, (owner, _, until) in log.leases.items() if name.startswith("books") and until > log.now
    )


async def test_a_group_keeps_the_parts_it_was_made_with(make: Make) -> None:
    first, second = make(), make()
    await first.connect()
    await second.connect()
    await first.subscribe("t.*", Recorder(), group="books")
    other = second.subscribe("t.*", Recorder(), group="books", concurrency=4)
    with pytest.raises(PolicyConflict, match=r"has 1, not 16.*drop_group") as refused:
        await other
    assert refused.value.argument == "parts"
    assert other.error is refused.value
    assert not other.is_active
    assert (await second.subscribe("t.*", Recorder(), group="books", concurrency=4, parts=1)).is_active


async def test_who_asks_for_other_parts_before_connecting_learns_it_from_the_subscription(make: Make) -> None:
    first, second = make(), make()
    await first.connect()
    await first.subscribe("t.*", Recorder(), group="books")
    late = second.subscribe("t.*", Recorder(), group="books", parts=16)
    await second.connect()
    await asyncio.sleep(1)
    assert not late.is_active
    assert isinstance(late.error, PolicyConflict)


async def test_a_function_as_key_is_refused_where_parts_are_cut_by_it(make: Make) -> None:
    bus = make()
    with pytest.raises(PolicyConflict, match="name of a field") as refused:
        bus.subscribe("t.*", Recorder(), group="books", concurrency=2, key=lambda event: event["n"])
    assert refused.value.argument == "key"
    assert bus.subscribe("t.*", Recorder(), group="books", key=lambda event: event["n"]).is_active


async def test_a_new_group_begins_where_the_log_is_when_it_is_made_whoever_reads_its_parts(make: Make) -> None:
    first, second, seen = make(), make(), Recorder()
    await first.connect()
    await second.connect()
    await first.publish("t.x", {"n": 0})
    await second.subscribe("t.*", seen, group="books", parts=16)
    for n in range(1, 30):
        await first.publish("t.x", {"n": n})
    await asyncio.sleep(2)
    assert sorted(seen.values("n")) == [*range(1, 30)]


async def test_three_processes_hold_a_fair_share_each_and_two_take_what_one_gives_up(
    make: Make, log: SharedMemoryLog
) -> None:
    buses = [make(lease=3.0) for _ in range(3)]
    for bus in buses:
        await bus.connect()
        bus.subscribe("t.*", Recorder(), group="books", parts=16)
    await asyncio.sleep(30)
    assert sorted(holders(log).values()) in ([4, 6, 6], [5, 5, 6])
    await buses[0].shutdown()
    await asyncio.sleep(1)
    assert sorted(holders(log).values()) == [8, 8]


@pytest.mark.parametrize("phase", [0.05, 0.2, 0.35])
async def test_what_a_dead_process_held_is_taken_when_its_lease_runs_out(
    make: Make, log: SharedMemoryLog, phase: float
) -> None:
    first, second = make(lease=3.0), make(lease=3.0)
    await first.connect()
    await first.subscribe("t.*", Recorder(), group="books")
    await asyncio.sleep(phase)  # they look at different moments
    await second.connect()
    await second.subscribe("t.*", Recorder(), group="books")
    await asyncio.sleep(2)
    dead, _, until = log.leases["books/0"]
    first.journal.cut_off()  # type: ignore[attr-defined]
    await asyncio.sleep(until - log.now + 0.05)
    assert log.leases["books/0"][0] != dead


async def test_who_only_publishes_takes_no_share(make: Make, log: SharedMemoryLog) -> None:
    first, second = make(), make()
    await first.connect()
    await second.connect()
    first.subscribe("t.*", Recorder(), group="books", parts=16)
    await asyncio.sleep(5)
    assert [*holders(log).values()] == [16]


async def test_past_the_local_deadline_nothing_starts_and_what_runs_is_cancelled(make: Make) -> None:
    bus, cancelled, began = make(lease=10.0), list[float](), list[int]()
    loop = asyncio.get_running_loop()

    async def handle(event: Event) -> None:
        began.append(event["n"])
        try:
            await asyncio.sleep(1_000)
        except asyncio.CancelledError:
            cancelled.append(loop.time())
            raise

    await bus.connect()
    await bus.subscribe("t.*", handle, group="books", parts=1, concurrency=2)
    for n in range(5):
        await bus.publish("t.x", {"n": n})
    await asyncio.sleep(5)
    since = loop.time()
    bus.journal.cut_off()  # type: ignore[attr-defined]
    await asyncio.sleep(30)
    assert began == [0, 1]
    assert len(cancelled) == 2
    assert all(since + 8 - 10 / 3 - 0.6 <= moment <= since + 8 for moment in cancelled)
    assert bus.subscriptions[0].stats().pending == 0


async def test_a_long_handler_in_a_live_process_is_one_attempt(make: Make) -> None:
    buses, attempts = [make(lease=3.0), make(lease=3.0)], list[int]()

    async def handle(_event: Event, delivery: Delivery) -> None:
        await asyncio.sleep(9)
        attempts.append(delivery.attempt)

    for bus in buses:
        await bus.connect()
        await bus.subscribe("t.*", handle, group="books")
    await buses[0].publish("t.x")
    await asyncio.sleep(40)
    assert attempts == [1]


async def test_a_paused_process_that_comes_back_commits_nothing_of_what_it_lost(make: Make) -> None:
    first, second = make(lease=2.0), make(lease=2.0)
    tokens, release = list[int | None](), asyncio.Event()

    def noting(bus_number: int) -> Any:
        async def handle(_event: Event, delivery: Delivery) -> None:
            tokens.append(delivery.token)
            if bus_number == 0:
                try:
                    await release.wait()
                except asyncio.CancelledError:
                    await release.wait()  # it does not listen

        return handle

    await first.connect()
    await first.subscribe("t.*", noting(0), group="books")
    await second.connect()
    await second.subscribe("t.*", noting(1), group="books")
    receipt = await second.publish("t.x")
    await asyncio.sleep(1)
    first.journal.cut_off()  # type: ignore[attr-defined]
    await asyncio.sleep(5)
    first.journal.mend()  # type: ignore[attr-defined]
    release.set()
    await asyncio.sleep(5)
    outcomes = await second.journal.outcomes([receipt.offset or 0])
    assert [(outcome.status, outcome.attempts) for outcome in outcomes] == [("succeeded", 2)]
    assert len(tokens) == 2
    assert (tokens[0] or 0) < (tokens[1] or 0)


@pytest.mark.parametrize("latency", [0.001, 0.04])
async def test_a_rolling_restart_loses_and_repeats_nothing(make: Make, latency: float) -> None:
    heard, buses = Recorder(), [make(lease=3.0, latency=latency) for _ in range(3)]
    publisher = make()
    await publisher.connect()
    for bus in buses:
        await bus.connect()
        await bus.subscribe("t.*", heard, group="books", key="account", concurrency=4)

    async def publish() -> None:
        for n in range(400):
            await publisher.publish("t.x", {"n": n, "account": n % 13})
            await asyncio.sleep(0.03)

    publishing = asyncio.create_task(publish())
    for place in range(3):
        await asyncio.sleep(4)
        await buses[place].shutdown()
        buses[place] = make(lease=3.0, latency=latency)
        await buses[place].connect()
        await buses[place].subscribe("t.*", heard, group="books", key="account", concurrency=4)
    await publishing
    await asyncio.sleep(10)
    assert Counter(heard.values("n")) == Counter(range(400))
    for account in range(13):
        mine = [event["n"] for event in heard.events if event["account"] == account]
        assert mine == sorted(mine)


async def test_a_part_that_is_gained_while_a_page_is_read_begins_where_it_was_left(make: Make) -> None:
    first, second, publisher = make(lease=3.0, latency=0.05), make(lease=3.0, latency=0.05), make()
    heard = Recorder()

    async def hang(_event: Event) -> None:
        await asyncio.Event().wait()

    await first.connect()
    await first.subscribe("t.*", hang, group="books", key="account", concurrency=4)
    await publisher.connect()
    for n in range(20):
        await publisher.publish("t.x", {"n": n, "account": n})
    await asyncio.sleep(2)
    await second.connect()
    await second.subscribe("t.*", heard, group="books", key="account", concurrency=4)
    first.journal.cut_off()  # type: ignore[attr-defined]
    for n in range(20, 400):
        await publisher.publish("t.x", {"n": n, "account": n})
        await asyncio.sleep(0.02)
    await asyncio.sleep(10)
    assert sorted(heard.values("n")) == [*range(400)]


async def test_one_process_removes_what_is_old(make: Make, log: SharedMemoryLog) -> None:
    keep = Retention(max_age=5, every=1)
    buses = [make(retention=keep, lease=3.0) for _ in range(2)]
    for bus in buses:
        await bus.connect()
    await buses[0].publish("t.x")
    await asyncio.sleep(20)
    owners = {owner for name, (owner, _, _) in log.leases.items() if name == "trim"}
    assert len(owners) == 1
    assert log.first == 2


async def test_a_group_that_was_dropped_may_be_made_with_other_parts(make: Make) -> None:
    first, second = make(), make()
    await first.connect()
    books = await first.subscribe("t.*", Recorder(), group="books")
    await books.cancel()
    await asyncio.sleep(5)
    await first.journal.drop_group("books")
    await second.connect()
    assert (await second.subscribe("t.*", Recorder(), group="books", parts=16)).is_active
