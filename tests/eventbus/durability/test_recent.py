"""What passed lately is found by its place, as long as it is remembered, with what its publisher left."""

from __future__ import annotations

from contextvars import Context

from eventbus import Event
from eventbus.durability.recent import Recent
from eventbus.road.burst import Burst


def burst(*numbers: int, hops: int = 0) -> Burst:
    events = [Event("t.recent", payload={"n": n}) for n in numbers]
    made = Burst(events[0], Context(), hops, 1, 77)
    made.events += events[1:]
    return made


def numbers(recent: Recent, after: int, limit: int = 100) -> list[int]:
    return [found.event["n"] for found in recent.following(after, limit) if found.event is not None]


def test_what_follows_a_place_is_found_over_bursts_up_to_the_limit() -> None:
    recent = Recent()
    recent.remember(1, burst(1, 2, 3))
    recent.remember(4, burst(4))
    recent.remember(5, burst(5, 6))
    assert numbers(recent, 0) == [1, 2, 3, 4, 5, 6]
    assert numbers(recent, 2, limit=3) == [3, 4, 5]
    assert numbers(recent, 6) == []


def test_it_ends_before_a_gap_and_begins_in_none() -> None:
    recent = Recent()
    recent.remember(1, burst(1, 2))
    recent.remember(5, burst(5, 6))
    assert numbers(recent, 0) == [1, 2]
    assert numbers(recent, 2) == []
    assert numbers(recent, 4) == [5, 6]


def test_each_has_its_place_and_what_its_publisher_left() -> None:
    recent, passed = Recent(), burst(1, 2, hops=3)
    recent.remember(10, passed)
    found = recent.following(10, 1)[0]
    assert (found.offset, found.base, found.hops, found.accepted_ns, found.burst) == (11, passed.base, 3, 77, 1)


def test_the_oldest_are_forgotten_beyond_twice_the_size() -> None:
    recent = Recent(size=10)
    for first in range(1, 31):
        recent.remember(first, burst(first))
    assert numbers(recent, 0) == []
    assert len(numbers(recent, 20)) == 10
    assert recent.oldest is not None
    assert 11 <= recent.oldest <= 21


def test_what_nobody_asks_for_is_forgotten_burst_by_burst() -> None:
    recent = Recent()
    recent.remember(1, burst(1, 2))
    recent.remember(3, burst(3, 4))
    recent.forget(upto=1)
    assert recent.oldest == 1, "the first burst has one that is still asked for"
    recent.forget(upto=2)
    assert recent.oldest == 3
    assert numbers(recent, 2) == [3, 4]


def test_what_was_there_before_is_not_remembered_again() -> None:
    recent = Recent()
    recent.remember(5, burst(5))
    recent.remember(3, burst(3))
    assert numbers(recent, 2) == []
