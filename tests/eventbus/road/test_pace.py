"""Pace: quick attempts share a reading of the clock, slow ones have one each, and what had to be looked at starts anew."""

from __future__ import annotations

import pytest

from eventbus.road.pace import Pace


def after(each_ns: int, stretches: int, pace: Pace | None = None) -> Pace:
    pace = pace or Pace()
    for _ in range(stretches):
        pace.went_well(each_ns)
    return pace


@pytest.mark.parametrize(("stretches", "together"), [(0, 1), (1, 2), (3, 8), (6, 64), (20, 64)])
def test_quick_ones_go_together_ever_more_up_to_a_number(stretches: int, together: int) -> None:
    assert after(1_000, stretches).together == together


@pytest.mark.parametrize("each_ns", [2_000_000, 10**12])
def test_slow_ones_go_one_by_one(each_ns: int) -> None:
    assert after(each_ns, 20).together == 1


def test_those_that_become_slow_go_together_no_more() -> None:
    assert after(2_000_000, 1, after(1_000, 20)).together == 1


def test_what_had_to_be_looked_at_says_where_to_stop_next_time() -> None:
    pace = after(1_000, 20)
    pace.was_broken(3)
    assert pace.together == 3
