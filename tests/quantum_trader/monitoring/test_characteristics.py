from __future__ import annotations

from datetime import UTC, datetime

import pytest

from eventbus import InMemoryEventBus
from eventbus.testing.recorder import Recorder
from quantum_trader.events import (
    CharacteristicCreatedEvent,
    CharacteristicDeletedEvent,
    CharacteristicUpdatedEvent,
    RunStartedEvent,
)
from quantum_trader.monitoring.characteristics import Characteristics, UnusableCharacteristic, chart_spec

AT = datetime(2001, 1, 1, tzinfo=UTC)
IMR = {"type": "imr", "baseline": 50, "rebase": 100, "rules": [1, 2]}


def run_started() -> RunStartedEvent:
    return RunStartedEvent(
        run_id="r", seed=1, config_sha256="", code_version="", universe=("A",), timestamp=AT, source="test"
    )


async def test_the_configured_ones_are_created_once_when_a_run_starts(
    event_bus: InMemoryEventBus, recorder: Recorder
) -> None:
    Characteristics(event_bus, {"b": IMR, "a": {"type": "thresholds", "levels": [0.1, 0.2]}})
    await event_bus.publish(run_started())
    await event_bus.publish(run_started())
    await event_bus.drain()
    made = recorder.of(CharacteristicCreatedEvent)
    assert [(one.characteristic_id, one.name) for one in made] == [(1, "b"), (2, "a")]
    assert made[0].timestamp == AT


async def test_each_change_is_told_and_ids_are_never_used_again(
    event_bus: InMemoryEventBus, recorder: Recorder
) -> None:
    known = Characteristics(event_bus)
    first = await known.create("x", IMR, at=AT)
    await known.update(first, {"rules": [1]}, at=AT)
    await known.delete(first, at=AT)
    assert await known.create("x", IMR, at=AT) == first + 1
    await event_bus.drain()
    assert recorder.of(CharacteristicUpdatedEvent)[0].changes == {"rules": (1,)}
    assert recorder.of(CharacteristicDeletedEvent)[0].name == "x"
    assert [one.characteristic_id for one in known.all()] == [first + 1]


async def test_a_refused_change_changes_nothing(event_bus: InMemoryEventBus, recorder: Recorder) -> None:
    known = Characteristics(event_bus)
    first = await known.create("x", IMR, at=AT)
    with pytest.raises(UnusableCharacteristic, match="rules"):
        await known.update(first, {"rules": [9]}, at=AT)
    with pytest.raises(UnusableCharacteristic, match="taken"):
        await known.create("x", IMR, at=AT)
    with pytest.raises(UnusableCharacteristic, match="there is none; known are 1"):
        await known.delete(7, at=AT)
    await event_bus.drain()
    assert known.get(first).settings == IMR
    assert recorder.types == ["spc.characteristic_created"]


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({**IMR, "type": "ewma"}, "type: ewma"),
        ({**IMR, "colour": "red"}, "colour is no setting"),
        ({"type": "imr", "rules": [1]}, "baseline is missing"),
        ({**IMR, "baseline": 2}, "baseline: 2 points"),
        ({**IMR, "type": "xbar_r", "subgroup": 99}, "size: subgroups have"),
        ({"type": "thresholds", "levels": [0.2, 0.1]}, "levels"),
        ({"type": "thresholds"}, "levels"),
    ],
)
def test_unusable_settings_are_named(settings: dict[str, object], problem: str) -> None:
    with pytest.raises(UnusableCharacteristic, match=problem):
        chart_spec("x", settings)


async def test_state_goes_on_where_it_was(event_bus: InMemoryEventBus) -> None:
    known = Characteristics(event_bus)
    await known.create("x", IMR, at=AT)
    other = Characteristics(event_bus)
    other.restore(known.state())
    assert other.all() == known.all()
    assert await other.create("y", IMR, at=AT) == 2
