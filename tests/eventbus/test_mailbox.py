"""Mailbox: order, keys, conflation and overflow, in plain synchronous code."""

from __future__ import annotations

from contextvars import Context
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from eventbus import Event, Overflow
from eventbus.delivery import Delivery
from eventbus.mailbox import Mailbox


def delivery(n: int, *, key: Any = None, lossless: bool = True, urgent: bool = False) -> Delivery:
    return Delivery(
        Event("mail.sent", payload={"n": n}),
        subscription="box",
        context=Context(),
        hops=0,
        accepted_ns=n,
        flight=None,
        order=n,
        is_lossless=lossless,
        is_urgent=urgent,
        key=key,
    )


def numbers(deliveries: list[Delivery]) -> list[int]:
    return [one.event["n"] for one in deliveries]


def taken(box: Mailbox) -> list[int]:
    """Take all that may be taken, releasing nothing."""
    out = []
    while (one := box.take()) is not None:
        out.append(one)
    return numbers(out)


def filled(*deliveries: Delivery, size: int | None = None, overflow: Overflow = Overflow.BLOCK) -> Mailbox:
    box = Mailbox(size)
    for one in deliveries:
        box.offer(one, overflow)
    return box


def test_first_in_first_out() -> None:
    box = filled(*(delivery(n) for n in range(4)))
    assert len(box) == 4
    assert taken(box) == [0, 1, 2, 3]
    assert len(box) == 0
    assert box.take() is None


def test_urgent_ones_overtake() -> None:
    box = filled(delivery(0), delivery(1), delivery(2, urgent=True), delivery(3, urgent=True))
    assert taken(box) == [2, 3, 0, 1]


# --- keys -----------------------------------------------------------------------------------------------------------


def test_of_one_key_never_two_at_a_time() -> None:
    box = filled(delivery(0, key="a"), delivery(1, key="a"), delivery(2, key="b"), delivery(3, key="a"))
    assert taken(box) == [0, 2]
    assert len(box) == 2
    box.release("a")
    assert taken(box) == [1]
    box.release("b")
    assert taken(box) == []
    box.release("a")
    assert taken(box) == [3]
    box.release("a")
    assert len(box) == 0


def test_deliveries_without_a_key_never_wait_for_each_other() -> None:
    box = filled(delivery(0), delivery(1))
    assert taken(box) == [0, 1]
    box.release(None)


def test_put_back_waits_before_all_others_and_keeps_its_key() -> None:
    box = filled(delivery(0, key="a"), delivery(1, key="a"), delivery(2, key="b"))
    first = box.take()
    assert first is not None
    box.put_back(first)
    assert len(box) == 3
    assert taken(box) == [0, 2]


def test_put_back_out_of_order_lets_its_key_go_on() -> None:
    box = filled(delivery(0, key="a"), delivery(1, key="a"))
    first = box.take()
    assert first is not None
    box.release("a")
    assert taken(box) == [1]
    box.put_back(first, keeps_key=False)
    assert taken(box) == []
    box.release("a")
    assert taken(box) == [0]


def test_several_put_back_come_out_in_order_of_acceptance() -> None:
    box = filled(*(delivery(n) for n in range(5)))
    taken_out = [one for one in (box.take() for _ in range(3)) if one is not None]
    for one in taken_out:
        box.put_back(one)
    assert taken(box) == [0, 1, 2, 3, 4]


# --- overflow ---------------------------------------------------------------------------------------------------------


def offered(box: Mailbox, one: Delivery, overflow: Overflow) -> int | None:
    displaced = box.offer(one, overflow)
    return None if displaced is None else displaced.event["n"]


def test_oldest_is_dropped_when_full() -> None:
    box = Mailbox(2)
    lost = [offered(box, delivery(n, lossless=False), Overflow.DROP_OLDEST) for n in range(4)]
    assert lost == [None, None, 0, 1]
    assert taken(box) == [2, 3]


def test_newest_is_dropped_when_full() -> None:
    box = Mailbox(2)
    lost = [offered(box, delivery(n, lossless=False), Overflow.DROP_NEWEST) for n in range(4)]
    assert lost == [None, None, 2, 3]
    assert taken(box) == [0, 1]


def test_oldest_may_wait_behind_a_busy_key() -> None:
    box = filled(*(delivery(n, key="a", lossless=False) for n in range(2)), size=2, overflow=Overflow.DROP_OLDEST)
    assert taken(box) == [0]
    box.offer(delivery(2, key="a", lossless=False), Overflow.DROP_OLDEST)
    assert offered(box, delivery(3, key="a", lossless=False), Overflow.DROP_OLDEST) == 1
    box.release("a")
    assert taken(box) == [2]


