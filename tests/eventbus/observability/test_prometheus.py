from __future__ import annotations

import asyncio
import threading
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from eventbus import Event, InMemoryEventBus, Kind, PolicyConflict, Retry, create_event_bus
from eventbus.observability import LoopWatchdog, MetricsCollector, MetricsPortUnavailable, metrics_text, serve_metrics
from eventbus.observability.reading import EDGES, Durations
from eventbus.stats import Histogram
from eventbus.testing import VirtualClock, settle
from eventbus.testing.gateway import until
from eventbus.testing.servers.found import free_port

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


class Measured(Event, type="metrics.measured", kind=Kind.SIGNAL):
    """Something was measured."""

    n: int = 0


@pytest.fixture
async def bus() -> Any:
    bus = InMemoryEventBus()
    async with bus:
        yield bus


def samples(text: str) -> Samples:
    """By name and labels; each page here is of one bus, which every series names."""
    page: Samples = {}
    buses = set()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            buses.add(sample.labels.pop("bus"))
            series = sample.name, frozenset(sample.labels.items())
            assert series not in page, "a series stands on the page twice"
            page[series] = sample.value
    assert len(buses) == 1
    return page


def value(page: Samples, name: str, **labels: str) -> float:
    return page[name, frozenset(labels.items())]


def total(page: Samples, name: str, **labels: str) -> float:
    return sum(number for (other, given), number in page.items() if other == name and given >= set(labels.items()))


def subscriptions(page: Samples) -> set[str]:
    return {text for _name, given in page for label, text in given if label == "subscription"}


def counters(page: Samples) -> Iterator[tuple[tuple[str, frozenset[tuple[str, str]]], float]]:
    return ((series, number) for series, number in page.items() if series[0].endswith(("_total", "_count", "_bucket")))


def assert_adds_up(page: Samples) -> None:
    """C3, on the page: per subscription and in all."""
    for name in subscriptions(page):
        pending = value(page, "eventbus_pending_deliveries", subscription=name)
        settled = total(page, "eventbus_settled_deliveries_total", subscription=name)
        assert value(page, "eventbus_accepted_deliveries_total", subscription=name) == settled + pending, name
        states = ("queued_deliveries", "in_flight_deliveries", "retrying_deliveries")
        assert pending == sum(value(page, f"eventbus_{state}", subscription=name) for state in states), name
    dispatched = total(page, "eventbus_dispatched_events_total")
    assert value(page, "eventbus_published_events_total") == dispatched + value(page, "eventbus_queued_events")


async def test_page_equals_what_happened(bus: InMemoryEventBus) -> None:
    async def fail_at_times(event: Event) -> None:
        if event["n"] % 3 == 0:
            raise ValueError("no")

    async def fine(_event: Event) -> None: ...

    bus.subscribe(Measured, fail_at_times, name="picky", retry=Retry(attempts=2, delay=0.0))
    bus.subscribe("metrics.*", fine, name="fine")
    for n in range(30):
        await bus.publish(Measured(n=n))
    await bus.drain()
    page = samples(metrics_text(bus))
    assert_adds_up(page)
    assert value(page, "eventbus_published_events_total") == 30
    assert value(page, "eventbus_dispatched_events_total", type="metrics.measured", kind="signal") == 30
    assert value(page, "eventbus_settled_deliveries_total", subscription="picky", outcome="dead_lettered") == 10
    assert value(page, "eventbus_settled_deliveries_total", subscription="picky", outcome="succeeded") == 20
    assert value(page, "eventbus_settled_deliveries_total", subscription="fine", outcome="succeeded") == 30
    assert value(page, "eventbus_failed_attempts_total", subscription="picky") == 20
    assert value(page, "eventbus_retried_attempts_total", subscription="picky") == 10
    assert value(page, "eventbus_handler_run_seconds_count", subscription="picky") == 40
    assert value(page, "eventbus_kept_dead_letters") == 10


