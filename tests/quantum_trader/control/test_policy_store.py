"""Policy store: what was saved comes back; what cannot be read is an error, never a default."""

from __future__ import annotations

from pathlib import Path

import pytest

from eventbus import InMemoryEventBus
from quantum_trader.config import PolicyConfig
from quantum_trader.control.controller import MetaStrategyController
from quantum_trader.control.policy_store import FilePolicyStore, PolicyStoreError
from quantum_trader.events import PolicyUpdatedEvent, RunStartedEvent, StrategyPromotedEvent
from quantum_trader.model import RiskMode, StrategyLifecycle

POLICY = PolicyUpdatedEvent(
    risk_mode=RiskMode.NORMAL,
    allowed_strategies=["s"],
    global_min_confidence=0.0,
    max_risk_per_trade=0.01,
    max_positions=3,
    version=4,
)
STARTED = RunStartedEvent(run_id="r", seed=1, config_sha256="", code_version="", universe=())


def test_saved_policy_comes_back(tmp_path: Path) -> None:
    store = FilePolicyStore(tmp_path / "state" / "policy.json")
    assert store.load() is None
    store.save(POLICY)
    loaded = store.load()
    assert loaded is not None
    assert loaded.payload == POLICY.payload
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["policy.json"]


@pytest.mark.parametrize("content", ["", "{}", "not json", '{"risk_mode": "BRAVE"}'])
def test_damaged_file_is_an_error_with_a_remedy(tmp_path: Path, content: str) -> None:
    path = tmp_path / "policy.json"
    path.write_text(content)
    with pytest.raises(PolicyStoreError, match="restore the file, or remove it to start DEFENSIVE"):
        FilePolicyStore(path).load()


def test_unwritable_place_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PolicyStoreError):
        FilePolicyStore(tmp_path / "file" / "policy.json").save(POLICY)


async def test_controller_blocks_entries_when_the_store_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    path.write_text("damaged")
    bus = InMemoryEventBus()
    controller = MetaStrategyController(bus, FilePolicyStore(path), PolicyConfig(), warrant=lambda _: True)
    async with bus:
        await bus.publish(
            StrategyPromotedEvent(
                strategy_id="s",
                from_stage=StrategyLifecycle.SHADOW,
                to_stage=StrategyLifecycle.LIVE,
                reason="",
                session=-1,
            )
        )
        await bus.publish(STARTED)
        await bus.drain()
    assert controller.policy is not None
    assert controller.policy.risk_mode is RiskMode.DEFENSIVE
    assert list(controller.policy.allowed_strategies) == []
    assert path.read_text() == "damaged"


async def test_controller_goes_on_in_the_mode_it_had(tmp_path: Path) -> None:
    store = FilePolicyStore(tmp_path / "policy.json")
    store.save(POLICY)
    bus = InMemoryEventBus()
    controller = MetaStrategyController(bus, store, PolicyConfig())
    async with bus:
        await bus.publish(STARTED)
        await bus.drain()
    assert controller.policy is not None
    assert controller.policy.risk_mode is RiskMode.NORMAL
