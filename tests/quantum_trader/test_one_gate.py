"""One gate: whatever the venue does descends from a sized order that the risk guard approved, and there is no way round."""

from __future__ import annotations

import ast
import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

import quantum_trader
from eventbus import Event, InMemoryEventBus
from quantum_trader.app import build, load_feed, run_id_of
from quantum_trader.config import Config, load_config
from quantum_trader.events import (
    MarketBarEvent,
    OrderAcceptedEvent,
    OrderApprovedEvent,
    OrdersProposedEvent,
    OrdersSizedEvent,
    SessionDecideEvent,
    SignalsGeneratedEvent,
    TradeExecutedEvent,
)
from quantum_trader.identity import RunIds
from quantum_trader.model import OrderKind, Side, Trigger
from quantum_trader.wiring import survey

T = TypeVar("T", bound=Event)

PACKAGE = Path(quantum_trader.__file__).parent
BUSY: dict[str, dict[str, Any]] = {"universe": {"end": "2002-06-30"}, "strategies": {"all_live": True}}
ASIDE = ("spc.", "prediction.", "monitoring.", "evaluation.", "queue.")  # most of the events, and no order's cause
THE_WAY = (OrdersSizedEvent, OrdersProposedEvent, SignalsGeneratedEvent, SessionDecideEvent)


@dataclass(frozen=True)
class Told:
    """Everything a run told, with its causes."""

    by_id: dict[str, Event]

    def of(self, cls: type[T]) -> list[T]:
        return [event for event in self.by_id.values() if isinstance(event, cls)]

    def causes(self, event: Event) -> Iterator[Event]:
        """The cause, its cause, and so on to the root."""
        while event.causation_id is not None:
            event = self.by_id[event.causation_id]
            yield event


async def record(config: Config, *, without: str = "") -> Told:
    """A run over the demo bars; `without` one subscription."""
    ids = RunIds(run_id_of(config))
    bus = InMemoryEventBus(max_queue_size=100_000, identify=ids)
    system = build(bus, config, load_feed(config), ids=ids)
    told: dict[str, Event] = {}

    async def keep(event: Event) -> None:
        if not event.type.startswith(ASIDE):
            assert event.event_id not in told
            told[event.event_id] = event

    bus.subscribe("*", keep, name="keep")
    for subscription in bus.subscriptions:
        if subscription.name == without:
            subscription.cancel()
    async with bus:
        await system.run()
    system.close()
    return Told(told)


@pytest.fixture(scope="module")
def config() -> Config:
    return load_config(environ={}, overrides=BUSY)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(BUSY, id="all live"),
        pytest.param({}, id="whole demo", marks=[pytest.mark.slow, pytest.mark.long]),
    ],
)
def told(request: pytest.FixtureRequest) -> Told:
    return asyncio.run(record(load_config(environ={}, overrides=request.param)))


def order_of(fill: TradeExecutedEvent) -> str:
    """The id of the order behind a fill; a stop's or a delisting's fill is named after the entry that it protects."""
    return fill.order_id.partition(":")[0]


def test_every_fill_descends_from_one_approved_order(told: Told) -> None:
    approvals = {event.order_id: event for event in told.of(OrderApprovedEvent)}
    accepted = {event.order_id: event for event in told.of(OrderAcceptedEvent)}
    fills = told.of(TradeExecutedEvent)
    assert {fill.trigger for fill in fills} >= {Trigger.OPEN, Trigger.STOP}
    assert len(fills) > 10, "the gates let few through; all live, there are hundreds"
    for fill in fills:
        approval = approvals[order_of(fill)]
        assert accepted[order_of(fill)].causation_id == approval.event_id
        assert (approval.symbol, approval.strategy_id) == (fill.symbol, fill.strategy_id)
        assert approval.session < fill.session
        ordered = approval.side if fill.trigger is Trigger.OPEN else Side.SELL
        assert fill.side is ordered
        assert approval.kind is OrderKind.ENTRY or fill.trigger is Trigger.OPEN