async def test_counters_never_go_down_while_subscriptions_come_and_go(bus: InMemoryEventBus) -> None:
    collector = MetricsCollector(bus)
    before: Samples = {}

    async def fine(_event: Event) -> None: ...

    for _ in range(5):
        kept = bus.subscribe(Measured, fine, name="same name")
        unseen = bus.subscribe(Measured, fine, name="unseen")
        await bus.publish(Measured())
        await bus.drain()
        await unseen.cancel()
        page = samples(collector.text())
        kept.cancel()
        assert_adds_up(page)
        assert [series for series, number in before.items() if page[series] < number] == []
        before = dict(counters(page))
    assert total(before, "eventbus_accepted_deliveries_total") == 10
    assert value(before, "eventbus_accepted_deliveries_total", subscription="same name") == 5
    assert value(before, "eventbus_accepted_deliveries_total", subscription="other") == 5


async def test_cancelled_subscription_is_followed_to_the_end_of_its_attempt(bus: InMemoryEventBus) -> None:
    collector, gate, started = MetricsCollector(bus), asyncio.Event(), asyncio.Event()

    async def wait(_event: Event) -> None:
        started.set()
        await gate.wait()

    subscription = bus.subscribe(Measured, wait, name="slow")
    await bus.publish(Measured())
    await started.wait()
    collector.text()
    ended = subscription.cancel()
    page = samples(collector.text())
    assert_adds_up(page)
    assert value(page, "eventbus_in_flight_deliveries", subscription="slow") == 1
    gate.set()
    await ended
    page = samples(collector.text())
    assert_adds_up(page)
    assert value(page, "eventbus_settled_deliveries_total", subscription="slow", outcome="succeeded") == 1


async def test_type_that_nobody_names_is_other(bus: InMemoryEventBus) -> None:
    async def fine(_event: Event) -> None: ...

    bus.subscribe("named.adhoc", fine)
    bus.subscribe("*", fine)
    for n in range(20):
        await bus.publish(f"made.up.{n}", {"n": n})
    await bus.publish("named.adhoc", {})
    await bus.drain()
    page = samples(metrics_text(bus))
    types = {text for _name, given in page for label, text in given if label == "type"}
    assert types == {"named.adhoc", "other"}
    assert value(page, "eventbus_dispatched_events_total", type="other", kind="other") == 20


async def test_labels_are_bounded_and_hold_no_id(bus: InMemoryEventBus) -> None:
    async def fine(_event: Event) -> None: ...

    for n in range(1_100):
        bus.subscribe("nobody.publishes.this", fine, name=f"client {n}")
    event = Measured()
    await bus.publish(event)
    await bus.drain()
    text = metrics_text(bus)
    page = samples(text)
    labels = {label for _name, given in page for label, _text in given}
    assert labels <= {"type", "kind", "subscription", "outcome", "error", "group", "le"}
    assert len(subscriptions(page)) <= 5
    assert len(subscriptions(samples(MetricsCollector(bus, subscriptions=2_000).text()))) == 1_101
    assert event.event_id not in text


async def test_a_page_has_at_most_200_series_whatever_is_published_subscribed_and_raised(tmp_path: Path) -> None:
    async def fail(event: Event) -> None:
        raise type(f"Error{event['n'] % 40}", (Exception,), {})

    async def fine(_event: Event) -> None: ...

    bus = create_event_bus(f"sqlite:///{tmp_path / 'many.db'}")
    async with bus:
        for n in range(30):
            bus.subscribe(f"many.types.{n}", fine, name=f"group {n}", group=f"group {n}")
            bus.subscribe(f"many.types.{n}", fail, name=f"picky {n}", on_failure="drop")
        await asyncio.gather(*(bus.publish(f"many.types.{n % 30}", {"n": n}) for n in range(80)))
        await bus.drain()
        with LoopWatchdog(bus) as watchdog:
            text = MetricsCollector(bus, watchdog=watchdog).text()
            more = MetricsCollector(bus, subscriptions=60, types=30).text()
    page, asked = samples(text), samples(more)
    assert 100 < len(page) <= 166, "and 34 of a gateway"
    assert len({dict(given)["error"] for name, given in page if name == "eventbus_handler_failures_total"}) == 9
    assert total(page, "eventbus_handler_failures_total") == 80
    assert len(asked) > 1_000
    assert len({given for name, given in asked if name == "eventbus_journal_lag_events"}) == 30


