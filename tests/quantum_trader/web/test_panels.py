"""Panels: what the dashboard shows of a run is what the run itself recorded, and looking on changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from pydantic_core import to_json

from eventbus import Event, InMemoryEventBus
from quantum_trader.app import QUEUE_SIZE, TradingSystem, build, load_feed, replay, run_id_of
from quantum_trader.config import Config, load_config
from quantum_trader.events import (
    CharacteristicCreatedEvent,
    ControlLimitsUpdatedEvent,
    KillSwitchChangedEvent,
    OrderAcceptedEvent,
    OrderApprovedEvent,
    OrderCancelledEvent,
    SampleProcessedEvent,
    TradeExecutedEvent,
    ViolationAcknowledgedEvent,
    ViolationCreatedEvent,
)
from quantum_trader.identity import RunIds
from quantum_trader.model import KillMode, OrderKind, RiskMode, Side
from quantum_trader.monitoring.record import closed_trades
from quantum_trader.web.charts import KEPT
from quantum_trader.web.curve import MOST, Curve
from quantum_trader.web.panels import Panels

FRAME = 64 * 1024
SESSIONS = ("2007-01-03", "2007-10-31")


@dataclass(frozen=True)
class At:
    session: int
    ts: datetime
    equity: Decimal
    benchmark: float
    drawdown: float
    mode: RiskMode | None


def point(session: int) -> At:
    day = datetime(2000, 1, 3, tzinfo=UTC) + timedelta(days=session)
    return At(session, day, Decimal("1234567.89") + session, 1_765_432.1, 0.1234, RiskMode.DEFENSIVE)


@pytest.mark.parametrize("sessions", [1, 1_999, 2_000, 2_001, 4_001, 9_999])
def test_curve_is_thinned_out_and_its_last_point_is_exact(sessions: int) -> None:
    points = [point(session) for session in range(sessions)]
    view = Curve(points).view()
    assert len(view["minute"]) <= MOST
    assert len(view["minute"]) >= min(sessions, MOST // 2)
    assert {len(view[name]) for name in ("minute", "equity", "benchmark", "drawdown", "mode")} == {len(view["minute"])}
    assert view["equity"] == [round(points[at].equity) for at in range(0, sessions, view["every"])]
    assert view["last"]["session"] == sessions - 1
    assert view["last"]["equity"] == f"{points[-1].equity:.2f}"
    assert len(to_json(view)) <= FRAME


def test_curve_that_is_read_while_it_grows_is_the_curve_read_at_the_end() -> None:
    points: list[At] = []
    growing = Curve(points)
    for session in range(2_500):
        points.append(point(session))
        if session % 7 == 0:
            growing.view()
    assert growing.view() == Curve(points).view()


def told(panels: Panels, *events: Event) -> Panels:
    for event in events:
        panels.take([event])
    return panels


def panels() -> Panels:
    return Panels([], sessions=10)


def approved(order: str) -> OrderApprovedEvent:
    return OrderApprovedEvent(
        order_id=order, intent_id="i", strategy_id="trend-1", symbol="A", side=Side.BUY, kind=OrderKind.ENTRY,
        qty=Decimal(10), reference_px=5.0, session=3,
    )  # fmt: skip


def accepted(order: str) -> OrderAcceptedEvent:
    return OrderAcceptedEvent(
        order_id=order, strategy_id="trend-1", symbol="A", kind=OrderKind.ENTRY, qty=Decimal(10), session=3,
        expires_session=6,
    )  # fmt: skip


def fill(order: str, size: int, leaves: int) -> TradeExecutedEvent:
    return TradeExecutedEvent(
        order_id=order, symbol="A", side=Side.BUY, size=Decimal(size), price=Decimal("5.01"), strategy_id="trend-1",
        leaves_qty=Decimal(leaves), session=4,
    )  # fmt: skip


def test_order_works_from_its_approval_to_its_last_fill() -> None:
    shown = told(panels(), approved("a"), accepted("a"))
    assert [(row["order"], row["state"], row["expires"]) for row in shown.book.orders()["working"]] == [
        ("a", "ACCEPTED", 6)
    ]
    told(shown, fill("a", 4, 6))
    assert shown.book.orders()["working"][0]["filled"] == "4"
    told(shown, fill("a", 6, 0))
    orders = shown.book.orders()
    assert orders["working"] == []
    assert [row["qty"] for row in orders["fills"]] == ["6", "4"]


def test_fill_that_ends_a_round_trip_tells_its_profit_after_fees() -> None:
    sales = [
        TradeExecutedEvent(
            order_id=order, symbol="A", side=Side.SELL, size=Decimal(5), price=Decimal("6.01"), strategy_id="trend-1",
            fee=Decimal("0.25"), session=5,
        )
        for order in "bc"
    ]  # fmt: skip
    shown = told(panels(), fill("a", 10, 0), *sales)
    assert [row["pnl"] for row in shown.book.orders()["fills"]] == ["9.50", None, None]


def test_order_that_ends_without_a_fill_says_why() -> None:
    cancelled = OrderCancelledEvent(
        order_id="a", strategy_id="trend-1", symbol="A", kind=OrderKind.ENTRY, remaining_qty=Decimal(10),
        reason="KILL_SWITCH", session=4,
    )  # fmt: skip
    orders = told(panels(), approved("a"), cancelled).book.orders()
    assert orders["working"] == []
    assert [(row["order"], row["state"], row["why"]) for row in orders["ended"]] == [("a", "cancelled", "KILL_SWITCH")]


def sample(number: int, *, in_control: bool = True) -> SampleProcessedEvent:
    return SampleProcessedEvent(
        sample_id=number, characteristic_id=1, mean=0.5, range_value=None, zone="A", in_control=in_control, chart="x",
        centre=0.0, sigma=1.0, z=0.5, session=number,
    )  # fmt: skip


def test_violation_is_open_until_somebody_has_seen_it() -> None:
    violation = ViolationCreatedEvent(
        violation_id="x-1-1", sample_id=1, characteristic_id=1, rule_id=1, rule_name="Outlier", severity="CRITICAL",
    )  # fmt: skip
    created = CharacteristicCreatedEvent(characteristic_id=1, name="x", settings={"type": "imr", "rules": [1]})
    shown = told(panels(), created, sample(0), sample(1, in_control=False), violation)
    assert shown.charts.is_open("x-1-1") is True
    assert shown.charts.view()["open"] == 1
    told(shown, ViolationAcknowledgedEvent(violation_id="x-1-1", user="ada", reason="split"))
    assert shown.charts.is_open("x-1-1") is False
    assert shown.charts.chart(1)["violations"][0]["acknowledged_by"] == "ada"
    assert shown.charts.is_open("x-9-1") is None


def test_limits_are_shown_from_the_sample_on_that_they_judge() -> None:
    created = CharacteristicCreatedEvent(characteristic_id=1, name="x", settings={"type": "imr"})
    limits = ControlLimitsUpdatedEvent(characteristic_id=1, center_line=0.0, ucl=3.0, lcl=-3.0, sigma=1.0)
    shown = told(panels(), created, sample(0), sample(1), limits, *(sample(number) for number in range(2, KEPT + 50)))
    chart = shown.charts.chart(1)
    assert chart["limits"][0]["from"] == 2
    assert len(chart["points"]) == KEPT
    assert len(to_json(chart)) <= FRAME


def test_kill_switch_shows_who_and_when() -> None:
    changed = KillSwitchChangedEvent(
        mode=KillMode.HALT, reason="drill", actor="ada", latched=True, timestamp=datetime(2008, 9, 15, tzinfo=UTC)
    )
    assert told(panels(), changed).run()["kill_switch"] == {
        "mode": "HALT", "latched": True, "actor": "ada", "reason": "drill", "since": "2008-09-15",
    }  # fmt: skip


# --- beside a run ------------------------------------------------------------------------------------------------------


def config() -> Config:
    start, end = SESSIONS
    return load_config(None, "fast", overrides={"universe": {"start": start, "end": end}})


@pytest.fixture(scope="module")
def watched() -> Iterator[tuple[TradingSystem, Panels, str]]:
    """A run that panels look on at, and its digest."""

    async def run() -> tuple[TradingSystem, Panels, str]:
        made = config()
        feed = load_feed(made)
        ids = RunIds(run_id_of(made))
        bus = InMemoryEventBus(max_queue_size=QUEUE_SIZE, identify=ids)
        system = build(bus, made, feed, ids=ids)
        panels = Panels(system.record.points, sessions=len(feed), digest=system.digest.hexdigest)
        bus.tap(panels.take)
        async with bus:
            completed = await system.run()
        return system, panels, completed.digest

    system, panels, digest = asyncio.run(run())
    yield system, panels, digest
    system.close()


def test_watching_changes_no_digest(watched: tuple[TradingSystem, Panels, str]) -> None:
    made = config()
    system, completed = asyncio.run(replay(made, load_feed(made)))
    assert completed.digest == watched[2]
    assert len(system.record.trades) > 5


def test_panels_agree_with_the_record_of_the_run(watched: tuple[TradingSystem, Panels, str]) -> None:
    system, panels, digest = watched
    record, views = system.record, {name: make() for name, make in panels.views().items()}
    run = views["run"]
    assert (run["stage"], run["session"], run["of"], run["digest"]) == (
        "over",
        len(system.feed),
        len(system.feed),
        digest,
    )
    assert record.last is not None
    assert run["equity"] == views["equity"]["last"]["equity"] == f"{record.last.equity:.2f}"
    assert views["equity"]["levels"] == [0.1, 0.16, 0.2]
    assert views["orders"]["filled"] == len(record.trades)
    profits = [fill["pnl"] for fill in views["orders"]["fills"] if fill["pnl"] is not None]
    assert profits[::-1] == [f"{profit:.2f}" for profit in closed_trades(record.trades)] != []
    assert views["denials"]["denied"] == dict(record.denials)
    assert views["strategies"]["stages"]["LIVE"] == len(system.config.strategies.seeds)
    assert {row["name"]: row["points"] for row in views["charts"]["rows"] if row["points"]} == {
        name: tally.points for name, tally in record.charts.items()
    }


def test_every_view_fits_into_a_frame(watched: tuple[TradingSystem, Panels, str]) -> None:
    panels = watched[1]
    sizes = {name: len(to_json(make())) for name, make in panels.views().items()}
    sizes |= {f"chart:{number}": len(to_json(panels.charts.chart(number))) for number in panels.charts.ids()}
    assert {name: size for name, size in sizes.items() if size > FRAME} == {}