def test_dropping_what_waits_keeps_what_is_held_of_its_key() -> None:
    box = filled(delivery(0, key="a"), delivery(1, key="a"), size=2, overflow=Overflow.BLOCK)
    assert taken(box) == [0]
    box.offer(delivery(2, key="a", lossless=False), Overflow.DROP_OLDEST)
    assert offered(box, delivery(3, key="b", lossless=False), Overflow.DROP_OLDEST) == 2
    box.release("a")
    assert taken(box) == [1, 3]
    assert len(box) == 0


def test_lossless_deliveries_share_a_lossy_mailbox_and_stay() -> None:
    box = Mailbox(2)
    for n in range(3):
        assert offered(box, delivery(n), Overflow.BLOCK) is None
    assert offered(box, delivery(3, lossless=False), Overflow.DROP_OLDEST) == 3
    assert taken(box) == [0, 1, 2]


def test_latest_value_takes_the_place_of_the_one_that_waits() -> None:
    box = Mailbox()
    lost = [offered(box, delivery(n, key=key, lossless=False), Overflow.LATEST_BY_KEY) for n, key in enumerate("abaab")]
    assert lost == [None, None, 0, 2, 1]
    assert len(box) == 2
    assert taken(box) == [3, 4]
    assert (box.conflated, box.gaps) == (3, 2)


def test_every_conflated_stretch_is_one_gap() -> None:
    box = Mailbox()
    for n in range(3):
        box.offer(delivery(n, key="a", lossless=False), Overflow.LATEST_BY_KEY)
    assert taken(box) == [2]
    box.release("a")
    for n in range(3, 8):
        box.offer(delivery(n, key="a", lossless=False), Overflow.LATEST_BY_KEY)
    assert taken(box) == [7]
    assert (box.conflated, box.gaps) == (6, 2)


def test_value_behind_a_busy_key_is_conflated_too() -> None:
    box = Mailbox()
    box.offer(delivery(0, key="a", lossless=False), Overflow.LATEST_BY_KEY)
    assert taken(box) == [0]
    box.offer(delivery(1, key="a", lossless=False), Overflow.LATEST_BY_KEY)
    assert taken(box) == []
    assert offered(box, delivery(2, key="a", lossless=False), Overflow.LATEST_BY_KEY) == 1
    box.release("a")
    assert taken(box) == [2]


def test_values_of_two_types_are_not_mixed_up() -> None:
    box = Mailbox()
    one, other = delivery(0, key="a", lossless=False), delivery(1, key="a", lossless=False)
    other.event = Event("mail.read", payload={"n": 1})
    box.offer(one, Overflow.LATEST_BY_KEY)
    assert box.offer(other, Overflow.LATEST_BY_KEY) is None
    assert len(box) == 2


# --- ends ---------------------------------------------------------------------------------------------------------------


def test_clear_gives_everything_back_once() -> None:
    box = filled(delivery(0, key="a"), delivery(1, key="a"), delivery(2, key="b"), delivery(3, urgent=True))
    box.offer(delivery(4, key="v", lossless=False), Overflow.LATEST_BY_KEY)
    box.offer(delivery(5, key="v", lossless=False), Overflow.LATEST_BY_KEY)
    assert numbers([box.take()]) == [3]  # type: ignore[list-item] # there is one
    assert taken(box)[:1] == [0]
    gone = numbers(box.clear())
    assert gone == [1]
    assert len(box) == 0
    assert box.take() is None
    assert list(box) == []


def test_oldest_is_the_one_that_waited_longest() -> None:
    box = filled(delivery(3), delivery(1, urgent=True), delivery(2, key="a"))
    oldest = box.oldest()
    assert oldest is not None
    assert oldest.event["n"] == 1
    assert Mailbox().oldest() is None


@given(
    st.lists(
        st.tuples(st.sampled_from(["offer", "take", "release", "back"]), st.integers(0, 2), st.booleans()), max_size=60
    )
)
def test_keys_keep_their_order_and_never_overlap(acts: list[tuple[str, int, bool]]) -> None:
    box, running, started, n = Mailbox(), dict[Any, Delivery](), list[Delivery](), 0
    for act, key, urgent in acts:
        match act:
            case "offer":
                box.offer(delivery(n, key=key, urgent=urgent and not n % 7), Overflow.BLOCK)
                n += 1
            case "take":
                one = box.take()
                if one is not None:
                    assert one.key not in running
                    running[one.key] = one
                    if one not in started:
                        started.append(one)
            case "release" if key in running:
                del running[key]
                box.release(key)
            case "back" if key in running:
                box.put_back(running.pop(key))
    assert len(box) + len(set(started) - set(box)) == n
    for key in range(3):
        mine = [one.accepted_ns for one in started if one.key == key and not one.is_urgent]
        assert mine == sorted(mine)
