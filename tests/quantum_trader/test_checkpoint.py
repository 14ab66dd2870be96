"""What a run remembers after a session is all it needs: a system that is built anew and restored decides the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from eventbus import InMemoryEventBus
from quantum_trader.app import TradingSystem, build, load_feed, run_id_of
from quantum_trader.config import Config, load_config
from quantum_trader.identity import RunIds
from quantum_trader.market.dataset import Dataset

BUSY = {"universe": {"end": "2002-12-31"}, "strategies": {"all_live": True}}
BRED = {"universe": {"end": "2002-12-31"}}


def fresh(config: Config, feed: Dataset, registry: Path) -> TradingSystem:
    ids = RunIds(run_id_of(config))
    bus = InMemoryEventBus(max_queue_size=100_000, identify=ids)
    return build(bus, config, feed, ids=ids, registry_file=registry)


@pytest.mark.parametrize(
    "overrides", [pytest.param(BUSY, id="all live", marks=pytest.mark.long), pytest.param(BRED, id="bred")]
)
async def test_a_system_restored_after_any_session_ends_with_the_digest_of_the_one_that_went_on(
    overrides: dict[str, Any], tmp_path: Path
) -> None:
    config = load_config(environ={}, overrides=overrides)
    feed, registry = load_feed(config), tmp_path / "registry.sqlite"
    states: dict[int, str] = {}
    system = fresh(config, feed, registry)

    async def remember(session: int) -> None:
        if session % 293 == 292:
            states[session] = json.dumps(system.state())

    async with system.bus as bus:
        await system.begin()
        whole = await system.finish(await system.play(on_session=remember))
    system.close()
    assert len(bus.dead_letters) == 0
    for session in sorted(states)[-2:]:
        again = fresh(config, feed, registry)  # which has all that the first one wrote, as after a crash
        again.restore(json.loads(states[session]))
        async with again.bus as bus:
            completed = await again.finish(await again.play(session + 1))
        again.close()
        assert len(bus.dead_letters) == 0
        assert (completed.digest, completed.det_events) == (whole.digest, whole.det_events), session
