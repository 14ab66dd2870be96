"""A run decides the same, whoever listens, however slow, and whatever comes later in the data."""

from __future__ import annotations

import asyncio
import hashlib
import random
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from eventbus import Event, InMemoryEventBus
from quantum_trader.app import build, load_feed
from quantum_trader.config import Config, load_config
from quantum_trader.events import (
    HealthStatusChangedEvent,
    MetricRecordedEvent,
    OrderApprovedEvent,
    RunCompletedEvent,
    SessionDecideEvent,
    TradeExecutedEvent,
    is_decision,
)
from quantum_trader.market.dataset import Dataset, load_dataset
from quantum_trader.model import HealthStatus
from quantum_trader.monitoring.runtime import LAG


@pytest.fixture(scope="module")
def config() -> Config:
    return load_config(environ={}, overrides={"universe": {"end": "2001-06-30"}, "strategies": {"all_live": True}})


@pytest.fixture(scope="module")
def feed(config: Config) -> Dataset:
    return load_feed(config)


async def run(
    config: Config,
    feed: Dataset,
    *,
    onlooker: Callable[[Event], Any] | None = None,
    companion: Callable[[InMemoryEventBus, Event], Any] | None = None,
) -> RunCompletedEvent:
    """A run; an onlooker gets every event, a companion the bus too."""
    bus = InMemoryEventBus(max_queue_size=100_000)
    system = build(bus, config, feed)
    if onlooker is not None:
        bus.subscribe("*", onlooker, name="onlooker")
    if companion is not None:
        bus.subscribe("*", partial(companion, bus), name="companion")
    async with bus:
        completed = await system.run()
    system.close()
    assert len(bus.dead_letters) == 0
    return completed


async def test_two_runs_have_one_digest_and_so_has_one_with_a_slow_onlooker(config: Config, feed: Dataset) -> None:
    dice = random.Random(4)

    async def slow(event: Event) -> None:
        for _ in range(dice.randrange(4)):
            await asyncio.sleep(0)

    first, second = await run(config, feed), await run(config, feed)
    third = await run(config, feed, onlooker=slow)
    assert first.det_events > 3_000
    assert (first.digest, first.det_events) == (second.digest, second.det_events) == (third.digest, third.det_events)


async def test_an_onlooker_in_a_thread_changes_nothing(config: Config, feed: Dataset) -> None:
    seen = threading.Semaphore(0)

    def count(_event: Event) -> None:
        seen.release()

    assert (await run(config, feed, onlooker=count)).digest == (await run(config, feed)).digest


async def test_a_struggling_machine_is_told_and_changes_nothing_that_is_decided(config: Config, feed: Dataset) -> None:
    told: list[HealthStatusChangedEvent] = []

    async def struggle(bus: InMemoryEventBus, event: Event) -> None:
        if isinstance(event, SessionDecideEvent):
            for at in range(5):
                value = 100.0 if event.session % 60 == 59 else 1.0 + 0.1 * (at % 3)
                await bus.publish(
                    MetricRecordedEvent(metric=LAG, value=value, unit="", clock="wall", session=event.session)
                )
        elif isinstance(event, HealthStatusChangedEvent) and event.component == "RUNTIME":
            told.append(event)

    troubled = await run(config, feed, companion=struggle)
    assert {event.new_status for event in told} >= {HealthStatus.DEGRADED, HealthStatus.HEALTHY}
    assert all(event.overall_old is event.overall_new for event in told)
    assert troubled.digest == (await run(config, feed)).digest


async def test_another_setting_is_another_digest(config: Config, feed: Dataset) -> None:
    costly = config.model_copy(update={"execution": config.execution.model_copy(update={"half_spread_bp": 9.0})})
    assert (await run(costly, feed)).digest != (await run(config, feed)).digest


async def stream(config: Config, feed: Dataset, sessions: int) -> list[str]:
    """A digest of the decision events of each of the first `sessions` sessions."""
    bus = InMemoryEventBus(max_queue_size=100_000)
    system = build(bus, config, feed)
    lines: dict[int, list[str]] = {}

    async def keep(event: Event) -> None:
        session = event.get("session")
        if is_decision(event) and session is not None and session < sessions:
            text = event.model_dump_json(exclude={"event_id", "correlation_id", "causation_id"})
            lines.setdefault(session, []).append(f"{event.type} {text}")

    bus.subscribe("*", keep, name="keep")
    async with bus:
        await system.run()
    system.close()
    return [
        hashlib.sha256("\n".join(sorted(found)).encode()).hexdigest()
        for session, found in sorted(lines.items())
        if session >= 0
    ]


async def test_what_comes_later_changes_nothing_before_it(config: Config, feed: Dataset) -> None:
    dice = random.Random(20)
    cuts = sorted(dice.sample(range(60, len(feed)), 5))
    whole = await stream(config, feed, cuts[-1])
    for cut in cuts:
        part = Dataset(feed.name, feed.file, feed.sha256, feed.symbols, feed.sessions[:cut])
        assert await stream(config, part, cut) == whole[:cut]


async def test_every_fill_descends_from_an_approval(config: Config, feed: Dataset) -> None:
    bus = InMemoryEventBus(max_queue_size=100_000)
    system = build(bus, config, feed)
    approved: set[str] = set()
    strangers: list[str] = []

    async def on_approved(event: OrderApprovedEvent) -> None:
        approved.add(event.order_id)

    async def on_trade(event: TradeExecutedEvent) -> None:
        if event.order_id.partition(":")[0] not in approved:
            strangers.append(event.order_id)

    bus.subscribe(OrderApprovedEvent, on_approved)
    bus.subscribe(TradeExecutedEvent, on_trade)
    async with bus:
        await system.run()
    system.close()
    assert approved
    assert strangers == []


def test_shipped_data_is_what_the_default_configuration_runs() -> None:
    assert load_feed(load_config(environ={})).bar_count == load_dataset().bar_count == 12_154