def test_every_approval_comes_from_the_guard_by_the_one_way(told: Told) -> None:
    approvals = told.of(OrderApprovedEvent)
    assert approvals
    for approval in approvals:
        assert approval.source == "risk_guard"
        way = list(told.causes(approval))
        assert tuple(type(event) for event in way) == THE_WAY
        sized, proposed, signals = way[:3]
        assert isinstance(sized, OrdersSizedEvent)
        assert isinstance(proposed, OrdersProposedEvent)
        assert isinstance(signals, SignalsGeneratedEvent)
        (item,) = [one for one in sized.items if one.order_id == approval.order_id]
        assert (item.qty, item.side, item.symbol, item.reference_px, item.stop_px) == (
            approval.qty, approval.side, approval.symbol, approval.reference_px, approval.stop_px,
        )  # fmt: skip
        if approval.kind is not OrderKind.TRIM:  # a trim is the balancer's own
            assert approval.intent_id in {one.intent_id for one in proposed.items}
            assert approval.intent_id in {one.signal_id for one in signals.items}


def test_no_order_fills_more_than_was_approved_and_no_order_is_approved_twice(told: Told) -> None:
    approved = [event.order_id for event in told.of(OrderApprovedEvent)]
    assert len(approved) == len(set(approved))
    quantities = {event.order_id: event.qty for event in told.of(OrderApprovedEvent)}
    filled: Counter[str] = Counter()
    for fill in told.of(TradeExecutedEvent):
        if fill.trigger is Trigger.OPEN:
            filled[fill.order_id] += int(fill.size)
    assert all(filled[order_id] <= quantities[order_id] for order_id in filled)


def test_every_share_sold_by_a_stop_was_bought_by_an_approved_order(told: Told) -> None:
    held: defaultdict[tuple[str, str], int] = defaultdict(int)
    for fill in told.of(TradeExecutedEvent):
        held[fill.strategy_id, fill.symbol] += fill.side.sign * int(fill.size)
        assert held[fill.strategy_id, fill.symbol] >= 0


def test_what_fills_is_met_by_a_bar_of_its_symbol(told: Told) -> None:
    for fill in told.of(TradeExecutedEvent):
        if fill.trigger is not Trigger.DELISTED:
            cause = told.by_id[fill.causation_id or ""]
            assert isinstance(cause, MarketBarEvent)
            assert (cause.symbol, cause.session) == (fill.symbol, fill.session)


@pytest.mark.parametrize(
    "station",
    [
        "risk_guard.sized",
        pytest.param("balancer.proposed", marks=pytest.mark.long),
        pytest.param("orchestrator.signals", marks=pytest.mark.long),
    ],
)
async def test_with_a_station_missing_nothing_reaches_the_venue(config: Config, station: str) -> None:
    short = config.model_copy(update={"universe": config.universe.model_copy(update={"end": "2001-01-31"})})
    silent = await record(short, without=station)
    assert any(event.items for event in silent.of(SignalsGeneratedEvent))
    assert not silent.of(OrderApprovedEvent)
    assert not silent.of(OrderAcceptedEvent)
    assert not silent.of(TradeExecutedEvent)


async def test_only_the_guard_says_that_it_approves_and_only_the_executor_that_it_traded(config: Config) -> None:
    bus = InMemoryEventBus()
    build(bus, config, load_feed(config)).close()
    producers = {route.type: route.producers for route in survey(bus).routes}
    assert producers["order.approved"] == ("RiskGuard",)
    assert producers["trade.executed"] == producers["order.accepted"] == ("Executor",)
    assert producers["orders.sized"] == ("PortfolioBalancer",)


def makers(name: str) -> set[str]:
    """Modules in which something of that name is called, a method too."""
    return {
        file.relative_to(PACKAGE).as_posix()
        for file in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(), file))
        if isinstance(node, ast.Call)
        and (
            (isinstance(node.func, ast.Name) and node.func.id == name)
            or (isinstance(node.func, ast.Attribute) and node.func.attr == name)
        )
    }


def test_nobody_else_can_make_an_approval_or_put_an_order_to_the_venue() -> None:
    assert makers("OrderApprovedEvent") == {"control/risk_guard.py"}
    assert makers("PaperVenue") == {"app.py"}
    # Besides: a desk over a broker of the user's own, and the tests that a broker is put to.
    assert makers("submit") == {"execution/executor.py", "venues/contract.py", "venues/desk.py"}
    assert makers("VenueDesk") == {"app.py"}
    assert makers("hold") == {"venues/executor.py"}
    for executor, act in (("execution", "submit"), ("venues", "hold")):
        assert where(PACKAGE / executor / "executor.py", act) == ["on_order_approved"]


def where(file: Path, act: str) -> list[str]:
    """The methods of a module that use what has this name."""
    return [
        method.name
        for method in ast.walk(ast.parse(file.read_text()))
        if isinstance(method, ast.AsyncFunctionDef)
        for node in ast.walk(method)
        if isinstance(node, ast.Attribute) and node.attr == act
    ]
