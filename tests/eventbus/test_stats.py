"""Stats: a snapshot is of one moment, a total is the sum of its parts, a quantile lies within its bucket."""

from __future__ import annotations

import math
import sys
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from eventbus import Event, InMemoryEventBus, Status
from eventbus.stats import Histogram, Raised, Tally


async def ignore(_event: Event) -> None:
    """A handler for whom everything is well."""


async def test_a_snapshot_stays_as_it_was_taken(event_bus: InMemoryEventBus) -> None:
    event_bus.subscribe("a.b", ignore)
    for _ in range(3):
        await event_bus.publish("a.b")
    await event_bus.drain()
    stats = event_bus.stats()
    (row,) = stats.subscriptions
    before = row.ran.count, row.ran.total_ns, row.ran.buckets(), row.p50_ms, row.p99_ms
    dispatched = stats.dispatch.count, stats.dispatch.buckets(), stats.dispatch_p99_ms
    assert row.ran.count == row.succeeded == stats.dispatch.count == 3
    for _ in range(600):
        await event_bus.publish("a.b")
    await event_bus.drain()
    assert (row.ran.count, row.ran.total_ns, row.ran.buckets(), row.p50_ms, row.p99_ms) == before
    assert (stats.dispatch.count, stats.dispatch.buckets(), stats.dispatch_p99_ms) == dispatched
    assert event_bus.stats().subscriptions[0].ran.count == 603


async def test_the_time_that_handlers_ran_is_what_the_snapshot_adds_up_to(event_bus: InMemoryEventBus) -> None:
    event_bus.subscribe("a.*", ignore)
    event_bus.subscribe("a.b", ignore)
    assert event_bus.run_time() == (0, 0)
    for _ in range(300):
        await event_bus.publish("a.b")
    await event_bus.drain()
    rows = event_bus.stats().subscriptions
    assert event_bus.run_time() == (600, sum(row.ran.total_ns for row in rows))


durations = st.lists(st.tuples(st.integers(0, 10**12), st.integers(1, 5)), min_size=1, max_size=50)


@given(durations, st.floats(0.01, 1))
def test_a_quantile_is_within_its_bucket(entered: list[tuple[int, int]], share: float) -> None:
    histogram = Histogram()
    for duration_ns, times in entered:
        histogram.add(duration_ns, times)
    each = sorted(duration_ns for duration_ns, times in entered for _ in range(times))
    exact = each[math.ceil(share * len(each)) - 1]
    assert exact <= histogram.quantile(share) * 1e9 * (1 + 1e-9) <= max(exact, 1) * 1.34 + 1
    assert (histogram.count, histogram.total_ns) == (len(each), sum(each))
    assert histogram.buckets()[-1][1] == len(each)
    assert histogram.mean_ns == sum(each) / len(each)


def test_a_histogram_takes_memory_for_what_it_holds() -> None:
    histogram = Histogram()
    for _ in range(10_000):
        histogram.add(1_200)
    assert sys.getsizeof(histogram._counts) < 300
    assert Histogram().quantile(0.5) == Histogram().mean_ns == 0.0


counts = st.lists(
    st.one_of(
        st.tuples(st.just("accept"), st.tuples(st.integers(1, 9))),
        st.tuples(st.just("ended"), st.tuples(st.sampled_from(Status), st.integers(1, 9))),
        st.tuples(st.just("attempted"), st.tuples(st.integers(0, 10**9), st.integers(1, 9))),
        st.tuples(st.sampled_from(["failed", "retries", "abandons"]), st.just(())),
        st.tuples(st.just("conflates"), st.tuples(st.integers(0, 9), st.integers(0, 9))),
    )
)


@given(counts, counts)
def test_the_total_is_the_sum_of_its_parts(one_does: list[Any], other_does: list[Any]) -> None:
    total = Tally()
    one, other = Tally(total), Tally(total)
    for tally, does in ((one, one_does), (other, other_does)):
        for verb, arguments in does:
            getattr(tally, verb)(*arguments)
    for name in (*Status, "accepted", "pending", "errors", "retried", "abandoned", "conflated", "gaps"):
        assert getattr(total, name) == getattr(one, name) + getattr(other, name), name
    assert total.attempts == one.ran.count + other.ran.count
    assert total.ran_ns == one.ran.total_ns + other.ran.total_ns


def test_what_was_raised_is_counted_by_name_and_names_are_bounded() -> None:
    raised = Raised()
    for number in range(150):
        raised.add(type(f"Error{number}", (Exception,), {})())
    raised.add(type("Error0", (Exception,), {})())
    counts = raised.by_name()
    assert list(counts)[:2] == ["Error0", "Error1"]
    assert (counts["Error0"], counts["other"], len(counts)) == (2, 50, 101)