async def test_failures_are_counted_by_what_was_raised(bus: InMemoryEventBus) -> None:
    async def fail(event: Event) -> None:
        raise (KeyError if event["n"] % 2 else TimeoutError)

    bus.subscribe(Measured, fail, retry=Retry(attempts=2, delay=0.0))
    for n in range(3):
        await bus.publish(Measured(n=n))
    await bus.drain()
    page = samples(metrics_text(bus))
    assert value(page, "eventbus_handler_failures_total", error="TimeoutError") == 4
    assert value(page, "eventbus_handler_failures_total", error="KeyError") == 2
    assert value(page, "eventbus_handler_failures_total", error="other") == 0


async def test_age_of_what_waits_is_that_of_the_oldest() -> None:
    clock = VirtualClock()
    bus = InMemoryEventBus(clock=clock)
    collector = MetricsCollector(bus, clock=clock)
    assert value(samples(collector.text()), "eventbus_queue_age_seconds") == 0
    bus.publish_nowait(Measured())
    clock.move(3)
    bus.publish_nowait(Measured())
    assert value(samples(collector.text()), "eventbus_queue_age_seconds") == 3, "to be routed"
    subscription = bus.subscribe(Measured, lambda _event: None)
    subscription.pause()
    async with bus:
        bus.publish_nowait(Measured())
        await settle()
        clock.move(2)
        assert value(samples(collector.text()), "eventbus_queue_age_seconds") == 2, "in a mailbox"
        subscription.resume()


async def test_journal_and_groups_tell_how_far_they_are(tmp_path: Path) -> None:
    gate, bus = asyncio.Event(), create_event_bus(f"sqlite:///{tmp_path / 'lag.db'}")

    async def wait(_event: Event) -> None:
        await gate.wait()

    collector = MetricsCollector(bus)
    assert "eventbus_journal" not in collector.text(), "nothing is known of a journal that is not open"
    bus.subscribe(Measured, wait, name="ledger", group="ledger")
    async with bus:
        for n in range(3):
            await bus.publish(Measured(n=n))
        await until(lambda: value(samples(collector.text()), "eventbus_journal_lag_events", group="ledger") == 3)
        page = samples(collector.text())
        assert value(page, "eventbus_held_leases", group="ledger") == 1
        assert value(page, "eventbus_group_parts", group="ledger") == 1
        assert value(page, "eventbus_journal_appended_events_total") == 3
        assert value(page, "eventbus_journal_end_offset") == 3
        assert value(page, "eventbus_failed_journals") == 0
        gate.set()
        await bus.drain()
        assert value(samples(collector.text()), "eventbus_journal_lag_events", group="ledger") == 0


async def test_lag_of_the_loop_is_what_the_page_had_to_wait_for_it(bus: InMemoryEventBus) -> None:
    collector = MetricsCollector(bus)
    assert value(samples(collector.text()), "eventbus_loop_lag_seconds_count") == 0, "asked on the loop itself"
    page = samples(await asyncio.to_thread(collector.text))
    assert value(page, "eventbus_loop_lag_seconds_count") == 1
    assert value(page, "eventbus_loop_lag_seconds_bucket", le="+Inf") == 1


async def test_lag_of_the_loop_is_measured_by_a_watchdog(bus: InMemoryEventBus) -> None:
    with LoopWatchdog(bus, 0.05) as watchdog:
        collector = MetricsCollector(bus, watchdog=watchdog)
        await until(lambda: value(samples(collector.text()), "eventbus_loop_lag_seconds_count") > 2)


async def test_what_has_no_series_of_its_own_is_added_up(bus: InMemoryEventBus) -> None:
    async def fail(_event: Event) -> None:
        raise ValueError

    for number in range(3):
        bus.subscribe(Measured, fail, name=f"client {number}")
    for n in range(5):
        await bus.publish(Measured(n=n))
    await bus.drain()
    page = samples(MetricsCollector(bus, subscriptions=1).text())
    assert_adds_up(page)
    assert subscriptions(page) == {"client 0", "other"}
    for name, deliveries in (("client 0", 5), ("other", 10)):
        assert value(page, "eventbus_failed_attempts_total", subscription=name) == deliveries
        assert (
            value(page, "eventbus_settled_deliveries_total", subscription=name, outcome="dead_lettered") == deliveries
        )
        assert value(page, "eventbus_handler_run_seconds_count", subscription=name) == deliveries


