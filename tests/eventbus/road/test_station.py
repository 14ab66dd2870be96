"""Station: what writes first has a burst before anybody else; what it passes on is dispatched, what it cannot record enters nowhere."""

from __future__ import annotations

import pytest

from eventbus import CodecError, Event, InMemoryEventBus
from eventbus.durability.memory_store import MemoryStore
from eventbus.road.burst import Burst
from eventbus.road.house import Stations
from eventbus.testing import Recorder, settle

pytestmark = pytest.mark.virtual_time


class Stop:
    """A station where bursts stop until they are passed on."""

    writes_first = True
    is_shared = False

    def __init__(self) -> None:
        self.bursts, self.asked = list[Burst](), list[bool]()

    @property
    def unwritten(self) -> int:
        return sum(len(burst.events) for burst in self.bursts)

    async def ready(self, *, is_inside: bool) -> None:
        self.asked.append(is_inside)

    def must_be_open(self, call: str) -> None:
        pass

    def record(self, event: Event) -> object:
        if event["n"] < 0:
            raise CodecError("is below zero", "n")
        return event["n"]

    def take(self, burst: Burst) -> None:
        self.bursts.append(burst)


class Stopping(MemoryStore):
    """A store that has such a station, and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.stop = Stop()

    def attach(self, stations: Stations) -> None:
        super().attach(stations)
        self.lane = stations.door.lane
        stations.door.write_to(self.stop)

    def pass_on(self) -> None:
        while self.stop.bursts:
            self.lane.put(self.stop.bursts.pop(0))


async def test_a_burst_stops_there_until_it_is_passed_on() -> None:
    store, heard = Stopping(), Recorder()
    bus = InMemoryEventBus(store=store)
    bus.subscribe("station.*", heard)
    async with bus:
        bus.publish_nowait("station.event", {"n": 1})
        await settle()
        assert (len(heard), store.stop.unwritten, bus.get_stats()["published"]) == (0, 1, 0)
        store.pass_on()
        await settle()
        assert (len(heard), bus.get_stats()["published"]) == (1, 1)


async def test_what_it_cannot_record_is_refused_and_nothing_of_it_is_accepted() -> None:
    store = Stopping()
    bus = InMemoryEventBus(store=store)
    async with bus:
        with pytest.raises(CodecError):
            bus.publish_nowait("station.event", {"n": -1})
        assert bus.get_stats()["queue_size"] == 0
    assert store.stop.bursts == []


async def test_who_may_wait_asks_whether_it_can_take_events_and_says_if_it_is_a_handler() -> None:
    store = Stopping()
    bus = InMemoryEventBus(store=store)

    async def again(_event: Event) -> None:
        bus.publish_nowait("station.other", {"n": 2})

    bus.subscribe("station.event", again)
    async with bus:
        await bus.publish_many([Event("station.event", payload={"n": 1})])
        store.pass_on()
        await settle()
        store.pass_on()
    assert store.stop.asked == [False]
