"""Page: the families of metrics that one reading of a bus is shown as, every series with the name of the bus.

Knows the names, help texts and labels of the page, and no registry, thread or server.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)

from eventbus.observability.reading import EDGES, OUTCOMES, Durations, Reading, Row

if TYPE_CHECKING:
    from eventbus.journal.values import JournalStats
    from eventbus.stats import GroupStats

_BY_SUBSCRIPTION = (
    ("accepted", "eventbus_accepted_deliveries", "Deliveries opened."),
    ("conflated", "eventbus_conflated_deliveries", "Dropped deliveries that a newer value of their key replaced."),
    ("gaps", "eventbus_conflation_gaps", "Stretches of conflation."),
    ("errors", "eventbus_failed_attempts", "Attempts that raised."),
    ("retried", "eventbus_retried_attempts", "Attempts that were scheduled again."),
    ("abandoned", "eventbus_abandoned_attempts", "Attempts left to themselves at their deadline."),
)
_LEVELS_BY_SUBSCRIPTION = (
    (
        "pending",
        "eventbus_pending_deliveries",
        "Deliveries without an outcome: queued, in flight or waiting to be retried.",
    ),
    ("queued", "eventbus_queued_deliveries", "Deliveries that wait in a mailbox."),
    ("in_flight", "eventbus_in_flight_deliveries", "Deliveries whose handler runs."),
    ("retry_wait", "eventbus_retrying_deliveries", "Deliveries that wait for their next attempt."),
)

_Numbers = Iterable[tuple[tuple[str, ...], float]]  # by the values of the labels


class Page:
    """Families whose samples all name the bus they are of."""

    def __init__(self, bus: str) -> None:
        self._bus = bus

    def counter(self, name: str, text: str, number: float) -> Metric:
        return self.counters(name, text, (), [((), number)])

    def gauge(self, name: str, text: str, number: float) -> Metric:
        return self.gauges(name, text, (), [((), number)])

    def counters(self, name: str, text: str, labels: tuple[str, ...], numbers: _Numbers) -> Metric:
        family = CounterMetricFamily(name, text, labels=("bus", *labels))
        for values, number in numbers:
            family.add_metric((self._bus, *values), number)
        return family

    def gauges(self, name: str, text: str, labels: tuple[str, ...], numbers: _Numbers) -> Metric:
        family = GaugeMetricFamily(name, text, labels=("bus", *labels))
        for values, number in numbers:
            family.add_metric((self._bus, *values), number)
        return family

    def histogram(
        self,
        name: str,
        text: str,
        labels: tuple[str, ...],
        rows: Mapping[tuple[str, ...], Durations],
        *,
        every: int = 1,
    ) -> Metric:
        """With a bucket for every edge, or every so many of them: each edge is twice the one before."""
        family = HistogramMetricFamily(name, text, labels=("bus", *labels))
        for values, durations in rows.items():
            if durations.count and not any(durations.below):  # only counted and summed up
                continue
            edges = [*zip(EDGES, durations.below, strict=True)][::every]
            buckets: list[Any] = [(repr(edge), float(below)) for edge, below in edges]
            buckets.append(("+Inf", float(durations.count)))
            family.add_metric((self._bus, *values), buckets, durations.total_s)
        return family

    def summary(
        self, name: str, text: str, labels: tuple[str, ...], rows: Mapping[tuple[str, ...], Durations]
    ) -> Metric:
        family = SummaryMetricFamily(name, text, labels=("bus", *labels))
        for values, durations in rows.items():
            family.add_metric((self._bus, *values), durations.count, durations.total_s)
        return family


def families(reading: Reading, *, histograms: bool) -> Iterator[Metric]:
    """The families of a page, in its order; with `histograms` run times come in buckets."""
    page, stats = Page(reading.bus), reading.stats
    yield page.counter("eventbus_published_events", "Events accepted.", stats.published)
    yield page.counters("eventbus_dispatched_events", "Events routed.", ("type", "kind"), reading.dispatched.items())
    yield page.gauge("eventbus_queued_events", "Events accepted and not yet routed.", stats.queue_size)
    yield page.counter(
        "eventbus_reserve_events", "Events that handlers published although the door was full.", stats.reserve_used
    )
    yield from _by_subscription(page, reading.rows, histograms=histograms)
    yield page.counters(
        "eventbus_handler_failures",
        "Attempts that raised, by the name of the exception.",
        ("error",),
        (((name,), count) for name, count in reading.raised.items()),
    )
    yield page.histogram(
        "eventbus_dispatch_latency_seconds",
        "From acceptance to the first attempt.",
        (),
        {(): reading.dispatch},
        every=2,
    )
    yield page.gauge(
        "eventbus_queue_age_seconds",
        "How long the event or delivery that waits longest, to be routed or in a mailbox, has waited.",
        reading.queue_age_s,
    )
    yield page.gauge("eventbus_kept_dead_letters", "Dead letters that are kept.", reading.dead_letters)
    yield page.counter("eventbus_replaced_threads", "Threads started in place of hung ones.", stats.replaced_threads)
    yield page.gauge("eventbus_halted_buses", "1 while EXECUTION events are refused.", int(reading.is_halted))
    yield page.gauge("eventbus_running_dispatchers", "1 while the dispatcher runs.", int(reading.is_running))
    yield page.gauge("eventbus_uptime_seconds", "Time since the bus was first started.", stats.uptime_s)
    if reading.journal is not None:
        yield from _of_journal(page, reading.journal)
    if reading.groups:
        yield from _by_group(page, reading.groups)


def _of_journal(page: Page, journal: JournalStats) -> Iterator[Metric]:
    yield page.counter("eventbus_journal_appended_events", "Events written to the journal here.", journal.appended)
    yield page.counter("eventbus_journal_commits", "Commits that wrote them.", journal.commits)
    yield page.gauge("eventbus_journal_end_offset", "The last place that is taken.", journal.last)
    yield page.gauge(
        "eventbus_journal_bytes", "What it takes on disk, its log included.", journal.file_bytes + journal.log_bytes
    )
    yield page.gauge("eventbus_failed_journals", "1 while nothing can be written.", int(journal.failure is not None))


def _by_group(page: Page, groups: Mapping[str, GroupStats]) -> Iterator[Metric]:
    label, rows = ("group",), groups.items()
    yield page.gauges(
        "eventbus_journal_lag_events",
        "Events of the journal that the group has not finished here: not read, or begun and not committed.",
        label,
        (((name,), group.lag) for name, group in rows),
    )
    yield page.gauges(
        "eventbus_group_parts", "Parts of the group.", label, (((name,), group.parts) for name, group in rows)
    )
    yield page.gauges(
        "eventbus_held_leases",
        "Parts of the group that are this process's.",
        label,
        (((name,), one.held) for name, one in rows),
    )


def _by_subscription(page: Page, rows: Mapping[str, Row], *, histograms: bool) -> Iterator[Metric]:
    yield page.counters(
        "eventbus_settled_deliveries",
        "Deliveries that ended, by how.",
        ("subscription", "outcome"),
        (((name, outcome), row.counts[outcome]) for name, row in rows.items() for outcome in OUTCOMES),
    )
    label = ("subscription",)
    for field, metric, text in _BY_SUBSCRIPTION:
        yield page.counters(metric, text, label, [((name,), row.counts[field]) for name, row in rows.items()])
    for field, metric, text in _LEVELS_BY_SUBSCRIPTION:
        yield page.gauges(metric, text, label, [((name,), row.levels[field]) for name, row in rows.items()])
    yield page.gauges(
        "eventbus_oldest_delivery_seconds",
        "How long the oldest has waited in a mailbox.",
        label,
        [((name,), row.oldest_age_s) for name, row in rows.items()],
    )
    ran: dict[tuple[str, ...], Durations] = {(name,): row.ran for name, row in rows.items()}
    shown = page.histogram if histograms else page.summary
    yield shown("eventbus_handler_run_seconds", "How long attempts ran.", label, ran)
