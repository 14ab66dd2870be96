"""Causality: what led to what, for however many events, and how it prints."""

from __future__ import annotations

import weakref
from datetime import UTC, datetime, timedelta

import pytest

from eventbus import Event
from eventbus.causality import Explanation, Handled, History, explain

START = datetime(2026, 1, 1, tzinfo=UTC)


def event(name: str, cause: str | None = None, second: float = 0) -> Event:
    return Event("a.b", timestamp=START + timedelta(seconds=second), event_id=name, causation_id=cause)


FAMILY = [
    event("root"),
    event("x", "root", 1),
    event("other"),
    event("y", "x", 1.5),
    event("z", "x", 3),
    event("w", "z", 3),
]


def ids(events: object) -> list[str]:
    return [each.event_id for each in events]  # type: ignore[attr-defined] # any iterable of events


def test_parents_come_nearest_first_and_children_in_order() -> None:
    told = explain("x", FAMILY)
    assert (ids(told.ancestors), ids(told.descendants), told.root.event_id) == (["root"], ["y", "z", "w"], "root")
    assert ids(told) == ["root", "x", "y", "z", "w"]
    assert [(depth, each.event_id) for depth, each in told.walk()] == [
        (0, "root"),
        (1, "x"),
        (2, "y"),
        (2, "z"),
        (3, "w"),
    ]
    assert [told.after_cause_s(each) for each in told] == [None, 1, 0.5, 2, 0]


def test_it_prints_as_a_tree_with_times_and_handling() -> None:
    told = Explanation(FAMILY[1], (FAMILY[0],), (FAMILY[3],), {"y": (Handled("ledger", "succeeded", 2, 0, 0.002),)})
    assert str(told).splitlines() == [
        "a.b root",
        "└─ a.b x +1 s ◀",
        "   └─ a.b y +500 ms [ledger succeeded in 2 ms after 2 attempts]",
    ]


@pytest.mark.parametrize("asked", ["0", "5000", "9999"])
def test_a_long_chain_is_explained_and_printed(asked: str) -> None:
    chain = [event("0"), *(event(str(n), str(n - 1), n) for n in range(1, 10_000))]
    told = explain(asked, chain)
    assert ids(told) == [str(n) for n in range(10_000)]
    text = str(told)
    assert len(text.splitlines()) == 10_000
    assert len(text) < 3_000_000, "a line is not as long as the chain is deep"
    assert "└─ (9999) a.b 9999 +1 s" in text


def test_work_grows_with_the_number_of_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """Events are not compared with one another, nor looked for one by one."""
    monkeypatch.setattr(Event, "__eq__", lambda *_: pytest.fail("compared"))
    events = [event("0"), *(event(str(n), "0") for n in range(1, 2_000))]
    told = explain("0", events)
    assert len(str(told).splitlines()) == 2_000
    assert {told.after_cause_s(each) for each in told} == {None, 0}


def test_events_that_cause_each_other_end() -> None:
    circle = [event("a", "b"), event("b", "a")]
    told = explain("a", circle)
    assert ids(told.ancestors) == ["b"]
    assert str(told)


def test_what_is_not_there_is_said() -> None:
    with pytest.raises(LookupError, match="history="):
        explain("gone", FAMILY)


class Pending:
    """A burst of which nothing has become anything yet."""

    hops = 0

    def outcomes(self, _index: int) -> None:
        """None has an outcome."""


PENDING = Pending()


def test_history_holds_the_last_events_of_whole_bursts() -> None:
    history = History(5)
    for first in range(0, 12, 3):
        history.remember([event(str(n)) for n in range(first, first + 3)], PENDING)
    assert ids(history) == ["7", "8", "9", "10", "11"]


def test_history_holds_the_end_of_a_burst_that_is_larger() -> None:
    history, burst = History(3), [event(str(n)) for n in range(4)]
    history.remember(burst, PENDING)
    assert ids(history) == ["1", "2", "3"]
    history.remember([event("4")], PENDING)
    assert ids(history) == ["2", "3", "4"]
    assert history.explain("3").event is burst[3]


def test_history_lets_go_of_what_is_beyond_its_size() -> None:
    asked: list[int] = []

    class Asked(Pending):
        hops = 2

        def outcomes(self, index: int) -> None:
            asked.append(index)

    history, burst = History(1), [event(str(n)) for n in range(3)]
    gone = weakref.ref(burst[1])
    history.remember(burst, Asked())
    del burst[:2]
    assert gone() is None
    assert ids(history) == ["2"]
    assert history.hops_of(burst[0]) == 2
    history.handled(burst)
    assert asked == [2], "the place in the burst, not among those that are left"


def test_history_lets_go_of_old_bursts() -> None:
    history = History(10)
    for n in range(1_000):
        history.remember([event(str(n)), event(f"{n}'")], PENDING)
    assert len(history._bursts) <= 6


def test_history_of_no_size_remembers_nothing() -> None:
    history = History(0)
    history.remember(FAMILY, PENDING)
    assert ids(history) == []