async def test_run_times_come_in_buckets_where_that_is_asked_for(bus: InMemoryEventBus) -> None:
    async def fine(_event: Event) -> None: ...

    bus.subscribe(Measured, fine, name="fine")
    await bus.publish(Measured())
    await bus.drain()
    assert total(samples(metrics_text(bus)), "eventbus_handler_run_seconds_bucket") == 0
    page = samples(MetricsCollector(bus, histograms=True).text())
    assert value(page, "eventbus_handler_run_seconds_bucket", subscription="fine", le="+Inf") == 1
    assert value(page, "eventbus_handler_run_seconds_count", subscription="fine") == 1


@pytest.mark.parametrize("wrong", [{"subscriptions": -1}, {"subscriptions": "all"}, {"histograms": "yes"}])
def test_what_cannot_be_asked_of_a_page_is_refused_by_its_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(PolicyConflict, match=next(iter(wrong))):
        MetricsCollector(InMemoryEventBus(), **wrong)


async def test_type_keeps_its_label_when_its_subscription_goes(bus: InMemoryEventBus) -> None:
    collector = MetricsCollector(bus)

    async def fine(_event: Event) -> None: ...

    await bus.publish("late.named", {})
    await bus.drain()
    first = samples(collector.text())
    bus.subscribe("late.named", fine)
    await bus.publish("late.named", {})
    await bus.drain()
    second = samples(collector.text())
    assert value(first, "eventbus_dispatched_events_total", type="other", kind="other") == 1
    assert value(second, "eventbus_dispatched_events_total", type="other", kind="other") == 2


async def test_page_is_served_to_another_thread(bus: InMemoryEventBus) -> None:
    await bus.publish(Measured())
    await bus.drain()
    with serve_metrics(bus, 0) as server:
        page = samples(await asyncio.to_thread(fetch, server.url))
    assert value(page, "eventbus_published_events_total") == 1
    assert value(page, "eventbus_running_dispatchers") == 1


async def test_blocked_loop_is_shown_by_its_last_reading(bus: InMemoryEventBus) -> None:
    collector = MetricsCollector(bus)
    fetched: list[str] = []

    def scrape() -> None:
        fetched.append(collector.text())

    async def hold_the_loop(_event: Event) -> None:
        thread = threading.Thread(target=scrape)
        thread.start()
        thread.join()  # the scrape waits for the loop, the loop for the scrape

    bus.subscribe(Measured, hold_the_loop)
    await bus.publish(Measured())
    await bus.drain()
    page = samples(fetched[0])
    assert value(page, "eventbus_published_events_total") == 0
    assert value(page, "eventbus_reading_age_seconds") > 0


def test_bus_without_a_loop_can_be_read() -> None:
    assert value(samples(metrics_text(InMemoryEventBus())), "eventbus_published_events_total") == 0


def test_busy_port_is_named_with_the_remedy() -> None:
    with (
        serve_metrics(InMemoryEventBus(), 0) as first,
        pytest.raises(MetricsPortUnavailable, match=f"metrics port {first.port} .* choose another port") as refused,
    ):
        serve_metrics(InMemoryEventBus(), first.port)
    assert refused.value.port == first.port


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 99_999), ("203.0.113.1", 0), ("a" * 64, 0)])
def test_impossible_address_is_named(host: str, port: int) -> None:
    with pytest.raises(MetricsPortUnavailable, match="choose another port"):
        serve_metrics(InMemoryEventBus(), port, host)


def test_port_is_free_after_close() -> None:
    port = free_port()
    for _ in range(2):
        serve_metrics(InMemoryEventBus(), port).close()


def test_global_registry_stays_untouched() -> None:
    before = {metric.name for metric in REGISTRY.collect()}
    serve_metrics(InMemoryEventBus(), 0).close()
    assert {metric.name for metric in REGISTRY.collect()} == before


def test_durations_are_counted_below_fixed_edges() -> None:
    histogram, exact = Histogram(), Counter[float]()
    for power in range(8, 37):
        for duration_ns in (2**power - 1, 2**power, 2**power + 1):
            histogram.add(duration_ns)
            exact.update(edge for edge in EDGES if duration_ns / 1e9 < edge)
    durations = Durations.of(histogram)
    assert durations.count == histogram.count
    assert durations.below == [exact[edge] for edge in EDGES]


def fetch(url: str) -> str:
    with urllib.request.urlopen(url) as answer:
        text: str = answer.read().decode()
    return text
