"""A run decides the same, whoever listens, however slow, and whatever comes later in the data."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from eventbus import Event, InMemoryEventBus
from quantum_trader.app import build, load_feed, run_id_of
from quantum_trader.config import Config, load_config
from quantum_trader.events import (
    HealthStatusChangedEvent,
    MetricRecordedEvent,
    RunCompletedEvent,
    RunStartedEvent,
    SessionDecideEvent,
    is_decision,
)
from quantum_trader.identity import RunIds
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


@pytest.fixture(scope="module")
def usual(config: Config, feed: Dataset) -> RunCompletedEvent:
    """The run that every other is compared with."""
    return asyncio.run(run(config, feed))


async def test_two_runs_have_one_digest(config: Config, feed: Dataset, usual: RunCompletedEvent) -> None:
    again = await run(config, feed)
    assert usual.det_events > 3_000
    assert (again.digest, again.det_events) == (usual.digest, usual.det_events)


async def test_a_slow_onlooker_changes_nothing(config: Config, feed: Dataset, usual: RunCompletedEvent) -> None:
    dice = random.Random(4)

    async def slow(event: Event) -> None:
        for _ in range(dice.randrange(4)):
            await asyncio.sleep(0)

    assert (await run(config, feed, onlooker=slow)).digest == usual.digest


async def test_an_onlooker_in_a_thread_changes_nothing(config: Config, feed: Dataset, usual: RunCompletedEvent) -> None:
    seen = threading.Semaphore(0)

    def count(_event: Event) -> None:
        seen.release()

    assert (await run(config, feed, onlooker=count)).digest == usual.digest


async def test_a_machine_that_stalls_changes_nothing(config: Config, feed: Dataset, usual: RunCompletedEvent) -> None:
    """Every delivery is held up by turns of the loop or by work, differently each time."""
    dice = random.Random(5)

    async def stall(bus: InMemoryEventBus, event: Event) -> None:
        held = dice.choice(bus.subscriptions)
        if dice.random() < 0.05 and held.name != "companion":
            held.pause()
            for _ in range(dice.randrange(20)):
                await asyncio.sleep(0)
            held.resume()
        sum(range(dice.randrange(2_000)))

    assert (await run(config, feed, companion=stall)).digest == usual.digest


async def test_what_an_onlooker_of_operations_chokes_on_changes_nothing(
    config: Config, feed: Dataset, usual: RunCompletedEvent
) -> None:
    async def choke(event: Event) -> None:
        raise RuntimeError("no room on the dashboard")

    bus = InMemoryEventBus(max_queue_size=100_000)
    system = build(bus, config, feed)
    for topic in ("queue.*", "notification.*", "spc.*"):
        bus.subscribe(topic, choke, name=f"dashboard.{topic}")
    async with bus:
        completed = await system.run()
    system.close()
    assert len(bus.dead_letters) > 0
    assert completed.digest == usual.digest


def test_another_process_with_other_hashes_decides_the_same() -> None:
    """Sets of texts are walked in another order in every process; one digest means that no decision follows it."""
    code = (
        "import asyncio, sys; from eventbus import InMemoryEventBus; from quantum_trader.app import build, load_feed;"
        "from quantum_trader.config import load_config;"
        "config = load_config(environ={}, overrides={'universe': {'end': '2001-12-31'}}); feed = load_feed(config)\n"
        "async def main():\n"
        "    async with InMemoryEventBus(max_queue_size=100_000) as bus:\n"
        "        print((await build(bus, config, feed).run()).digest)\n"
        "asyncio.run(main())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1
    assert len(digests.pop().strip()) == 64


async def test_a_struggling_machine_is_told_and_changes_nothing_that_is_decided(
    config: Config, feed: Dataset, usual: RunCompletedEvent
) -> None:
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
    assert troubled.digest == usual.digest


async def test_another_setting_is_another_digest(config: Config, feed: Dataset, usual: RunCompletedEvent) -> None:
    costly = config.model_copy(update={"execution": config.execution.model_copy(update={"half_spread_bp": 9.0})})
    assert (await run(costly, feed)).digest != usual.digest


async def stream(config: Config, feed: Dataset) -> list[str]:
    """A digest for each session: of every decision event up to its last barrier, ids and causes included."""
    ids = RunIds(run_id_of(config))
    bus = InMemoryEventBus(max_queue_size=100_000, identify=ids)
    system = build(bus, config, feed, ids=ids)
    pending: list[str] = []
    digests: list[str] = []

    async def keep(event: Event) -> None:
        # The first event says how much data there is, and no other may know.
        if is_decision(event) and not isinstance(event, RunStartedEvent):
            pending.append(f"{event.type} {event.model_dump_json()}")

    async def close(_session: int) -> None:
        digests.append(hashlib.sha256("\n".join(sorted(pending)).encode()).hexdigest())
        pending.clear()

    bus.subscribe("*", keep, name="keep")
    async with bus:
        await system.begin()
        await system.play(on_session=close)
    system.close()
    assert len(bus.dead_letters) == 0
    return digests


@pytest.mark.parametrize(
    ("overrides", "cuts"),
    [
        pytest.param(
            {"universe": {"end": "2001-06-30"}, "strategies": {"all_live": True}},
            16,
            id="all live",
            marks=pytest.mark.long,
        ),
        pytest.param({"universe": {"end": "2002-06-30"}}, 2, id="bred"),
        pytest.param({"universe": {"end": "2002-06-30"}}, 4, id="bred, cut more often", marks=pytest.mark.long),
    ],
)
async def test_what_comes_later_changes_nothing_before_it(overrides: dict[str, Any], cuts: int) -> None:
    """Random dates: cut the data there, and up to there everything is decided as if it went on."""
    config = load_config(environ={}, overrides=overrides)
    feed = load_feed(config)
    whole = await stream(config, feed)
    assert len(set(whole)) == len(feed)
    for cut in random.Random(20).sample(range(60, len(feed)), cuts):
        part = replace(feed, sessions=feed.sessions[:cut])
        assert await stream(config, part) == whole[:cut], cut


def test_shipped_data_is_what_the_default_configuration_runs() -> None:
    assert load_feed(load_config(environ={})).bar_count == load_dataset().bar_count == 12_154
