"""Wiring: what is said of who publishes and who hears is true of the code, and a type that leads nowhere is told."""

from __future__ import annotations

import ast
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

import quantum_trader
from eventbus import Event, InMemoryEventBus
from quantum_trader import events
from quantum_trader.app import build
from quantum_trader.config import load_config
from quantum_trader.control.kill_switch import KillSwitch
from quantum_trader.events import KillSwitchChangedEvent, KillSwitchRequestedEvent, RunCompletedEvent
from quantum_trader.market.synthetic import SyntheticFeed
from quantum_trader.wiring import survey

PACKAGE = Path(quantum_trader.__file__).parent
CATALOGUE = {name for name, value in vars(events).items() if isinstance(value, type) and issubclass(value, Event)}


def made(tree: ast.AST) -> Iterator[str]:
    """Names of event classes that are called, or whose alternative constructor is."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = node.func
            if isinstance(called, ast.Attribute) and called.attr in {"of", "create"}:
                called = called.value
            if isinstance(called, ast.Name) and called.id in CATALOGUE:
                yield called.id


def declared(tree: ast.AST) -> Iterator[str]:
    """Names in the `publishes` of every class."""
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign | ast.Assign):
            target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
            if isinstance(target, ast.Name) and target.id == "publishes" and isinstance(node.value, ast.Tuple):
                yield from (item.id for item in node.value.elts if isinstance(item, ast.Name))


# What makes an event for somebody else to publish.
HELPERS = {
    "request": "EvaluationRequestedEvent",
    "DirectionDesk": "MetricRecordedEvent",
    "_alive": "ComponentHeartbeatEvent",  # to the roll, which publishes what all have answered
}
# The desk publishes in the name of the learning manager, runs, command line and page in that of the operator.
OTHERS = {"events", "wiring", "direction_desk"}
COMPONENTS = [
    file
    for file in sorted(PACKAGE.rglob("*.py"))
    if not {"cli", "runs", "web"} & {*file.parts} and file.stem not in OTHERS
]


@pytest.mark.parametrize("file", COMPONENTS, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_a_component_declares_what_it_makes(file: Path) -> None:
    tree = ast.parse(file.read_text())
    told = set(declared(tree))
    helps = {name for helper, name in HELPERS.items() if f"def {helper}(" in file.read_text()}
    assert set(made(tree)) <= told | helps
    uses = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id in told]
    elsewhere = {name for helper, name in HELPERS.items() if f"{helper}(" in file.read_text()}
    assert {name for name in told if uses.count(name) < 2} <= elsewhere, "declared, and made nowhere"


@pytest.mark.parametrize("profile", [None, "demo", "fast", "oracle"])
def test_a_whole_system_has_no_loose_end(profile: str | None) -> None:
    system = build(InMemoryEventBus(), load_config(profile=profile), SyntheticFeed(["A"], 0, seed=1))
    wiring = system.wiring()
    system.close()
    assert list(wiring.gaps()) == []
    assert {route.event.__name__ for route in wiring.routes} == CATALOGUE - {"Event"}


async def test_a_run_tells_of_each_loose_end_once(caplog: pytest.LogCaptureFixture) -> None:
    bus = InMemoryEventBus()
    system = build(bus, load_config(), SyntheticFeed(["A"], 3, seed=1))
    for subscription in bus.subscriptions:
        if subscription.selector.title in {"signals.generated", "command.policy"}:
            subscription.cancel()
    async with bus:
        with caplog.at_level(logging.WARNING):
            await system.run()
    system.close()
    [record] = [record for record in caplog.records if record.name == "quantum_trader.system"]
    assert "signals.generated: published by StrategyRuntimeEngine, heard by nobody" in record.getMessage()
    assert "command.policy: published by Operator, heard by nobody" in record.getMessage()


def test_types_without_a_listener_or_a_publisher_are_gaps() -> None:
    bus = InMemoryEventBus()
    KillSwitch(bus)
    bus.subscribe("policy.*", print, name="printer")
    gaps = list(survey(bus).gaps())
    assert "killswitch.changed: published by KillSwitch, heard by nobody" in gaps
    assert "policy.updated: heard by printer, published by nobody" in gaps
    assert not any(gap.startswith("command.killswitch") for gap in gaps)


def test_who_takes_everything_hears_of_operations_and_of_nothing_else() -> None:
    class Teller:
        publishes = (KillSwitchChangedEvent, RunCompletedEvent)

    bus = InMemoryEventBus()
    bus.subscribe("*", print, name="recorder")
    wiring = survey(bus, (Teller,))
    assert [gap for gap in wiring.gaps() if "Teller" in gap] == [
        "killswitch.changed: published by Teller, heard by nobody"
    ]
    assert wiring.onlookers == ("recorder",)


def test_stations_stand_before_those_they_talk_to() -> None:
    class Source:
        publishes = (KillSwitchRequestedEvent,)

    bus = InMemoryEventBus()
    bus.subscribe(KillSwitchChangedEvent, print, name="zz_sink")
    bus.subscribe(KillSwitchChangedEvent, print, name="aa_sink")
    KillSwitch(bus)
    stations = survey(bus, (Source,)).stations
    assert [name for name in stations if name != "Operator"] == ["Source", "KillSwitch", "aa_sink", "zz_sink"]
