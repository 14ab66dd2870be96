"""Stats: what looking costs, on a bus with a thousand subscriptions that have all worked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.rows import Now, Row, Run, at_most
from benchmarks.sides import Counted, counted
from eventbus import InMemoryEventBus
from eventbus.observability import metrics_text

EVENTS = 20  # handled by each subscription beforehand


def on_busy_bus(look: Callable[[InMemoryEventBus, Now], float]) -> Run:
    async def run(count: int, now: Now) -> float:
        bus, handled = InMemoryEventBus(), 0

        async def on_event(_event: Any) -> None:
            nonlocal handled
            handled += 1

        for _ in range(count):
            bus.subscribe(Counted, on_event)
        async with bus:
            for event in counted(EVENTS):
                await bus.publish_and_wait(event)
            if handled != count * EVENTS:
                raise AssertionError(f"{handled} deliveries")
            return look(bus, now)

    return run


def stats_ms(bus: InMemoryEventBus, now: Now) -> float:
    began = now()
    bus.get_stats()
    return (now() - began) * 1e3


def scrape_ms(bus: InMemoryEventBus, now: Now) -> float:
    began = now()
    metrics_text(bus)
    return (now() - began) * 1e3


def page_kb(bus: InMemoryEventBus, _now: Now) -> float:
    return len(metrics_text(bus).encode()) / 1_024


ROWS = (
    Row("`get_stats()` with 1,000 subscriptions", at_most(3, "ms"), on_busy_bus(stats_ms), count=1_000),
    Row("a scrape with 1,000 subscriptions", at_most(40, "ms"), on_busy_bus(scrape_ms), count=1_000),
    Row("the page of that scrape", at_most(500, "KB"), on_busy_bus(page_kb), count=1_000, rounds=1),
)
