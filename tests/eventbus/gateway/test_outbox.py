"""Outbox: bounded, in order, and what gives way to newer values is told."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic_core import from_json

from eventbus.gateway.outbox import Outbox


@dataclass(eq=False)
class Sub:
    topic: str
    id: str | None = None


def test_frames_come_out_in_order_about_so_many_bytes_at_a_time() -> None:
    outbox = Outbox()
    for n in range(5):
        assert outbox.offer(b"%d" % n * 10, n)
    assert outbox.bytes == 50
    assert outbox.take(25) == ([b"0" * 10, b"1" * 10, b"2" * 10], 2)
    assert outbox.take(1_000) == ([b"3" * 10, b"4" * 10], 4)
    assert (len(outbox), outbox.bytes) == (0, 0)


def test_there_is_room_for_so_many_and_for_so_many_bytes() -> None:
    outbox = Outbox(messages=3, max_bytes=100)
    assert [outbox.offer(b"x", n) for n in range(4)] == [True, True, True, False]
    large = Outbox(messages=3, max_bytes=100)
    assert [large.offer(b"x" * 500), large.offer(b"x")] == [True, False]


def test_a_full_one_gives_up_values_that_newer_ones_replaced() -> None:
    sub, other = Sub("quote.*", "q"), Sub("*")
    outbox = Outbox(messages=4)
    for seq, key in ((1, "A"), (2, "B"), (3, "A"), (4, "A")):
        assert outbox.offer(b"%d" % seq, seq, key, (sub,))
    assert outbox.offer(b"5", 5, "B", (sub, other))
    assert outbox.offer(b"6", 6, None, (sub,))
    frames, seq = outbox.take(1_000)
    gap = from_json(frames[0][2:])
    assert gap == {"type": "gap", "id": "q", "topic": "quote.*", "dropped": 3, "first": 1, "last": 3}
    assert (frames[1:], seq) == ([b"4", b"5", b"6"], 6)
    assert outbox.conflated == 3


def test_what_is_no_value_is_never_given_up() -> None:
    outbox = Outbox(messages=2)
    assert outbox.offer(b"1", 1)
    assert outbox.offer(b"2", 2, "A", ())
    assert not outbox.offer(b"3", 3)
    assert outbox.offer(b"4", 4, "A", ())
    assert outbox.take(1_000)[0] == [b"1", b"4"]


def test_a_gap_is_told_for_every_subscription_that_has_it() -> None:
    one, two = Sub("a.*"), Sub("b.*", "b")
    outbox = Outbox(messages=1)
    outbox.offer(b"1", 1, "A", (one, two))
    outbox.offer(b"2", 2, "A", (one,))
    outbox.offer(b"3", 3, "A", (one, two))
    gaps = [from_json(frame[2:]) for frame in outbox.gaps()]
    assert gaps == [
        {"type": "gap", "topic": "a.*", "dropped": 2, "first": 1, "last": 2},
        {"type": "gap", "id": "b", "topic": "b.*", "dropped": 1, "first": 1, "last": 1},
    ]
    assert outbox.gaps() == []


def test_what_waits_for_nobody_any_more_is_dropped() -> None:
    one, two = Sub("a.*"), Sub("b.*")
    outbox = Outbox()
    outbox.offer(b"1", 1, None, (one,))
    outbox.offer(b"2", 2, None, (one, two))
    outbox.offer(b"3", 0, None, ())
    outbox.drop([one])
    assert outbox.take(1_000)[0] == [b"2", b"3"]


def test_an_answer_has_room_always_but_not_without_end() -> None:
    outbox = Outbox(messages=2)
    for _ in range(7):
        outbox.force(b"pong")
    assert (outbox.is_full, outbox.is_bursting) == (True, False)
    outbox.force(b"pong")
    assert outbox.is_bursting
