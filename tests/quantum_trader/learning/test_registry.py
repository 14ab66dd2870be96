from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventbus import InMemoryEventBus
from eventbus.testing.recorder import Recorder
from quantum_trader.events import (
    EvaluationCompletedEvent,
    PromotionRefusedEvent,
    Purpose,
    RegistryUpdatedEvent,
    SessionClosedEvent,
    SessionDecideEvent,
    StrategyCreatedEvent,
    StrategyPromotedEvent,
)
from quantum_trader.learning.registry import CachingRegistry, Registry, TooLate
from quantum_trader.learning.registry_reads import MODEL, STRATEGY, NotRegistered
from quantum_trader.model import StrategyLifecycle

AT = datetime(2001, 1, 1, tzinfo=UTC)


def passed(evaluation_id: str, purpose: Purpose = Purpose.BACKTEST, **changes: Any) -> EvaluationCompletedEvent:
    usual: dict[str, Any] = {"subject_kind": "STRATEGY", "subject_id": "momentum-126", "verdict": "PASS"}
    return EvaluationCompletedEvent(
        evaluation_id=evaluation_id, purpose=purpose, session=42, timestamp=AT, **usual | changes
    )


def promoted(stage: StrategyLifecycle, evaluation_id: str | None) -> StrategyPromotedEvent:
    return StrategyPromotedEvent(
        strategy_id="momentum-126",
        from_stage=StrategyLifecycle.BACKTEST,
        to_stage=stage,
        reason="r",
        evaluation_id=evaluation_id,
        session=42,
        timestamp=AT,
    )


SHADOW, LIVE = StrategyLifecycle.SHADOW, StrategyLifecycle.LIVE


@pytest.mark.parametrize(
    ("known", "claimed", "backed"),
    [
        (passed("e"), promoted(SHADOW, "e"), True),
        (passed("e", Purpose.SHADOW), promoted(LIVE, "e"), True),
        (passed("e"), promoted(LIVE, "e"), False),
        (passed("e", subject_id="another"), promoted(SHADOW, "e"), False),
        (passed("e", verdict="FAIL"), promoted(SHADOW, "e"), False),
        (passed("e", verdict="NOT_JUDGED"), promoted(SHADOW, "e"), False),
        (passed("e", subject_kind="MODEL"), promoted(SHADOW, "e"), False),
        (passed("e"), promoted(SHADOW, "f"), False),
        (passed("e"), promoted(SHADOW, None), False),
        (passed("e", verdict="FAIL"), promoted(StrategyLifecycle.RETIRED, None), True),
    ],
)
async def test_a_step_up_counts_with_what_the_strategy_passed_for_that_stage(
    event_bus: InMemoryEventBus, known: EvaluationCompletedEvent, claimed: StrategyPromotedEvent, backed: bool
) -> None:
    with Registry(event_bus) as registry:
        await event_bus.publish(known)
        await event_bus.drain()
        assert registry.backs(claimed) is backed


async def test_the_operator_s_word_is_for_one_strategy_and_given_before_the_first_session(
    event_bus: InMemoryEventBus, recorder: Recorder
) -> None:
    with Registry(event_bus) as registry:
        word = registry.admit("momentum-126", "run-7")
        assert word == "operator:run-7"
        assert registry.backs(promoted(LIVE, word))
        assert not registry.backs(promoted(LIVE, word).model_copy(update={"strategy_id": "another"}))
        await event_bus.publish(SessionDecideEvent(session=0, timestamp=AT))
        await event_bus.drain()
        with pytest.raises(TooLate, match="the run has begun"):
            registry.admit("another", "run-7")


async def test_a_forged_step_up_is_refused_once_and_changes_no_stage(
    event_bus: InMemoryEventBus, recorder: Recorder
) -> None:
    with Registry(event_bus) as registry:
        await event_bus.publish(
            StrategyCreatedEvent(strategy_id="momentum-126", family="momentum", params={"lookback": 126}, timestamp=AT)
        )
        await event_bus.publish(promoted(LIVE, "nothing"))
        await event_bus.drain()
        for session in (42, 43):
            await event_bus.publish(SessionDecideEvent(session=session, timestamp=AT))
            await event_bus.drain()
        (refused,) = recorder.of(PromotionRefusedEvent)
        assert (refused.code, refused.strategy_id, refused.session) == ("FORGED_PROMOTION", "momentum-126", 42)
        assert registry.stages(STRATEGY, "momentum-126") == ((1, "BACKTEST", 0),)


