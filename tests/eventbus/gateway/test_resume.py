"""Coming back: whoever was cut off gets what it missed, once and in order, or is told that it cannot; over memory and over a journal."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import websockets

from eventbus import Event, EventBus, InMemoryEventBus, Kind, create_event_bus
from eventbus.gateway.source import SPACE
from eventbus.testing.gateway import Peer, Served

Serving = Callable[..., Awaitable[Served]]


class Urgent(Event, type="resume.urgent", kind=Kind.CONTROL):
    """Something that overtakes."""


class Quote(Event, type="resume.quote", kind=Kind.QUOTE):
    """Something that no journal keeps, if it is told so."""


def journal(folder: Path, name: str = "run.db", **options: str) -> str:
    """What is tested here is not the disk."""
    settings = {"synchronous": "off"} | options
    return f"sqlite:///{folder / name}?" + "&".join(f"{key}={value}" for key, value in settings.items())


async def publish(bus: EventBus, count: int, topic: str = "run.step") -> None:
    for n in range(count):
        await bus.publish(topic, {"n": n})


async def read_on(peer: Peer, seen: list[int], epoch: str, wanted: int, least: int) -> None:
    """Resume where `seen` ends and read until so many more, or so many in all, were seen."""
    await peer.say(type="subscribe", topics=["run.*"], after=seen[-1] if seen else 0, epoch=epoch)
    goal = min(wanted, len(seen) + least)
    while len(seen) < goal:
        message = await peer.next()
        assert message["type"] != "resnapshot"
        if message["type"] == "event":
            seen.append(message["seq"])


@pytest.mark.parametrize(("count", "least"), [(800, 30), pytest.param(4_000, 150, marks=pytest.mark.long)])
async def test_received_is_published_whatever_the_cuts(serving: Serving, count: int, least: int) -> None:
    served, chance = await serving(), random.Random(10)
    cuts, seen = 0, list[int]()
    publishing = asyncio.create_task(publish(served.bus, count))
    epoch = served.sockets.epoch
    while len(seen) < count:
        async with served.connect() as peer:
            await read_on(peer, seen, epoch, count, chance.randint(0, 40))
            peer.connection.transport.abort()
        cuts += 1
    await publishing
    assert seen == [*range(1, count + 1)]
    assert cuts >= least


async def test_received_is_published_though_the_gateway_is_restarted_over_its_journal(
    serving: Serving, tmp_path: Path
) -> None:
    url, chance, seen, count = journal(tmp_path), random.Random(11), list[int](), 0
    epochs = set[str]()
    for _round in range(8):
        served = await serving(create_event_bus(url))
        await publish(served.bus, 60)
        count += 60
        epochs.add(served.sockets.epoch)
        for _cut in range(6):
            async with served.connect() as peer:
                await read_on(peer, seen, served.sockets.epoch, count, chance.randint(0, 15))
                peer.connection.transport.abort()
        await served.stop()
    served = await serving(create_event_bus(url))
    async with served.connect() as peer:
        await read_on(peer, seen, served.sockets.epoch, count, count)
        await peer.sync()
    assert seen == [*range(1, count + 1)]
    assert len(epochs) == 1


async def test_what_was_published_while_the_gateway_was_down_comes_too(serving: Serving, tmp_path: Path) -> None:
    url = journal(tmp_path)
    served = await serving(create_event_bus(url))
    epoch = served.sockets.epoch
    await publish(served.bus, 3)
    await served.stop()
    async with create_event_bus(url) as bus:
        await publish(bus, 700)
    served = await serving(create_event_bus(url))
    async with served.connect() as peer:
        await peer.subscribe("*", after=2, epoch=epoch)
        assert (await peer.until("caught_up"))["seq"] == 703
        await publish(served.bus, 2)
        await peer.sync()
    assert peer.seqs == [*range(3, 706)]


async def test_another_journal_in_its_place_is_another_epoch(serving: Serving, tmp_path: Path) -> None:
    first, second = (journal(tmp_path, name) for name in ("a.db", "b.db"))
    served = await serving(create_event_bus(first))
    await publish(served.bus, 5)
    epoch, seq = served.sockets.epoch, 5
    await served.stop()
    served = await serving(create_event_bus(second))
    await publish(served.bus, 50, "foreign.step")
    async with served.connect() as peer:
        await peer.say(type="subscribe", id="q", topics=["*"], after=seq, epoch=epoch)
        told = await peer.next()
        assert (told["type"], told["reason"], told["seq"]) == ("resnapshot", "epoch", 50)
        await peer.sync()
        assert peer.events == []


async def test_a_bus_in_memory_begins_another_epoch_with_each_gateway(serving: Serving) -> None:
    epochs = set()
    for _ in range(2):
        served = await serving()
        epochs.add(served.sockets.epoch)
        await served.stop()
    assert len(epochs) == 2


async def test_an_older_copy_of_a_journal_does_not_know_a_later_place(serving: Serving, tmp_path: Path) -> None:
    served = await serving(create_event_bus(journal(tmp_path)))
    await publish(served.bus, 5)
    async with served.connect() as peer:
        told = await peer.ask(type="subscribe", topics=["*"], after=9, epoch=served.sockets.epoch)
        assert (told["type"], told["reason"]) == ("resnapshot", "gone")


async def test_what_left_the_ring_of_a_bus_in_memory_is_gone(serving: Serving) -> None:
    served = await serving()
    await publish(served.bus, 10_010)
    await served.bus.drain()
    async with served.connect() as peer:
        told = await peer.ask(type="subscribe", topics=["*"], after=9, epoch=served.sockets.epoch)
        assert (told["type"], told["reason"], told["oldest"]) == ("resnapshot", "gone", 11)
        await peer.until("subscribed")
        await peer.say(type="subscribe", topics=["run.*"], after=10, epoch=served.sockets.epoch)
        await peer.until("caught_up")
        assert peer.seqs == [*range(11, 10_011)]


async def test_what_left_the_ring_is_read_from_the_journal(serving: Serving, tmp_path: Path) -> None:
    served = await serving(create_event_bus(journal(tmp_path)))
    await asyncio.gather(*(publish(served.bus, 103) for _ in range(100)))
    async with served.connect() as peer:
        await peer.subscribe("*", after=0)
        await peer.until("caught_up")
        assert peer.seqs == [*range(1, 10_301)]


async def test_what_retention_removed_is_gone(serving: Serving, tmp_path: Path) -> None:
    served = await serving(create_event_bus(journal(tmp_path)))
    await publish(served.bus, 30)
    await served.stop()
    async with create_event_bus(journal(tmp_path)) as bus:
        trimmed = await bus.trim(before=20, force=True)
        assert trimmed.removed
    served = await serving(create_event_bus(journal(tmp_path)))
    async with served.connect() as peer:
        told = await peer.ask(type="subscribe", topics=["*"], after=3, epoch=served.sockets.epoch)
        assert (told["type"], told["reason"], told["oldest"]) == ("resnapshot", "gone", peer.welcome["oldest"])


async def test_what_overtakes_on_the_bus_does_not_overtake_in_the_log(serving: Serving, tmp_path: Path) -> None:
    served = await serving(create_event_bus(journal(tmp_path)))
    async with served.connect() as peer:
        await peer.subscribe("*")
        steps = [Event("run.step", payload={"n": n}) for n in range(200)]
        await served.bus.publish_many([*steps[:100], Urgent(), *steps[100:], Urgent()])
        while len(peer.events) < 202:
            await peer.next()
        assert peer.seqs == [*range(1, 203)]
        assert [event["seq"] for event in peer.events if event["payload"]["type"] == "resume.urgent"] == [101, 202]


async def test_values_that_the_journal_does_not_keep_come_live_only(serving: Serving, tmp_path: Path) -> None:
    bus = create_event_bus(journal(tmp_path, journal_quotes="false"))
    served = await serving(bus)
    async with served.connect() as peer:
        await peer.subscribe("*")
        await served.bus.publish(Quote())
        await publish(served.bus, 1)
        await peer.until("event", seq=1)
        assert {event["payload"]["type"] for event in peer.events} >= {"run.step"}
        await peer.sync()
        assert sorted(event["payload"]["type"] for event in peer.events) == ["resume.quote", "run.step"]
    async with served.connect() as peer:
        await peer.subscribe("*", after=0)
        await peer.until("caught_up")
        assert peer.seqs == [1]


async def test_what_was_written_but_never_dispatched_is_filled_in(serving: Serving, tmp_path: Path) -> None:
    bus = create_event_bus(journal(tmp_path))
    served = await serving(bus)
    async with served.connect() as peer:
        await peer.subscribe("*")
        lost, later = Event("run.lost"), Event("run.later")
        from eventbus.durability.record import as_record  # what the bus hands to its journal

        await bus.journal.append([as_record(lost)])
        await bus.publish(later)
        while len(peer.events) < 2:
            await peer.next()
        assert [event["payload"]["type"] for event in peer.events] == ["run.lost", "run.later"]


async def test_replay_and_what_is_live_meet_without_a_gap(serving: Serving, tmp_path: Path) -> None:
    served = await serving(create_event_bus(journal(tmp_path)))
    await publish(served.bus, 500)
    async with served.connect() as one, served.connect() as other:
        publishing = asyncio.create_task(publish(served.bus, 500))
        await one.subscribe("*", after=0)
        await other.subscribe("run.*", id="live")
        await other.say(type="subscribe", id="all", topics=["run.*"], after=0)
        await publishing
        while not one.seqs or one.seqs[-1] < 1_000:
            await one.next()
        assert one.seqs == [*range(1, 1_001)]
        while not other.events or other.events[-1]["seq"] < 1_000:
            await other.next()
        replayed = [event["seq"] for event in other.events if event["subs"] == ["all"]]
        live = [event["seq"] for event in other.events if "live" in event["subs"]]
        assert replayed + [seq for seq in live if seq > len(replayed)] == [*range(1, 1_001)]
        assert live == [*range(live[0], 1_001)]


async def test_adding_topics_after_a_place_sends_nothing_again(serving: Serving) -> None:
    served = await serving()
    async with served.connect() as peer:
        await peer.subscribe("a.*")
        for topic in ("a.x", "b.x", "a.x", "b.x"):
            await served.bus.publish(topic, {})
        await peer.sync()
        await peer.subscribe("*", after=0)
        await peer.until("caught_up")
        assert peer.seqs == [1, 3, 2, 4]


async def test_an_epoch_is_kept_in_the_journal(serving: Serving, tmp_path: Path) -> None:
    served = await serving(create_event_bus(journal(tmp_path)))
    kept = await served.bus.journal.values(SPACE)
    assert kept["epoch"].decode() == served.sockets.epoch


async def test_a_client_that_dies_while_it_is_given_what_it_missed_leaves_nothing_behind(serving: Serving) -> None:
    served = await serving(InMemoryEventBus())
    for _ in range(100):
        await served.bus.publish("run.step", {"pad": "x" * 50_000})
    await served.bus.drain()
    async with served.connect() as peer:
        await peer.say(type="subscribe", topics=["*"], after=0)
        try:
            await peer.until("event")
            peer.connection.transport.abort()
            await peer.next()
        except (websockets.ConnectionClosed, TimeoutError):
            pass
    async with served.connect() as other:
        while len(served.sockets.hub) > 1:
            await other.sync()
    assert not [task for task in asyncio.all_tasks() if "catch_up" in repr(task.get_coro())]
