"""Characteristics: which measured things are watched, each with an integer id, a name and its settings.

Whoever watches learns of them by events: the SPC engine charts those with a chart's settings, the threshold ladder takes
those with levels. The configured ones are created when a run starts, in the order of the configuration.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any, ClassVar, Final

from eventbus import EventBus
from quantum_trader.events import (
    CharacteristicCreatedEvent,
    CharacteristicDeletedEvent,
    CharacteristicRequestedEvent,
    CharacteristicUpdatedEvent,
    RunStartedEvent,
)
from quantum_trader.monitoring.chart import ChartSpec
from quantum_trader.monitoring.limits import Method, MovingRange, Proportion, SubgroupRange
from quantum_trader.monitoring.rules import rule_set

SOURCE = "characteristics"
THRESHOLDS: Final = "thresholds"  # the type that has levels instead of a chart
_CHART_KEYS: Final = frozenset({"type", "baseline", "rebase", "rules", "subgroup"})


class UnusableCharacteristic(ValueError):
    """A characteristic cannot be created, found or changed. The message names it and what would do."""


@dataclass(frozen=True, slots=True)
class Characteristic:
    """One watched thing. `settings` are plain JSON values."""

    characteristic_id: int
    name: str
    settings: Mapping[str, Any]


def chart_spec(name: str, settings: Mapping[str, Any]) -> ChartSpec | None:
    """The chart that `settings` describe, None for thresholds. Raises UnusableCharacteristic naming the setting."""
    if settings.get("type") == THRESHOLDS:
        _check_levels(name, settings)
        return None
    unknown = sorted(settings.keys() - _CHART_KEYS)
    if unknown:
        raise UnusableCharacteristic(f"{name}: {unknown[0]} is no setting; known are {', '.join(sorted(_CHART_KEYS))}")
    try:
        return ChartSpec(
            name=name,
            method=_method(str(settings["type"]), int(settings.get("subgroup", 1))),
            baseline=int(settings["baseline"]),
            rebase=None if settings.get("rebase") is None else int(settings["rebase"]),
            rules=rule_set(settings["rules"]),
        )
    except KeyError as missing:
        raise UnusableCharacteristic(f"{name}: {missing.args[0]} is missing; give it") from None
    except (TypeError, ValueError) as cause:
        raise UnusableCharacteristic(f"{name}: {cause}") from None


class Characteristics:
    """The list of them, and the only source of their events. `configured`: settings by name, created at the start."""

    publishes: ClassVar = (CharacteristicCreatedEvent, CharacteristicUpdatedEvent, CharacteristicDeletedEvent)

    def __init__(self, bus: EventBus, configured: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self._bus = bus
        self._configured = dict(configured or {})
        for name, settings in self._configured.items():
            chart_spec(name, settings)
        self._known: dict[int, Characteristic] = {}
        self._next_id = 1
        bus.subscribe(RunStartedEvent, self.on_run_started, name="characteristics.run")
        bus.subscribe(CharacteristicRequestedEvent, self.on_requested, name="characteristics.requested")

    def all(self) -> tuple[Characteristic, ...]:
        """Every characteristic, by id."""
        return tuple(self._known.values())

    def get(self, characteristic_id: int) -> Characteristic:
        """One of them. Raises UnusableCharacteristic when there is none of that id."""
        found = self._known.get(characteristic_id)
        if found is None:
            known = ", ".join(map(str, self._known)) or "none"
            raise UnusableCharacteristic(f"characteristic {characteristic_id}: there is none; known are {known}")
        return found

    async def on_run_started(self, event: RunStartedEvent) -> None:
        taken = {one.name for one in self._known.values()}
        for name, settings in self._configured.items():
            if name not in taken:
                await self.create(name, settings, at=event.timestamp)

    def named(self, name: str) -> Characteristic:
        """The one of that name. Raises UnusableCharacteristic when there is none."""
        for one in self._known.values():
            if one.name == name:
                return one
        raise UnusableCharacteristic(f"{name}: there is none; known are {', '.join(one.name for one in self.all())}")

    async def on_requested(self, event: CharacteristicRequestedEvent) -> None:
        match event.action:
            case "add":
                await self.create(event.name, event.settings, at=event.timestamp)
            case "edit":
                await self.update(self.named(event.name).characteristic_id, event.settings, at=event.timestamp)
            case "remove":
                await self.delete(self.named(event.name).characteristic_id, at=event.timestamp)

    async def create(self, name: str, settings: Mapping[str, Any], *, at: datetime) -> int:
        """A new characteristic; returns its id. `at` is event time.

        Raises UnusableCharacteristic for a name that is taken and settings that cannot be used.
        """
        if any(one.name == name for one in self._known.values()):
            raise UnusableCharacteristic(f"{name}: the name is taken; choose another or update that one")
        chart_spec(name, settings)
        made = Characteristic(self._next_id, name, _plain(settings))
        self._known[made.characteristic_id] = made
        self._next_id += 1
        await self._bus.publish(
            CharacteristicCreatedEvent(
                characteristic_id=made.characteristic_id,
                name=name,
                settings=made.settings,
                timestamp=at,
                source=SOURCE,
            )
        )
        return made.characteristic_id

    async def update(self, characteristic_id: int, changes: Mapping[str, Any], *, at: datetime) -> None:
        """Change settings; those left out stay. Raises UnusableCharacteristic, and then nothing has changed."""
        before = self.get(characteristic_id)
        after = Characteristic(characteristic_id, before.name, _plain({**before.settings, **changes}))
        chart_spec(after.name, after.settings)
        self._known[characteristic_id] = after
        await self._bus.publish(
            CharacteristicUpdatedEvent(
                characteristic_id=characteristic_id,
                name=after.name,
                changes=dict(changes),
                timestamp=at,
                source=SOURCE,
            )
        )

    async def delete(self, characteristic_id: int, *, at: datetime) -> None:
        """Watch it no more; its id is never used again. Raises UnusableCharacteristic when there is none."""
        gone = self.get(characteristic_id)
        del self._known[characteristic_id]
        await self._bus.publish(
            CharacteristicDeletedEvent(
                characteristic_id=characteristic_id,
                name=gone.name,
                timestamp=at,
                source=SOURCE,
            )
        )

    def state(self) -> dict[str, Any]:
        """Everything needed to go on after a restart, in plain JSON values."""
        return {
            "next_id": self._next_id,
            "known": [[one.characteristic_id, one.name, dict(one.settings)] for one in self._known.values()],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become what `state()` described."""
        self._next_id = state["next_id"]
        self._known = {one[0]: Characteristic(*one) for one in state["known"]}


def _method(kind: str, subgroup: int) -> Method:
    match kind:
        case "imr":
            return MovingRange()
        case "xbar_r":
            return SubgroupRange(subgroup)
        case "p":
            return Proportion(subgroup)
        case _:
            raise ValueError(f"type: {kind} is unknown; choose imr, xbar_r, p or {THRESHOLDS}")


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON has them: the configuration gives tuples, which an event would keep as what they are."""
    return {key: [*value] if isinstance(value, tuple) else value for key, value in settings.items()}


def _check_levels(name: str, settings: Mapping[str, Any]) -> None:
    levels = settings.get("levels", ())
    rising = bool(levels) and all(a < b for a, b in pairwise(levels))
    if not rising or set(settings) != {"type", "levels"}:
        raise UnusableCharacteristic(f"{name}: thresholds have levels, each above the one before, and nothing else")