async def test_a_strategy_is_registered_in_the_session_it_was_made_in(event_bus: InMemoryEventBus) -> None:
    with Registry(event_bus) as registry:
        await event_bus.publish(
            StrategyCreatedEvent(
                strategy_id="momentum-90", family="momentum", params={"lookback": 90}, session=126, timestamp=AT
            )
        )
        await event_bus.drain()
        assert registry.get(STRATEGY, "momentum-90").created_session == 126
        assert registry.stages(STRATEGY, "momentum-90") == ((1, "BACKTEST", 126),)


async def test_what_was_passed_is_known_after_a_restart_and_what_came_later_is_not(
    event_bus: InMemoryEventBus, tmp_path: Path
) -> None:
    with Registry(event_bus, tmp_path / "r.sqlite") as registry:
        await event_bus.publish(passed("e"))
        await event_bus.drain()
        state = json.loads(json.dumps(registry.state()))
        await event_bus.publish(passed("later"))
        await event_bus.drain()
        assert registry.backs(promoted(SHADOW, "later"))
    async with InMemoryEventBus() as bus:
        with Registry(bus, tmp_path / "r.sqlite") as registry:
            registry.restore(state)
            assert registry.backs(promoted(SHADOW, "e"))
            assert not registry.backs(promoted(SHADOW, "later"))


async def test_versions_are_appended_and_told(event_bus: InMemoryEventBus, recorder: Recorder) -> None:
    with Registry(event_bus) as registry:
        assert await registry.put(MODEL, "average", {"a": 1}, session=3, at=AT, stage="SHADOW") == 1
        assert await registry.put(MODEL, "average", {"a": 2}, session=9, at=AT) == 2
        await event_bus.drain()
        assert [(one.version, one.op) for one in recorder.of(RegistryUpdatedEvent)] == [(1, "PUT"), (2, "PUT")]
        first = registry.get(MODEL, "average", 1)
        assert (first.payload, first.stage, first.created_session) == ({"a": 1}, "SHADOW", 3)
        assert registry.get(MODEL, "average").version == 2


async def test_a_replayed_write_changes_nothing(event_bus: InMemoryEventBus, recorder: Recorder) -> None:
    with Registry(event_bus) as registry:
        for _ in range(2):
            assert await registry.put(MODEL, "m", {"a": 1}, session=1, at=AT, stage="SHADOW") == 1
            assert await registry.put(MODEL, "m", {"a": 1}, session=2, at=AT) == 2
            await registry.set_stage(MODEL, "m", 1, "LIVE", session=2, at=AT)
            await registry.set_stage(MODEL, "m", 1, "RETIRED", session=3, at=AT)
        await event_bus.drain()
        assert len(recorder.of(RegistryUpdatedEvent)) == 4
        assert registry.stages(MODEL, "m") == ((1, "SHADOW", 1), (1, "LIVE", 2), (1, "RETIRED", 3))


async def test_what_is_not_registered_is_named(event_bus: InMemoryEventBus) -> None:
    with Registry(event_bus) as registry:
        with pytest.raises(NotRegistered, match="MODEL m: any version is not registered"):
            registry.get(MODEL, "m")
        with pytest.raises(NotRegistered, match="version 4"):
            await registry.set_stage(MODEL, "m", 4, "LIVE", session=1, at=AT)


