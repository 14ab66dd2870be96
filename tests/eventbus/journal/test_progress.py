"""The progress of a group equals that of a plain set of offsets, whatever the order of acks."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventbus.journal.progress import GroupProgress, OffsetRanges
from eventbus.journal.values import Settled, Status

OFFSETS = st.integers(1, 40)
RANGES = st.tuples(OFFSETS, st.integers(0, 8)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@given(st.lists(RANGES))
def test_ranges_hold_what_a_set_holds(added: list[tuple[int, int]]) -> None:
    ranges = OffsetRanges(added)
    plain = {offset for first, last in added for offset in range(first, last + 1)}
    assert {offset for offset in range(60) if offset in ranges} == plain
    spans = list(ranges)
    assert all(last + 1 < first for (_, last), (first, _) in pairwise(spans))


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("begin"), st.lists(OFFSETS, unique=True)),
        st.tuples(st.just("settle"), st.lists(OFFSETS)),
        st.tuples(st.just("skip"), st.lists(RANGES)),
    ),
    max_size=20,
)


@given(st.integers(0, 5), STEPS)
def test_progress_equals_a_plain_set(start: int, steps: list[tuple[str, Any]]) -> None:
    progress = GroupProgress("g", start)
    settled = set(range(1, start + 1))
    attempts: dict[int, int] = {}
    succeeded = 0
    for step in steps:
        match step:
            case "begin", offsets:
                counts = progress.begin(offsets)
                assert counts == {offset: attempts.get(offset, 0) + 1 for offset in offsets}
                attempts.update({offset: n for offset, n in counts.items() if offset not in settled})
            case "settle", offsets:
                fresh = progress.settle([Settled(offset) for offset in offsets])
                assert [delivery.offset for delivery in fresh] == [
                    offset for offset in dict.fromkeys(offsets) if offset not in settled
                ]
                succeeded += len(fresh)
                settled.update(offsets)
            case "skip", ranges:
                progress.skip(ranges)
                settled.update(offset for first, last in ranges for offset in range(first, last + 1))
        attempts = {offset: n for offset, n in attempts.items() if offset not in settled}
        progress = GroupProgress.from_fields("g", *progress.fields())
        cursor = progress.cursor()
        assert cursor.floor == next(offset for offset in range(100) if offset + 1 not in settled)
        assert {offset for offset in range(1, 60) if cursor.is_settled(offset)} == settled
        assert cursor.attempts == attempts
        assert cursor.totals.get(Status.SUCCEEDED, 0) == succeeded


def test_a_backlog_in_its_first_pass_is_short_to_keep() -> None:
    progress = GroupProgress("g", 0)
    progress.begin(range(1, 10_001))
    progress.settle([Settled(offset) for offset in range(2, 9_000)])
    assert progress.fields() == (0, "2-8999", "1-1:1 9000-10000:1", "succeeded:8998")


@pytest.mark.parametrize("fields", [(0, "2", "", ""), (0, "", "1-2", ""), (0, "", "", "fine"), (0, "a-b", "", "")])
def test_text_that_was_never_written_is_refused(fields: tuple[int, str, str, str]) -> None:
    with pytest.raises(ValueError, match=r"unpack|invalid"):
        GroupProgress.from_fields("g", *fields)
