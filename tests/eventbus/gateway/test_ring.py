"""Ring: the newest events under their numbers, bounded by number and by size."""

from __future__ import annotations

import pytest

from eventbus import Event
from eventbus.gateway.ring import Ring
from eventbus.gateway.wire import body_of


def events(count: int, size: int = 0) -> list[Event]:
    return [Event("ring.e", payload={"n": n, "pad": "x" * size}) for n in range(count)]


@pytest.mark.parametrize("bursts", [[1] * 25, [3, 7, 1, 9, 5], [25], [10, 10, 5], [4, 40, 2]])
def test_numbers_ascend_and_the_newest_are_kept(bursts: list[int]) -> None:
    ring, put = Ring(size=10), list[Event]()
    ring.begin("e", 100)
    for count in bursts:
        burst = events(count)
        ring.put(tuple(burst))
        put += burst
    assert (ring.head, ring.oldest) == (100 + len(put), 100 + len(put) - 9)
    assert ring.after(ring.oldest - 1, 100) == put[-10:]
    assert ring.after(ring.head - 3, 2) == put[-3:-1]
    assert ring.after(ring.head, 5) == []


def test_fewer_are_kept_when_they_are_large() -> None:
    ring = Ring(size=10_000, max_bytes=1_000_000)
    ring.begin("e", 0)
    for _ in range(20):
        ring.put(tuple(events(128, 5_000)))
        assert ring.json_bytes <= 1_000_000
    kept = ring.after(ring.oldest - 1, 10_000)
    assert len(kept) == ring.head - ring.oldest + 1
    assert sum(len(body_of(event)) for event in kept if event is not None) <= 1_000_000


def test_small_ones_among_large_ones_deceive_nobody() -> None:
    ring = Ring(size=10_000, max_bytes=1_000_000)
    ring.begin("e", 0)
    for _ in range(20):
        ring.put((*events(1, 100_000), *events(127)))
    assert ring.json_bytes <= 1_000_000
    assert sum(len(body_of(event)) for event in ring.after(ring.oldest - 1, 10_000) if event) <= 1_200_000


def test_another_epoch_begins_empty() -> None:
    ring = Ring(size=10)
    ring.put(tuple(events(5)))
    ring.begin("other", 70)
    assert (ring.epoch, ring.head, ring.oldest, ring.after(70, 10)) == ("other", 70, 71, [])


def test_what_cannot_be_read_has_a_number_too() -> None:
    ring = Ring(size=10)
    (event,) = events(1)
    ring.put([None, event])
    assert ring.after(0, 10) == [None, event]
