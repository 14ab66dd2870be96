"""Registry: a live subscription has a name that is its own; one that goes settles what waits, and no stranger comes in."""

from __future__ import annotations

from typing import Any

import pytest

from eventbus import BusStopped, Event, InMemoryEventBus, InvalidSelector, Kind, PolicyConflict, Status
from eventbus.testing import Recorder, settle


class Priced(Event, type="registry.priced", retain=True, key="symbol"):
    symbol: str
    price: int


async def on_event(_event: Event) -> None:
    """Nothing to do."""


def names(bus: InMemoryEventBus) -> list[str]:
    return [subscription.name for subscription in bus.subscriptions]


async def test_names_are_unique_and_free_again_when_their_owner_is_gone(event_bus: InMemoryEventBus) -> None:
    first = event_bus.subscribe("a.b", on_event, name="ledger")
    event_bus.subscribe("a.b", on_event, name="ledger")
    event_bus.subscribe("a.b", on_event)
    event_bus.subscribe("a.b", on_event)
    assert len(set(names(event_bus))) == 4
    assert names(event_bus)[0] == "ledger"
    assert all("on_event" in name for name in names(event_bus)[2:])
    first.cancel()
    assert event_bus.subscribe("a.b", on_event, name="ledger").name == "ledger"
    assert len(set(names(event_bus))) == 4


async def test_counted_and_removed_by_what_they_listen_to(event_bus: InMemoryEventBus) -> None:
    for selector in ("a.b", "a.b", "a.*", Priced):
        event_bus.subscribe(selector, on_event)
    counts = [event_bus.get_handler_count(selector) for selector in ("a.b", "a.*", Priced, "c.d", None)]
    assert counts == [2, 1, 1, 0, 4]
    assert event_bus.get_stats()["handler_types"] == 3
    assert event_bus.unsubscribe("a.b", on_event)
    assert not event_bus.unsubscribe("c.d", on_event)
    assert event_bus.clear_handlers("a.b") == 1
    assert event_bus.clear_handlers() == 2
    assert event_bus.subscriptions == ()


@pytest.mark.parametrize(
    ("arguments", "policy", "error"),
    [
        (("a.b", "no handler"), {}, PolicyConflict),
        (("a.b", on_event), {"name": ""}, PolicyConflict),
        (("a.b", on_event), {"name": 3}, PolicyConflict),
        (("a.b", on_event), {"retyr": 3}, PolicyConflict),
        (("", on_event), {}, InvalidSelector),
        ((int, on_event), {}, InvalidSelector),
    ],
)
async def test_what_cannot_listen_is_refused_and_leaves_nothing(
    event_bus: InMemoryEventBus, arguments: tuple[Any, Any], policy: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        event_bus.subscribe(*arguments, **policy)
    assert event_bus.get_handler_count() == 0


async def test_one_that_goes_settles_what_waits_and_is_listed_no_more(event_bus: InMemoryEventBus) -> None:
    subscription = event_bus.subscribe("a.b", on_event, name="ledger")
    subscription.pause()
    receipt = await event_bus.publish("a.b")
    await settle()
    subscription.cancel()
    assert [outcome.status for outcome in await receipt] == [Status.CANCELLED]
    assert names(event_bus) == []
    subscription.cancel()
    assert await (await event_bus.publish("a.b")) == ()


async def test_who_asks_for_the_last_gets_it_first(event_bus: InMemoryEventBus) -> None:
    await event_bus.publish_many(Priced(symbol=symbol, price=n) for n, symbol in enumerate("ABA"))
    await event_bus.drain()
    late = Recorder()
    event_bus.subscribe(Priced, late, replay_last=True)
    await event_bus.publish(Priced(symbol="B", price=9))
    await event_bus.drain()
    assert sorted(late.values("price")[:2]) == [1, 2]
    assert late.values("price")[2:] == [9]
    last = event_bus.last(Priced, "B")
    assert last is not None
    assert last.price == 9


async def test_a_dead_letter_goes_back_to_whom_it_failed_for_and_to_nobody_else(event_bus: InMemoryEventBus) -> None:
    fail = True

    async def handler(_event: Event) -> None:
        if fail:
            raise OSError("down")

    other = Recorder()
    failing = event_bus.subscribe("a.b", handler, name="ledger")
    event_bus.subscribe("a.b", other)
    await event_bus.publish_and_wait("a.b")
    fail = False
    assert await event_bus.dead_letters.redrive(lambda letter: letter.subscription == "ledger") == 1
    await event_bus.drain()
    assert (failing.stats().succeeded, len(other)) == (1, 1)
    assert list(await event_bus.dead_letters.list()) == []


class Signalled(Event, type="registry.signalled", kind=Kind.EXECUTION):
    pass


async def test_a_kind_that_is_never_dropped_has_no_lossy_subscription(event_bus: InMemoryEventBus) -> None:
    with pytest.raises(PolicyConflict):
        event_bus.subscribe(Signalled, on_event, overflow="drop_oldest", queue_size=1)
    assert event_bus.get_handler_count() == 0


async def test_after_the_shutdown_no_letter_is_sent_again(event_bus: InMemoryEventBus) -> None:
    async def fail(_event: Event) -> None:
        raise OSError("down")

    event_bus.subscribe("a.b", fail)
    await event_bus.publish_and_wait("a.b")
    await event_bus.shutdown()
    with pytest.raises(BusStopped):
        await event_bus.dead_letters.redrive()


class First(Event, type="registry.first"):
    """An ordinary fact."""

    n: int


class Second(Event, type="registry.second"):
    """Another, which may share a burst with it."""

    n: int


@pytest.mark.parametrize("classes", [(First, First), (First, Second)], ids=["of one type", "of two"])
async def test_who_comes_and_goes_between_two_events_gets_what_is_published_between(
    event_bus: InMemoryEventBus, classes: tuple[type[Event], type[Event]]
) -> None:
    everything, passing = Recorder(), Recorder()
    event_bus.subscribe("registry.*", everything)
    receipts = [event_bus.publish_nowait(classes[n % 2](n=n)) for n in range(4)]
    subscription = event_bus.subscribe(classes[0], passing, name="passing")
    receipts += [event_bus.publish_nowait(classes[n % 2](n=n)) for n in range(4, 8)]
    subscription.pause()  # what it gets is settled as cancelled
    subscription.cancel()
    later = event_bus.subscribe(classes[1], passing, name="later")
    receipts += [event_bus.publish_nowait(classes[n % 2](n=n)) for n in range(8, 12)]
    outcomes = [{one.subscription: one.status for one in await receipt} for receipt in receipts]
    assert await event_bus.drain(60)
    assert [event["n"] for event in everything.events] == [*range(12)]
    assert {tuple(each) for each in outcomes[:4]} == {("Recorder",)}
    cancelled = [n for n in range(12) if outcomes[n].get("passing") is Status.CANCELLED]
    assert cancelled == [n for n in range(4, 8) if classes[n % 2] is classes[0]]
    assert [event["n"] for event in passing.events] == [n for n in range(8, 12) if classes[n % 2] is classes[1]]
    assert subscription.stats().accepted == len(cancelled)
    assert later.stats().succeeded == len(passing.events)
    assert event_bus.get_stats()["pending"] == 0
