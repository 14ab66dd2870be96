"""Risk guard: every order gets one answer, each check bites through the bus, and a broken account is acted on once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from eventbus import Event, InMemoryEventBus
from eventbus.testing.recorder import Recorder
from quantum_trader.config import Costs, RiskConfig
from quantum_trader.control.checks import CHECKS
from quantum_trader.control.risk_guard import RiskGuard
from quantum_trader.control.risk_state import RiskState
from quantum_trader.events import (
    ComponentHeartbeatEvent,
    FeedAnomalyEvent,
    HealthStatusChangedEvent,
    KillSwitchChangedEvent,
    KillSwitchRequestedEvent,
    MarketBarEvent,
    OpportunitiesUpdatedEvent,
    OrderApprovedEvent,
    OrderCancelledEvent,
    OrderDeniedEvent,
    OrdersSizedEvent,
    PolicyUpdatedEvent,
    PortfolioUpdatedEvent,
    PositionItem,
    RunStartedEvent,
    SessionClosedEvent,
    SizedOrder,
    StrategyPromotedEvent,
    TradeExecutedEvent,
)
from quantum_trader.model import (
    HealthStatus,
    KillMode,
    OrderKind,
    RiskMode,
    Side,
    StrategyLifecycle,
    Trigger,
    money,
)

START = datetime(2001, 1, 1, tzinfo=UTC)
NOW = 10
ZERO = Decimal(0)


def sized(**changes: Any) -> SizedOrder:
    """100 AAPL at 100 with a stop at 95: 10 % of equity, 0.5 % of it at risk."""
    usual: dict[str, Any] = {
        "order_id": f"{NOW}-s-AAPL-BUY-1",
        "intent_id": "i",
        "strategy_id": "s",
        "symbol": "AAPL",
        "side": Side.BUY,
        "kind": OrderKind.ENTRY,
        "qty": 100,
        "reference_px": 100.0,
        "stop_px": 95.0,
        "confidence": 0.9,
        "notional": Decimal(10_000),
        "risk": Decimal(500),
    }
    return SizedOrder(**usual | changes)


def leaving(**changes: Any) -> SizedOrder:
    """All 50 that are held of IBM."""
    usual: dict[str, Any] = {"order_id": f"{NOW}-s-IBM-SELL-1", "symbol": "IBM", "side": Side.SELL, "stop_px": None}
    return sized(**usual | {"kind": OrderKind.EXIT, "qty": 50} | changes)


def bar(symbol: str, session: int, close: float = 100.0, volume: int = 1_000_000) -> MarketBarEvent:
    return MarketBarEvent(
        symbol=symbol, session=session, open=close, high=close, low=close, close=close, volume=volume,
        timestamp=START + timedelta(days=session),
    )  # fmt: skip


def policy(**changes: Any) -> PolicyUpdatedEvent:
    usual: dict[str, Any] = {
        "risk_mode": RiskMode.AGGRESSIVE,
        "allowed_strategies": ["s"],
        "global_min_confidence": 0.55,
        "max_risk_per_trade": 0.015,
        "max_positions": 2,
        "gross_limit": 0.8,
        "version": 7,
        "session": NOW - 1,
        "effective_session": NOW - 1,
    }
    return PolicyUpdatedEvent(**usual | changes)


def portfolio(**changes: Any) -> PortfolioUpdatedEvent:
    usual: dict[str, Any] = {
        "session": NOW,
        "cash": money(95_000),
        "equity": money(100_000),
        "gross": money(5_000),
        "realised": ZERO,
        "fees": ZERO,
        "drawdown": 0.0,
        "day_return": 0.0,
        "positions": (position("s", "IBM", 50),),
    }
    return PortfolioUpdatedEvent(**usual | changes)


def position(strategy_id: str, symbol: str, qty: int) -> PositionItem:
    return PositionItem(
        strategy_id=strategy_id, symbol=symbol, qty=Decimal(qty), avg_price=money(100), last=money(100), stop_px=None,
        unrealised=ZERO, stale=False,
    )  # fmt: skip


def stopped(strategy_id: str, symbol: str, session: int) -> TradeExecutedEvent:
    return TradeExecutedEvent(
        order_id=f"1-{strategy_id}-{symbol}-BUY-1:stop", symbol=symbol, side=Side.SELL, size=Decimal(1),
        price=Decimal(1), strategy_id=strategy_id, trigger=Trigger.STOP, session=session,
    )  # fmt: skip


def health(status: HealthStatus) -> HealthStatusChangedEvent:
    return HealthStatusChangedEvent(old_status=HealthStatus.HEALTHY, new_status=status, component="DATA", reason="")


def live(strategy_id: str = "s", stage: StrategyLifecycle = StrategyLifecycle.LIVE) -> StrategyPromotedEvent:
    return StrategyPromotedEvent(
        strategy_id=strategy_id, from_stage=StrategyLifecycle.SHADOW, to_stage=stage, reason=""
    )


class Desk:
    """A guard on a running bus that has heard of a world in which `sized()` and `leaving()` both go."""

    def __init__(self, bus: InMemoryEventBus, heard: Recorder) -> None:
        self.bus, self.heard = bus, heard
        state = RiskState(
            session=-1,
            health=HealthStatus.HEALTHY,
            equity=money(100_000),
            cash=money(100_000),
            universe=frozenset(),
            limits=RiskConfig(),
            costs=Costs(),
        )
        self.guard = RiskGuard(bus, state, warrant=lambda _: True)

    async def tell(self, *events: Event) -> None:
        for event in events:
            await self.bus.publish(event)
            await self.bus.drain()

    async def settle(self) -> None:
        universe = ("AAPL", "IBM", "MSFT")
        await self.tell(
            RunStartedEvent(run_id="r", seed=1, config_sha256="", code_version="", universe=universe),
            live(),
            policy(),
        )
        for session in (NOW - 1, NOW):
            await self.tell(*(bar(symbol, session) for symbol in universe))
        await self.tell(SessionClosedEvent(session=NOW), portfolio())

    async def judge(self, *items: SizedOrder, session: int = NOW) -> list[str]:
        """The answers: "" for an approval, the code for a denial, in the order of the items."""
        self.heard.clear()
        await self.tell(OrdersSizedEvent(session=session, policy_version=7, items=items))
        answers = [event for event in self.heard.events if isinstance(event, OrderApprovedEvent | OrderDeniedEvent)]
        assert [answer.order_id for answer in answers] == [item.order_id for item in items], "one answer per order"
        return [answer.code if isinstance(answer, OrderDeniedEvent) else "" for answer in answers]


@pytest.fixture
async def desk(event_bus: InMemoryEventBus, recorder: Recorder) -> Desk:
    made = Desk(event_bus, recorder)
    await made.settle()
    return made


async def test_in_a_good_world_an_entry_and_an_exit_go(desk: Desk) -> None:
    assert await desk.judge(sized(), leaving()) == ["", ""]
    approval = desk.heard.of(OrderApprovedEvent)[0]
    (cause,) = desk.heard.of(OrdersSizedEvent)
    assert (approval.source, approval.causation_id) == ("risk_guard", cause.event_id)
    assert (approval.qty, approval.reference_px, approval.stop_px, approval.policy_version) == (
        Decimal(100),
        100.0,
        95.0,
        7,
    )


Events = Callable[[], tuple[Event, ...]]

# What the guard has to hear so that the check denies an entry; for some the order itself is what is wrong.
DENIED: dict[str, tuple[Events, SizedOrder]] = {
    "KILL_SWITCH": (
        lambda: (KillSwitchChangedEvent(mode=KillMode.REDUCE_ONLY, reason="", actor="ada"),),
        sized(),
    ),
    "HEALTH_CRITICAL": (lambda: (health(HealthStatus.CRITICAL),), sized()),
    "POLICY_STALE": (lambda: (policy(effective_session=NOW + 1),), sized()),
    "STRATEGY_NOT_ALLOWED": (lambda: (live(stage=StrategyLifecycle.RETIRED),), sized()),
    "SYMBOL_NOT_ALLOWED": (
        lambda: (FeedAnomalyEvent(symbol="AAPL", session=NOW, kind="JUMP", detail=""),),
        sized(),
    ),
    "QTY_INVALID": (tuple, sized(qty=0)),
    "SHORT": (tuple, sized(side=Side.SELL)),
    "PRICE_INVALID": (tuple, sized(stop_px=100.0)),
    "PRICE_STALE": (lambda: (SessionClosedEvent(session=NOW + 4), policy(session=NOW + 4)), sized()),
    "PRICE_COLLAR": (lambda: (bar("AAPL", NOW, 140.0), bar("AAPL", NOW, 100.0)), sized()),
    "CONFIDENCE": (tuple, sized(confidence=0.5)),
    "DUPLICATE": (lambda: (OrdersSizedEvent(session=NOW, policy_version=7, items=(sized(),)),), sized()),
    "ORDER_RATE": (
        lambda: (
            portfolio(positions=tuple(position(f"s{n}", "IBM", 1) for n in range(10))),
            OrdersSizedEvent(
                session=NOW,
                policy_version=7,
                items=tuple(leaving(order_id=f"x{n}", strategy_id=f"s{n}", qty=1) for n in range(10)),
            ),
        ),
        sized(),
    ),
    "ORDER_NOTIONAL": (tuple, sized(qty=251, stop_px=99.0)),
    "RISK_PER_TRADE": (tuple, sized(stop_px=84.0)),
    "MAX_POSITIONS": (
        lambda: (portfolio(positions=(position("t", "IBM", 1), position("t", "MSFT", 1))),),
        sized(),
    ),
    "SYMBOL_WEIGHT": (lambda: (portfolio(positions=(position("t", "AAPL", 201),)),), sized()),
    "GROSS_LIMIT": (lambda: (policy(gross_limit=0.14),), sized()),
    "CASH": (lambda: (portfolio(cash=money(10_110)),), sized()),
    "PARTICIPATION": (lambda: tuple(bar("AAPL", NOW, volume=1) for _ in range(20)), sized()),
    "DAILY_LOSS": (lambda: (portfolio(day_return=-0.03),), sized()),
    "MAX_DRAWDOWN": (lambda: (portfolio(drawdown=0.2),), sized()),
    "COOLDOWN": (lambda: (stopped("s", "AAPL", NOW - 1),), sized()),
    "POSITION_MISMATCH": (tuple, sized(side=Side.SELL, kind=OrderKind.EXIT)),
}


def test_every_check_is_asked_through_the_bus() -> None:
    assert list(DENIED) == [check.code for check in CHECKS]


@pytest.mark.parametrize("code", DENIED)
async def test_what_is_heard_makes_the_check_bite(desk: Desk, code: str) -> None:
    events, item = DENIED[code]
    await desk.tell(*events())
    assert await desk.judge(item) == [code]
    (denial,) = desk.heard.of(OrderDeniedEvent)
    assert (denial.source, denial.strategy_id, denial.symbol, denial.kind) == (
        "risk_guard", item.strategy_id, item.symbol, item.kind,
    )  # fmt: skip
    assert str(denial.limit)
    assert str(denial.value)


async def test_a_guard_that_has_heard_nothing_denies_an_entry(event_bus: InMemoryEventBus, recorder: Recorder) -> None:
    assert await Desk(event_bus, recorder).judge(sized()) == ["POLICY_STALE"]


async def test_a_heartbeat_of_the_policy_in_force_confirms_it_and_another_does_not(desk: Desk) -> None:
    late = NOW + 5
    await desk.tell(*(bar("AAPL", session) for session in range(NOW + 1, late + 1)), SessionClosedEvent(session=late))
    assert await desk.judge(sized(order_id="a"), session=late) == ["POLICY_STALE"]
    await desk.tell(ComponentHeartbeatEvent(component="MSC_AI", session=late, state_version=6))
    assert await desk.judge(sized(order_id="b"), session=late) == ["POLICY_STALE"]
    await desk.tell(ComponentHeartbeatEvent(component="MSC_AI", session=late, state_version=7))
    assert await desk.judge(sized(order_id="c"), session=late) == [""]


async def test_an_exclusion_of_the_ranker_is_heeded_until_it_ends(desk: Desk) -> None:
    await desk.tell(OpportunitiesUpdatedEvent(top_symbols=[], scores={}, excluded={"AAPL": "ILLIQUID"}))
    assert await desk.judge(sized(order_id="a")) == ["SYMBOL_NOT_ALLOWED"]
    await desk.tell(OpportunitiesUpdatedEvent(top_symbols=["AAPL"], scores={}))
    assert await desk.judge(sized(order_id="b")) == [""]


async def test_an_approved_entry_sets_cash_aside_until_it_ends(desk: Desk) -> None:
    await desk.tell(portfolio(cash=money(15_000)))
    assert await desk.judge(sized(order_id="a"), sized(order_id="b", strategy_id="s2")) == ["", "STRATEGY_NOT_ALLOWED"]
    await desk.tell(live("s2"), policy(allowed_strategies=["s", "s2"]))
    assert await desk.judge(sized(order_id="c", strategy_id="s2")) == ["CASH"]
    await desk.tell(
        OrderCancelledEvent(
            order_id="a",
            strategy_id="s",
            symbol="AAPL",
            kind=OrderKind.ENTRY,
            remaining_qty=Decimal(100),
            reason="",
            session=NOW,
        )
    )
    assert await desk.judge(sized(order_id="d", strategy_id="s2")) == [""]


async def test_exits_go_when_entries_may_not(desk: Desk) -> None:
    await desk.tell(
        KillSwitchChangedEvent(mode=KillMode.REDUCE_ONLY, reason="", actor="ada"),
        health(HealthStatus.CRITICAL),
        portfolio(drawdown=0.5, day_return=-0.5),
    )
    assert await desk.judge(sized(), leaving()) == ["KILL_SWITCH", ""]
    await desk.tell(KillSwitchChangedEvent(mode=KillMode.HALT, reason="", actor="ada"))
    assert await desk.judge(leaving(order_id="later")) == ["KILL_SWITCH"]


async def test_an_exit_too_large_for_the_volume_goes_with_a_warning(desk: Desk) -> None:
    await desk.tell(*(bar("IBM", NOW, volume=1) for _ in range(20)))
    assert await desk.judge(leaving()) == [""]
    assert desk.heard.of(OrderApprovedEvent)[0].warnings == ("PARTICIPATION",)


@pytest.mark.parametrize(
    ("account", "mode"),
    [
        (portfolio(drawdown=0.2), KillMode.REDUCE_ONLY),
        (portfolio(invariants_ok=False, breaches=("cash is -1",)), KillMode.HALT),
    ],
)
async def test_a_broken_account_asks_the_kill_switch_once_and_latched(
    desk: Desk, account: PortfolioUpdatedEvent, mode: KillMode
) -> None:
    desk.heard.clear()
    await desk.tell(account, account, account)
    (request,) = desk.heard.of(KillSwitchRequestedEvent)
    assert (request.mode, request.latch, request.actor) == (mode, True, "risk_guard")


async def test_broken_books_are_worse_than_a_drawdown_asked_for_before(desk: Desk) -> None:
    desk.heard.clear()
    await desk.tell(portfolio(drawdown=0.3), portfolio(drawdown=0.3, invariants_ok=False, breaches=("cash is -1",)))
    assert [event.mode for event in desk.heard.of(KillSwitchRequestedEvent)] == [KillMode.REDUCE_ONLY, KillMode.HALT]


async def test_after_it_was_switched_off_a_drawdown_that_lasts_asks_again(desk: Desk) -> None:
    await desk.tell(portfolio(drawdown=0.3), KillSwitchChangedEvent(mode=KillMode.OFF, reason="", actor="ada"))
    desk.heard.clear()
    await desk.tell(portfolio(drawdown=0.3))
    assert len(desk.heard.of(KillSwitchRequestedEvent)) == 1
