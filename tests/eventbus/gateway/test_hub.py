"""Hub: the fan-out by itself: written once, in order, a part of it in each turn of the loop, and nothing left of who is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import pytest
from pydantic_core import from_json

from eventbus import Event, Kind
from eventbus.gateway.client import Client
from eventbus.gateway.counts import Counts
from eventbus.gateway.feed import Feed
from eventbus.gateway.hub import Hub
from eventbus.gateway.listening import topics_of
from eventbus.gateway.ring import Ring
from eventbus.gateway.wire import Subscribe
from eventbus.testing import VirtualClock


class Sink:
    """A line that takes everything, and keeps it."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.writes = 0
        self.is_open = self.is_ready = True
        self.buffered = 0

    def write(self, frames: Sequence[bytes]) -> None:
        self.frames += frames
        self.writes += 1

    async def until_ready(self) -> None:
        await asyncio.sleep(0)

    def ping(self) -> None: ...

    def listen(self, heard: Callable[[], None]) -> None: ...

    def end(self, code: int, reason: str) -> None:
        self.is_open = False

    @property
    def seqs(self) -> list[int]:
        return [from_json(frame[frame.index(b"{") :])["seq"] for frame in self.frames]


def hub_of(size: int = 10_000) -> Hub:
    ring = Ring(size=size)
    ring.begin("e", 0)
    return Hub(Feed(ring, lambda: None), Counts("bus"), VirtualClock())


def join(hub: Hub, *topics: str, **fields: object) -> tuple[Client, Sink]:
    sink = Sink()
    client = hub.join(sink, lambda _type: True, lambda: True)
    asked = Subscribe.model_validate({"type": "subscribe", "topics": list(topics), **fields})
    hub.listen(client, topics_of(asked, hub.feed.dealt))
    return client, sink


def arrive(hub: Hub, count: int) -> None:
    hub.feed.ring.put([Event("hub.e", payload={"n": n}) for n in range(count)])
    hub.arrived()


async def test_frames_of_a_turn_are_one_write_and_the_same_for_everybody() -> None:
    hub = hub_of()
    sinks = [join(hub, "hub.*")[1] for _ in range(10)]
    arrive(hub, 20)
    await asyncio.sleep(0)
    assert all(sink.seqs == [*range(1, 21)] and sink.writes == 1 for sink in sinks)
    assert len({id(sink.frames[7]) for sink in sinks}) == 1


async def test_a_burst_takes_no_more_than_its_part_of_a_turn() -> None:
    hub = hub_of()
    sinks = [join(hub, "hub.*")[1] for _ in range(100)]
    arrive(hub, 200)
    await asyncio.sleep(0)
    assert 0 < hub.feed.dealt < 200
    for _ in range(20):
        await asyncio.sleep(0)
    assert all(sink.seqs == [*range(1, 201)] for sink in sinks)


async def test_nothing_leaves_the_ring_before_it_was_dealt() -> None:
    hub = hub_of(size=64)
    sinks = [join(hub, "hub.*")[1] for _ in range(100)]
    for _ in range(40):
        arrive(hub, 20)
    for _ in range(20):
        await asyncio.sleep(0)
    assert all(sink.seqs == [*range(1, 801)] for sink in sinks)


async def test_who_subscribes_in_the_middle_gets_what_comes_after() -> None:
    hub = hub_of()
    _client, first = join(hub, "hub.*")
    arrive(hub, 5)
    hub.deal()
    _client, second = join(hub, "hub.*")
    arrive(hub, 5)
    hub.deal()
    assert (first.seqs, second.seqs) == ([*range(1, 11)], [*range(6, 11)])


async def test_who_is_gone_is_in_no_index() -> None:
    hub = hub_of()
    client, sink = join(hub, "hub.*")
    other, heard = join(hub, "hub.*")
    hub.leave(client)
    hub.leave(client)
    arrive(hub, 3)
    hub.deal()
    assert (sink.frames, heard.seqs, hub.clients) == ([], [1, 2, 3], (other,))
    hub.leave(other)
    arrive(hub, 1)
    assert hub.feed.dealt == 4


class Hostile:
    """An object that fails whatever is done with it."""

    def __str__(self) -> str:
        raise KeyError("no")

    __repr__ = __str__

    def __hash__(self) -> int:
        raise KeyError("no")

    def __eq__(self, other: object) -> bool:
        raise KeyError("no")


class Odd(Event, type="hub.odd", kind=Kind.QUOTE, key="what"):
    """Its key may be anything."""

    what: Any


@pytest.mark.parametrize(
    "odd",
    [
        Hostile(),
        {"deep": [Hostile()]},
        [1, 2],
        {1: 2},
        float,
        "\ud800",
        b"\xff",
        {1, 2},
        10**400,
        object(),
        Decimal("1E+9"),
    ],
    ids=lambda odd: type(odd).__name__,
)
async def test_whatever_an_event_holds_the_next_one_goes_on(odd: object) -> None:
    hub = hub_of()
    sinks = [
        join(hub, "hub.*")[1],
        join(hub, "hub.*", where={"what": 1})[1],
        join(hub, "hub.*", id="q", max_rate=1000)[1],
    ]
    hub.feed.ring.put([Odd.model_construct(what=odd, event_id="odd"), *(Event("hub.e", payload={"what": 1}),)])
    hub.arrived()
    hub.deal()
    hub.deal()
    assert sinks[0].seqs == [1, 2]
    assert sinks[1].seqs == [2]
    assert sorted(sinks[2].seqs) == [1, 2]


@pytest.mark.parametrize("kinds", [10_000])
async def test_types_by_the_thousand_are_not_remembered_for_ever(kinds: int) -> None:
    hub = hub_of()
    client, sink = join(hub, "many.*")
    hub.feed.ring.put([Event(f"other.{n}") for n in range(kinds)])
    hub.arrived()
    hub.deal()
    assert sink.frames == []
    assert len(hub._routes) <= 4_096
    assert len(client._wanting) <= 1_024
