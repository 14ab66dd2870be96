"""Views: whole at first, then what changed, never more often than the page can draw, and only for who looks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from eventbus import InMemoryEventBus
from eventbus.gateway.counts import Counts
from eventbus.gateway.views import Views
from eventbus.testing import VirtualClock
from eventbus.testing.gateway import PATIENCE_S, Served

Serving = Callable[..., Awaitable[Served]]


class Growing:
    """A view of columns."""

    def __init__(self) -> None:
        self.made = 0
        self.data: dict[str, Any] = {"t": [1, 2], "equity": ["1.0", "2.0"], "last": 2}

    def __call__(self) -> dict[str, Any]:
        self.made += 1
        return self.data


async def test_a_view_comes_whole_and_then_as_it_changes(serving: Serving) -> None:
    served = await serving()
    data = {"n": 1}
    served.sockets.views.add("run", lambda: data)
    async with served.connect() as peer:
        await peer.say(type="subscribe", views=["run"])
        told = await peer.until("subscribed")
        assert told["views"] == ["run"]
        first = await peer.until("view")
        assert (first["view"], first["rev"], first["data"]) == ("run", 1, {"n": 1})
        assert first["at"].endswith("+00:00")
        data["n"] = 2
        second = await peer.until("view")
        assert (second["rev"], second["data"]) == (2, {"n": 2})


async def test_a_view_that_grows_sends_what_was_added_to_its_base(serving: Serving) -> None:
    served = await serving()
    growing = Growing()
    served.sockets.views.add("equity", growing, grows=True)
    async with served.connect() as peer:
        await peer.say(type="subscribe", views=["equity"])
        first = await peer.until("view")
        growing.data = {"t": [1, 2, 3], "equity": ["1.0", "2.0", "3.0"], "last": 3}
        added = await peer.until("view")
        assert (added["base"], added["append"]) == (first["rev"], {"t": [3], "equity": ["3.0"], "last": 3})
        assert "data" not in added
        growing.data = {"t": [1, 3], "equity": ["1.0", "3.0"], "last": 3}
        thinned = await peer.until("view")
        assert thinned["data"] == growing.data


async def test_who_asks_again_gets_the_whole(serving: Serving) -> None:
    served = await serving()
    growing = Growing()
    served.sockets.views.add("equity", growing, grows=True)
    async with served.connect() as peer:
        for _ in range(2):
            await peer.say(type="subscribe", views=["equity"])
            assert (await peer.until("view"))["data"] == growing.data


async def test_nothing_is_made_while_nobody_looks(serving: Serving) -> None:
    served = await serving()
    growing = Growing()
    served.sockets.views.add("equity", growing)
    async with served.connect() as peer:
        await peer.say(type="subscribe", views=["equity"])
        await peer.until("view")
        await peer.say(type="unsubscribe", views=["equity"])
        await peer.until("unsubscribed")
        assert served.sockets.views.of(served.sockets.hub.clients[0]) == []
        made = growing.made
        await peer.sync()
        assert growing.made == made


async def test_views_of_the_bus_show_its_numbers(serving: Serving) -> None:
    bus = InMemoryEventBus()

    @bus.on("fail.*", name="failing")
    async def fail(_event: object) -> None:
        raise ValueError("no")

    served = await serving(bus)
    async with served.connect() as peer:
        await bus.publish("fail.x", {"n": 1})
        await bus.drain()
        await peer.say(type="subscribe", views=["bus", "subscriptions", "topology", "letters"])
        views: dict[str, Any] = {}
        while len(views) < 4:
            message = await peer.until("view")
            views[message["view"]] = message["data"]
        assert (views["bus"]["published"], views["bus"]["dead_letters"], views["bus"]["clients"]) == (1, 1, 1)
        assert [row["dead_lettered"] for row in views["subscriptions"]["rows"] if row["name"] == "failing"] == [1]
        assert views["topology"]["routes"][0]["consumers"] == ["failing"]
        letter = views["letters"]["rows"][0]
        assert (letter["type"], letter["subscription"], letter["attempts"]) == ("fail.x", "failing", 1)
        assert views["letters"]["total"] == 1


async def test_a_family_has_a_view_for_each_key(serving: Serving) -> None:
    served = await serving()
    served.sockets.views.add_family("chart", _chart)
    async with served.connect() as peer:
        await peer.say(type="subscribe", views=["chart:7"])
        assert (await peer.until("view"))["data"] == {"id": "7"}
        error = await peer.ask(type="subscribe", views=["chart:8"])
        assert error["code"] == "unknown_view"


def _chart(key: str) -> dict[str, Any]:
    return {"7": {"id": "7"}}[key]


async def test_a_view_that_cannot_be_made_disturbs_no_other(serving: Serving) -> None:
    served = await serving()
    served.sockets.views.add("broken", lambda: _chart("missing"))
    served.sockets.views.add("whole", lambda: {"n": 1})
    async with served.connect() as peer:
        await peer.say(type="subscribe", views=["broken", "whole"])
        assert (await peer.until("view"))["view"] == "whole"


async def test_a_view_is_made_at_most_four_times_a_second() -> None:
    clock, growing = VirtualClock(), Growing()
    views = Views(clock, Counts("bus"))
    views.add("equity", growing)
    for _ in range(100):
        await views.snapshot("equity")
        clock.move(0.01)
    assert growing.made <= 5


async def test_who_asks_while_a_view_is_made_for_the_first_time_waits_for_it() -> None:
    views, may_go, made = Views(VirtualClock(), Counts("bus")), asyncio.Event(), list[int]()

    async def make() -> dict[str, Any]:
        made.append(1)
        await may_go.wait()
        return {"n": 1}

    views.add("letters", make)
    asking = [asyncio.create_task(views.snapshot("letters")) for _ in range(3)]
    await asyncio.sleep(0)
    may_go.set()
    assert [found["data"] for found in await asyncio.gather(*asking)] == [{"n": 1}] * 3
    assert len(made) == 1


async def test_a_view_that_could_not_be_made_is_made_when_it_is_asked_for_again() -> None:
    views, found = Views(VirtualClock(), Counts("bus")), iter([None, {"n": 1}])

    def make() -> dict[str, Any]:
        made = next(found)
        if made is None:
            raise LookupError("not yet")
        return made

    views.add("late", make)
    with pytest.raises(LookupError):
        await views.snapshot("late")
    assert (await views.snapshot("late"))["data"] == {"n": 1}


async def test_views_are_conflated_to_the_rate_that_was_asked(serving: Serving) -> None:
    served = await serving()
    made = iter(range(1_000_000))
    served.sockets.views.add("busy", lambda: {"n": next(made)})
    async with served.connect() as slow, served.connect() as quick:
        await slow.say(type="subscribe", views=["busy"], max_rate=0.001)
        await quick.say(type="subscribe", views=["busy"])
        for _ in range(4):
            await quick.until("view")
        await slow.sync()
        assert len([one for one in slow.seen if one["type"] == "view"]) == 1


async def test_the_same_as_a_value(serving: Serving) -> None:
    served = await serving()
    served.sockets.views.add("run", lambda: {"n": 1})
    async with asyncio.timeout(PATIENCE_S):
        found = await served.sockets.views.snapshot("run")
    assert (found["view"], found["rev"], found["data"]) == ("run", 1, {"n": 1})