async def test_strategies_are_registered_with_the_history_of_their_stages(event_bus: InMemoryEventBus) -> None:
    with Registry(event_bus) as registry:
        await event_bus.publish(
            StrategyCreatedEvent(
                strategy_id="momentum-126", family="momentum", params={"lookback": 126}, trial_no=7, timestamp=AT
            )
        )
        await event_bus.drain()
        await event_bus.publish(passed("e"))
        await event_bus.publish(promoted(StrategyLifecycle.SHADOW, "e"))
        await event_bus.drain()
        await event_bus.publish(SessionDecideEvent(session=42, timestamp=AT))
        await event_bus.drain()
        assert registry.ids(STRATEGY) == ("momentum-126",)
        assert registry.get(STRATEGY, "momentum-126").payload["params"] == {"lookback": 126}
        assert registry.stages(STRATEGY, "momentum-126") == ((1, "BACKTEST", 0), (1, "SHADOW", 42))


async def test_what_was_written_is_there_after_closing(event_bus: InMemoryEventBus, tmp_path: Path) -> None:
    with Registry(event_bus, tmp_path / "r.sqlite") as registry:
        await registry.put(MODEL, "m", {"a": 0.1 + 0.2}, session=1, at=AT)
    with Registry(InMemoryEventBus(), tmp_path / "r.sqlite") as registry:
        assert registry.get(MODEL, "m").payload == {"a": 0.1 + 0.2}


async def test_a_held_entry_costs_no_read_until_it_is_announced_to_be_old(event_bus: InMemoryEventBus) -> None:
    with Registry(event_bus) as registry:
        cache = CachingRegistry(event_bus, registry)
        await registry.put(MODEL, "m", {"a": 1}, session=1, at=AT)
        await event_bus.drain()
        assert [cache.get(MODEL, "m").version for _ in range(5)] == [1] * 5
        assert cache.get(MODEL, "m", 1).version == 1
        assert cache.reads == 1
        await registry.put(MODEL, "m", {"a": 2}, session=1, at=AT)
        await event_bus.drain()
        assert cache.get(MODEL, "m").version == 2
        assert cache.get(MODEL, "m", 1).payload == {"a": 1}


class Deaf(InMemoryEventBus):
    """Loses the announcements of the registry."""

    async def publish(self, event: Any, *args: Any, **kwargs: Any) -> Any:
        is_lost = isinstance(event, RegistryUpdatedEvent)
        return None if is_lost else await super().publish(event, *args, **kwargs)


async def test_a_missed_announcement_costs_a_stale_read_of_one_session_at_most() -> None:
    async with Deaf() as bus:
        with Registry(bus) as registry:
            cache = CachingRegistry(bus, registry)
            await registry.put(MODEL, "m", {"a": 1}, session=1, at=AT)
            assert cache.get(MODEL, "m").version == 1
            await registry.put(MODEL, "m", {"a": 2}, session=1, at=AT)
            assert cache.get(MODEL, "m").version == 1
            await bus.publish(SessionClosedEvent(session=1, timestamp=AT))
            await bus.drain()
            assert cache.get(MODEL, "m").version == 2


Step = tuple[str, str]
STEPS = st.lists(st.tuples(st.sampled_from(["write", "read", "deliver", "close"]), st.sampled_from("ab")), max_size=30)


@given(STEPS)
@settings(max_examples=60, deadline=None)
def test_no_read_is_older_than_an_announcement_that_was_handled(steps: list[Step]) -> None:
    asyncio.run(_interleaved(steps))


async def _interleaved(steps: list[Step]) -> None:
    handled: dict[str, int] = {}

    async def note(event: RegistryUpdatedEvent) -> None:
        handled[event.id] = event.version

    async with InMemoryEventBus() as bus:
        with Registry(bus) as registry:
            cache = CachingRegistry(bus, registry)
            bus.subscribe(RegistryUpdatedEvent, note)
            written: dict[str, int] = {}
            for at, (act, key) in enumerate(steps):
                if act == "write":
                    written[key] = await registry.put(MODEL, key, {"at": at}, session=0, at=AT)
                elif act == "deliver":
                    await bus.drain()
                elif act == "close":
                    await bus.publish(SessionClosedEvent(session=at, timestamp=AT))
                elif key in written:
                    assert handled.get(key, 0) <= cache.get(MODEL, key).version <= written[key]
