"""What passed lately is found by its place, as long as it is remembered, with what its publisher left."""

from __future__ import annotations

from contextvars import Context

from eventbus import Event
from eventbus.durability.event_cache import EventCache
from eventbus.road.burst import Burst


def burst(*numbers: int, hops: int = 0) -> Burst:
    events = [Event("t.cached", payload={"n": n}) for n in numbers]
    made = Burst(events[0], Context(), hops, 1, 77)
    made.events += events[1:]
    return made


def numbers(cache: EventCache, after: int, limit: int = 100) -> list[int]:
    return [found.event["n"] for found in cache.following(after, limit) if found.event is not None]


def test_what_follows_a_place_is_found_over_bursts_up_to_the_limit() -> None:
    cache = EventCache()
    cache.remember(1, burst(1, 2, 3))
    cache.remember(4, burst(4))
    cache.remember(5, burst(5, 6))
    assert numbers(cache, 0) == [1, 2, 3, 4, 5, 6]
    assert numbers(cache, 2, limit=3) == [3, 4, 5]
    assert numbers(cache, 6) == []


def test_it_ends_before_a_gap_and_begins_in_none() -> None:
    cache = EventCache()
    cache.remember(1, burst(1, 2))
    cache.remember(5, burst(5, 6))
    assert numbers(cache, 0) == [1, 2]
    assert numbers(cache, 2) == []
    assert numbers(cache, 4) == [5, 6]


def test_each_has_its_place_and_what_its_publisher_left() -> None:
    cache, passed = EventCache(), burst(1, 2, hops=3)
    cache.remember(10, passed)
    found = cache.following(10, 1)[0]
    assert (found.offset, found.base, found.hops, found.accepted_ns, found.burst) == (11, passed.base, 3, 77, 1)


def test_the_oldest_are_forgotten_beyond_twice_the_size() -> None:
    cache = EventCache(size=10)
    for first in range(1, 31):
        cache.remember(first, burst(first))
    assert numbers(cache, 0) == []
    assert len(numbers(cache, 20)) == 10
    assert cache.oldest is not None
    assert 11 <= cache.oldest <= 21


def test_what_nobody_asks_for_is_forgotten_burst_by_burst() -> None:
    cache = EventCache()
    cache.remember(1, burst(1, 2))
    cache.remember(3, burst(3, 4))
    cache.forget(upto=1)
    assert cache.oldest == 1, "the first burst has one that is still asked for"
    cache.forget(upto=2)
    assert cache.oldest == 3
    assert numbers(cache, 2) == [3, 4]


def test_what_was_there_before_is_not_remembered_again() -> None:
    cache = EventCache()
    cache.remember(5, burst(5))
    cache.remember(3, burst(3))
    assert numbers(cache, 2) == []
