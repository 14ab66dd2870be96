"""Risk state: what it hears, what it sets aside, and that the gate built on it holds whatever the market does."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import ROUND_CEILING, Context, Decimal, FloatOperation, Inexact, Rounded, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantum_trader.config import ExecutionConfig, RiskConfig
from quantum_trader.control.checks import judge
from quantum_trader.control.risk_state import PolicyMissing, PolicyView, RiskState, Stop
from quantum_trader.execution.accounts import Accounts
from quantum_trader.execution.fills import Fill
from quantum_trader.execution.reports import Cancelled, Expired, Rejected, Report
from quantum_trader.execution.venue import PaperVenue
from quantum_trader.model import Bar, HealthStatus, Order, OrderKind, Side, Trigger

CASH = Decimal(100_000)
START = datetime(2013, 1, 1, tzinfo=UTC)
POLICY = PolicyView(
    version=1,
    allowed_strategies=frozenset("ab"),
    global_min_confidence=0.5,
    max_risk_per_trade=0.5,
    max_positions=2,
    gross_limit=1.0,
    effective_session=0,
    confirmed_session=0,
)


def fresh() -> RiskState:
    return RiskState(
        session=0,
        health=HealthStatus.HEALTHY,
        equity=CASH,
        cash=CASH,
        universe=frozenset({"AAPL", "IBM"}),
        policy=POLICY,
        live_strategies=frozenset("ab"),
    )


def bar(
    session: int, price: float = 100.0, *, low: float | None = None, symbol: str = "AAPL", volume: int = 10**6
) -> Bar:
    bottom = price if low is None else low
    return Bar(symbol, session, START + timedelta(days=session), price, price, bottom, bottom, volume)


def entry(session: int = 0, qty: int = 100, n: int = 1, strategy: str = "a", symbol: str = "AAPL") -> Order:
    order_id = f"{session}-{strategy}-{symbol}-BUY-{n}"
    return Order(order_id, "i", strategy, symbol, Side.BUY, OrderKind.ENTRY, Decimal(qty), 100.0, 90.0, 0.9, session)


def test_bars_move_close_and_volume_on() -> None:
    state = fresh()
    for session in range(25):
        state.note_bar(bar(session, 100.0 + session, volume=1_000 * session))
    facts = state.symbols["AAPL"]
    assert (facts.last_session, facts.close, facts.previous_close) == (24, 124.0, 123.0)
    assert facts.adv20 == 1_000 * sum(range(5, 25)) / 20


def test_working_entry_sets_cash_and_exposure_aside_until_it_ends() -> None:
    state = fresh()
    state.note_bar(bar(0))
    state.note_approved(entry())
    needed = Decimal("10110.100000")  # 10,000, a fee of 10, and 1 % of both
    assert (state.free_cash(), state.exposure()) == (CASH - needed, {"AAPL": 10_000.0})
    state.note_leaves(entry().order_id, Decimal(40))
    assert state.exposure() == {"AAPL": 4_000.0}
    state.note_ended(entry().order_id)
    assert (state.free_cash(), state.exposure()) == (CASH, {})


def test_working_exit_sets_nothing_aside() -> None:
    state = fresh()
    state.note_approved(replace(entry(), side=Side.SELL, kind=OrderKind.EXIT))
    assert (state.free_cash(), state.exposure()) == (CASH, {})


def test_last_fill_ends_an_order_and_a_stop_of_nobody_changes_nothing() -> None:
    state = fresh()
    state.note_approved(entry())
    state.note_leaves("0-a-AAPL-BUY-1:stop", Decimal(0))
    assert list(state.working) == [entry().order_id]
    state.note_leaves(entry().order_id, Decimal(0))
    assert state.working == {}


def test_new_session_counts_anew_and_forgets_old_stops() -> None:
    state = fresh()
    state.note_approved(entry())
    state.note_stop(Stop(0, "a", "AAPL"))
    state.open_session(14)
    assert (state.approved_in_session.total(), state.stops) == (0, [Stop(0, "a", "AAPL")])
    state.open_session(15)
    assert state.stops == []


def test_jump_is_remembered_with_its_symbol() -> None:
    state = fresh()
    state.note_bar(bar(3))
    state.note_jump("AAPL", 3)
    state.note_bar(bar(4))
    assert state.symbols["AAPL"].jump_session == 3


def test_policy_is_asked_for_in_vain_before_there_is_one() -> None:
    with pytest.raises(PolicyMissing, match="no policy"):
        replace(fresh(), policy=None).required_policy()


@pytest.mark.parametrize("policy", [POLICY, None])
def test_restored_state_is_the_same(policy: PolicyView | None) -> None:
    state = replace(
        fresh(), policy=policy, excluded={"IBM": "STALE"}, positions={("a", "IBM"): Decimal(3)}, drawdown=0.1
    )
    state.note_bar(bar(0))
    state.note_jump("AAPL", 0)
    state.note_approved(entry())
    state.note_denied(entry(n=2))
    state.note_stop(Stop(0, "b", "IBM"))
    restored = fresh()
    restored.restore(json.loads(json.dumps(state.state())))
    assert restored == state


def test_ambient_decimal_context_changes_no_verdict() -> None:
    state = replace(fresh(), cash=Decimal("10110.10"))
    for session in (0, 1):
        state.note_bar(bar(session, 100.0))
    with localcontext(Context(prec=2, rounding=ROUND_CEILING, traps=[Inexact, Rounded, FloatOperation])):
        assert judge(entry(), state) is None
        state.note_approved(entry())
        assert state.free_cash() == 0


class Desk:
    """Gate, venue and accounts wired by hand, as the components are by events."""

    def __init__(self, costs: ExecutionConfig) -> None:
        # Only the checks that guard the cash are left tight.
        limits = RiskConfig(max_order_notional=1.0, max_symbol_weight=1.0, cooldown=0, burst_pause=0)
        self.state = replace(fresh(), costs=costs, limits=limits)
        self.venue = PaperVenue(costs, cash=CASH)
        self.accounts = Accounts(CASH)
        self.orders = 0

    def hear(self, report: Report) -> None:
        match report:
            case Fill(order_id=order_id, leaves_qty=leaves, trigger=trigger, session=session):
                self.accounts.book(report)
                self.state.note_leaves(order_id, leaves)
                if trigger is Trigger.STOP:
                    self.state.note_stop(Stop(session, report.strategy_id, report.symbol))
            case Cancelled(order) | Expired(order) | Rejected(order):
                self.state.note_ended(order.order_id)

    def trade(self, session: int, prices: dict[str, tuple[float, float]]) -> None:
        self.state.open_session(session)
        for symbol, (price, low) in sorted(prices.items()):
            one = bar(session, price, low=low, symbol=symbol, volume=20_000)
            for report in self.venue.on_bar(one):
                self.hear(report)
            self.state.note_bar(one)
            self.accounts.mark(symbol, session, one.close)
        for report in self.venue.end_session(session):
            self.hear(report)
        statement = self.accounts.close_session(session)
        assert statement.breaches == ()
        self.state.cash, self.state.equity = statement.cash, statement.equity
        self.state.positions = {(line.strategy_id, line.symbol): line.qty for line in statement.positions}
        self.state.policy = replace(POLICY, confirmed_session=session)

    def decide(self, session: int, kind: OrderKind, strategy: str, symbol: str, share: float) -> None:
        """An order for a share of the equity, or of the position."""
        self.orders += 1
        side, reference = (Side.BUY if kind is OrderKind.ENTRY else Side.SELL), self.state.symbols[symbol].close
        most = float(self.state.equity) / reference if side is Side.BUY else self.state.held(strategy, symbol)
        order_id = f"{session}-{strategy}-{symbol}-{side}-{self.orders}"
        stop = reference * 0.85 if side is Side.BUY else None
        order = Order(
            order_id,
            "i",
            strategy,
            symbol,
            side,
            kind,
            Decimal(math.ceil(share * float(most))),
            reference,
            stop,
            0.9,
            session,
        )
        if judge(order, self.state) is not None:
            self.state.note_denied(order)
            return
        self.state.note_approved(order)
        for report in self.venue.submit(order):
            self.hear(report)


MOVES = st.floats(0.8, 1.25)  # inside the collar: a gap of a quarter against a reserve of one percent
KINDS = st.sampled_from([OrderKind.ENTRY, OrderKind.ENTRY, OrderKind.EXIT, OrderKind.TRIM])
WISHES = st.lists(
    st.tuples(KINDS, st.sampled_from("ab"), st.sampled_from(("AAPL", "IBM")), st.floats(0.1, 1.1)),
    min_size=1,
    max_size=4,
)
DAYS = st.lists(st.tuples(MOVES, MOVES, st.floats(0.8, 1.0), WISHES), min_size=5, max_size=20)


@given(DAYS)
def test_no_approved_orders_overdraw_the_account_or_sell_what_is_not_held(
    days: list[tuple[float, float, float, list[tuple[OrderKind, str, str, float]]]],
) -> None:
    desk = Desk(ExecutionConfig(participation=0.2, min_fee=Decimal(1)))
    apple = ibm = 100.0
    for session, (move, other, drop, wishes) in enumerate(days):
        apple, ibm = round(apple * move, 6), round(ibm * other, 6)
        desk.trade(session, {"AAPL": (apple, round(apple * drop, 6)), "IBM": (ibm, round(ibm * drop, 6))})
        for wish in wishes:
            desk.decide(session, *wish)
        assert {working.order.order_id: working.leaves for working in desk.venue.working()} == {
            order_id: pending.leaves for order_id, pending in desk.state.working.items()
        }
        assert desk.venue.cash == desk.accounts.cash >= 0
        assert all(qty > 0 for qty in desk.accounts.quantities().values())
