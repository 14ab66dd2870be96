"""Stats: a snapshot is of one moment, whatever is counted after it."""

from __future__ import annotations

from eventbus import Event, InMemoryEventBus


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
