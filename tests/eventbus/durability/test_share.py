"""What is known of one part: others' events are passed over in ranges, outcomes are kept until committed, or lost with the lease."""

from __future__ import annotations

import math

from eventbus import Event, Policy
from eventbus.durability.share import MOST, Share, part_for
from eventbus.journal.shared import Lease
from eventbus.journal.values import Cursor, Settled


def share(floor: int = 10) -> Share:
    return Share(Lease("books/3", 7, 10.0), Cursor("books/3", floor), math.inf)


def test_everything_between_what_it_met_is_passed_over() -> None:
    mine = share()
    assert mine.part == 3
    assert [mine.met(offset) for offset in (13, 13, 14, 20)] == [True, False, True, True]
    mine.read_upto(22)
    assert mine.take().skipped == [(11, 12), (15, 19), (21, 22)]
    assert mine.position == 22


def test_an_outcome_counts_as_unfinished_until_it_is_committed() -> None:
    mine = share()
    mine.begins(2)
    mine.ended(1)
    mine.settle(Settled(11))
    assert (mine.pending, mine.unfinished, mine.has_outcomes) == (1, 2, True)
    news = mine.take()
    assert mine.unfinished == 2
    mine.put_back(news)
    assert mine.take().settled == [Settled(11)]
    mine.committed()
    assert mine.unfinished == 1


def test_what_has_an_outcome_makes_room_and_starts_nothing_before_it_is_committed() -> None:
    mine = share()
    mine.begins(MOST)
    assert (mine.room, mine.is_within) == (0, True)
    for offset in range(11, 11 + MOST // 2):
        mine.ended(1)
        mine.settle(Settled(offset))
    assert mine.room == MOST // 2
    mine.begins(1)
    assert not mine.is_within
    mine.take()
    mine.committed()
    assert mine.is_within


def test_with_the_lease_everything_that_was_known_is_lost() -> None:
    mine = share()
    mine.settle(Settled(11))
    mine.lose()
    assert not mine.has_news
    assert not mine.may_start(0)


def test_nothing_starts_from_its_local_deadline_on_and_a_renewal_never_shortens_it() -> None:
    mine = Share(Lease("books/0", 1, 10.0), Cursor("books/0", 0), 100)
    assert (mine.may_start(99), mine.may_start(100)) == (True, False)
    mine.renewed(50)
    assert mine.may_start(99)
    mine.renewed(200)
    assert mine.may_start(199)


def test_a_part_follows_from_the_key_or_the_id_alone() -> None:
    events = [Event("t.x", payload={"account": n % 5}) for n in range(40)]
    parts = [part_for(Policy(key="account"), 16, event, "") for event in events]
    assert {(event["account"], part) for event, part in zip(events, parts, strict=True)} == {
        (n, parts[n]) for n in range(5)
    }
    assert len({part_for(Policy(), 16, event, "") for event in events}) > 5
    assert part_for(Policy(), 16, None, events[0].event_id) == part_for(Policy(), 16, events[0], "")
