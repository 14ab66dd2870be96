"""Every decision of a run has an id of its own, and the same one each time; only what tells of the machine has random ones."""

from __future__ import annotations

import asyncio

import pytest

from eventbus import Event, InMemoryEventBus
from quantum_trader.app import build, load_feed, run_id_of
from quantum_trader.config import Config, load_config
from quantum_trader.events import is_decision
from quantum_trader.identity import RunIds


@pytest.fixture(scope="module")
def config() -> Config:
    return load_config(environ={}, overrides={"universe": {"end": "2000-10-20"}, "strategies": {"all_live": True}})


async def ids(config: Config) -> tuple[list[str], list[str]]:
    """Ids of the decisions of a run, and those of everything else."""
    run_ids = RunIds(run_id_of(config))
    bus = InMemoryEventBus(max_queue_size=100_000, identify=run_ids)
    system = build(bus, config, load_feed(config), ids=run_ids)
    decided, other = list[str](), list[str]()

    async def keep(event: Event) -> None:
        (decided if is_decision(event) else other).append(event.event_id)

    bus.subscribe("*", keep, name="keep")
    async with bus:
        await system.run()
    system.close()
    return decided, other


@pytest.fixture(scope="module")
def usual(config: Config) -> tuple[list[str], list[str]]:
    """Those of the run that others are compared with."""
    return asyncio.run(ids(config))


async def test_two_runs_give_their_decisions_the_same_ids_each_once(
    config: Config, usual: tuple[list[str], list[str]]
) -> None:
    (first, other), (second, again) = usual, await ids(config)
    assert len(first) > 1_000
    assert first == second
    assert len(set(first)) == len(first)
    assert not set(other) & set(again)


async def test_runs_of_different_seeds_share_no_id(config: Config, usual: tuple[list[str], list[str]]) -> None:
    reseeded = config.model_copy(update={"app": config.app.model_copy(update={"seed": 8})})
    (one, _), (another, _) = usual, await ids(reseeded)
    assert not set(one) & set(another)
