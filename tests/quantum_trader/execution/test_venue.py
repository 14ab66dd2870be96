"""Paper venue: what each bar, switch and session end does to orders, stops and positions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from quantum_trader.config import DelistingConfig, ExecutionConfig
from quantum_trader.execution.accounts import Accounts
from quantum_trader.execution.fills import Fill
from quantum_trader.execution.order_state import OrderState
from quantum_trader.execution.reports import Accepted, Cancelled, CancelReason, Expired, RejectCode, Rejected, Report
from quantum_trader.execution.venue import PaperVenue
from quantum_trader.model import Bar, KillMode, Order, OrderKind, Side, Trigger

PLAIN = ExecutionConfig(half_spread_bp=0.0, impact_bp=0.0, participation=1.0, fee_rate=Decimal(0))
THIN = PLAIN.model_copy(update={"participation": 0.01})
START = datetime(2013, 1, 1, tzinfo=UTC)
SIDE = {OrderKind.ENTRY: Side.BUY, OrderKind.EXIT: Side.SELL, OrderKind.TRIM: Side.SELL}


def bar(
    session: int, open_: float = 100.0, low: float | None = None, *, volume: float = 1_000, symbol: str = "AAPL"
) -> Bar:
    bottom = open_ if low is None else low
    ts = START + timedelta(days=session)
    return Bar(symbol, session, ts, open_, open_ + 1.0, bottom, bottom + 0.5, volume)


def order(
    kind: OrderKind = OrderKind.ENTRY,
    qty: float = 10,
    *,
    session: int = 0,
    stop: float | None = None,
    strategy: str = "s",
    symbol: str = "AAPL",
    n: int = 1,
) -> Order:
    order_id = f"{session}-{strategy}-{symbol}-{kind}-{n}"
    return Order(order_id, "i", strategy, symbol, SIDE[kind], kind, Decimal(qty), 100.0, stop, session=session)


def venue(costs: ExecutionConfig = PLAIN, cash: int = 100_000) -> PaperVenue:
    return PaperVenue(costs, cash=Decimal(cash))


def holding(qty: float = 10, *, stop: float | None = None, costs: ExecutionConfig = PLAIN) -> PaperVenue:
    """A venue where strategy s bought `qty` AAPL at 100 in session 1."""
    v = venue(costs)
    v.submit(order(qty=qty, stop=stop))
    v.on_bar(bar(1, volume=10**6))
    return v


def only_fill(reports: Sequence[Report]) -> Fill:
    (fill,) = reports
    assert isinstance(fill, Fill)
    return fill


def test_order_fills_at_the_next_open_never_on_its_own_bar() -> None:
    v = venue()
    assert v.submit(order()) == [Accepted(order(), 3)]
    assert list(v.on_bar(bar(0))) == []
    fill = only_fill(v.on_bar(bar(1, 102.0)))
    assert (fill.fill_id, fill.qty, fill.price, fill.session) == ("0-s-AAPL-ENTRY-1#1", Decimal(10), Decimal(102), 1)
    assert (fill.trigger, fill.leaves_qty) == (Trigger.OPEN, Decimal(0))
    assert fill.shortfall_bp == pytest.approx(200.0)
    assert (v.cash, v.positions()) == (Decimal(98_980), {("s", "AAPL"): Decimal(10)})


def test_older_orders_fill_first_then_by_id() -> None:
    v = venue()
    orders = [order(strategy="z", session=9), order(strategy="a", session=10), order(strategy="b", session=10)]
    for each in reversed(orders):
        v.submit(each)
    filled = [fill.order_id for fill in v.on_bar(bar(11)) if isinstance(fill, Fill)]
    assert filled == [each.order_id for each in orders]


def test_remainder_works_on_and_expires_with_its_fills_kept() -> None:
    v = venue(THIN)
    v.submit(order(qty=25))
    leaves = [
        only_fill(v.on_bar(bar(session, volume=800))).leaves_qty
        for session in (1, 2, 3)
        if not v.end_session(session - 1)
    ]
    assert leaves == [17, 9, 1]
    assert v.end_session(3) == [Expired(order(qty=25), Decimal(1))]
    assert (v.working(), v.positions()) == ([], {("s", "AAPL"): Decimal(24)})


def test_missing_bar_makes_an_order_wait() -> None:
    v = venue()
    v.submit(order())
    assert list(v.on_bar(bar(1, symbol="IBM"))) == []
    assert v.end_session(1) == []
    assert only_fill(v.on_bar(bar(2))).session == 2


def test_bar_delivered_twice_fills_once() -> None:
    v = venue(THIN)
    v.submit(order(qty=25))
    assert len(v.on_bar(bar(1))) == 1
    assert list(v.on_bar(bar(1))) == []


def test_known_order_id_is_ignored_and_counted() -> None:
    v = venue()
    v.submit(order())
    v.on_bar(bar(1))
    state = v.state()
    assert list(v.submit(order())) == []
    assert v.duplicates == 1
    assert v.state() == state | {"duplicates": 1}


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (replace(order(n=2), side=Side.SELL), RejectCode.SIDE_MISMATCH),
        (replace(order(OrderKind.EXIT), side=Side.BUY), RejectCode.SIDE_MISMATCH),
        (order(qty=0, n=2), RejectCode.QTY_INVALID),
        (order(OrderKind.EXIT, strategy="other"), RejectCode.NO_POSITION),
        (order(OrderKind.TRIM, symbol="IBM"), RejectCode.NO_POSITION),
    ],
)
def test_impossible_order_is_rejected(wrong: Order, code: RejectCode) -> None:
    v = holding()
    assert v.submit(wrong) == [Rejected(wrong, code)]
    assert v.working() == []


def test_second_working_order_of_a_kind_is_rejected_for_its_pair_only() -> None:
    v = venue()
    v.submit(order())
    second = order(n=2)
    assert v.submit(second) == [Rejected(second, RejectCode.WORKING_ORDER)]
    assert v.submit(order(strategy="other")) == [Accepted(order(strategy="other"), 3)]


def test_exit_cancels_the_working_entry_of_its_pair_first() -> None:
    v = holding()
    more, leave = order(session=1), order(OrderKind.EXIT, session=1)
    v.submit(more)
    assert v.submit(leave) == [Cancelled(more, Decimal(10), CancelReason.SUPERSEDED), Accepted(leave, 4)]


def test_exit_without_a_position_still_cancels_the_entry() -> None:
    v = venue()
    v.submit(order())
    leave = order(OrderKind.EXIT)
    assert v.submit(leave) == [
        Cancelled(order(), Decimal(10), CancelReason.SUPERSEDED),
        Rejected(leave, RejectCode.NO_POSITION),
    ]


def test_exit_larger_than_the_position_is_clipped() -> None:
    v = holding(10)
    leave = order(OrderKind.EXIT, 15, session=1)
    v.submit(leave)
    fill, rest = v.on_bar(bar(2))
    assert isinstance(fill, Fill)
    assert (fill.qty, fill.leaves_qty) == (Decimal(10), Decimal(5))
    assert rest == Cancelled(leave, Decimal(5), CancelReason.POSITION_CLOSED)
    assert v.positions() == {}


def test_trim_keeps_the_rest_and_its_stop() -> None:
    v = holding(10, stop=90.0)
    v.submit(order(OrderKind.TRIM, 4, session=1))
    assert only_fill(v.on_bar(bar(2))).stop == 90.0
    assert only_fill(v.on_bar(bar(3, 95.0, 85.0))).qty == 6


def test_stop_sells_at_its_level() -> None:
    v = holding(10, stop=90.0)
    fill = only_fill(v.on_bar(bar(2, 95.0, 85.0)))
    assert (fill.price, fill.trigger, fill.shortfall_bp) == (Decimal(90), Trigger.STOP, 0.0)
    assert (fill.order_id, fill.fill_id) == ("0-s-AAPL-ENTRY-1:stop", "0-s-AAPL-ENTRY-1:stop#1")
    assert v.positions() == {}


def test_stop_fills_through_a_gap_at_the_open() -> None:
    v = venue()
    v.submit(replace(order(), reference=53.5, stop=48.0))
    v.on_bar(bar(1, 53.5))
    fill = only_fill(v.on_bar(bar(2, 28.19, 25.0)))
    assert fill.price == Decimal("28.190000")
    assert fill.shortfall_bp == pytest.approx((1 - 28.19 / 48.0) * 1e4)


def test_stop_guards_the_entry_bar_itself() -> None:
    v = venue()
    v.submit(order(stop=95.0))
    entry, stopped = v.on_bar(bar(1, 100.0, 94.0))
    assert isinstance(entry, Fill)
    assert isinstance(stopped, Fill)
    assert (entry.trigger, entry.stop) == (Trigger.OPEN, 95.0)
    assert (stopped.trigger, stopped.price) == (Trigger.STOP, Decimal(95))


def test_a_stop_takes_no_more_of_a_bar_than_an_order_and_its_rest_goes_first_at_the_next_open() -> None:
    v = holding(10, stop=90.0, costs=THIN)
    at_its_level = only_fill(v.on_bar(bar(2, 95.0, 85.0, volume=300)))
    assert (at_its_level.trigger, at_its_level.qty, at_its_level.price) == (Trigger.STOP, Decimal(3), Decimal(90))
    leave = order(OrderKind.EXIT, session=2)
    v.submit(leave)
    rest, exited, ended = v.on_bar(bar(3, 80.0, volume=400))
    assert ended == Cancelled(leave, Decimal(7), CancelReason.POSITION_CLOSED)
    assert isinstance(rest, Fill)
    assert isinstance(exited, Fill)
    assert (rest.trigger, rest.qty, rest.price, rest.leaves_qty) == (Trigger.STOP, Decimal(4), Decimal(80), Decimal(3))
    assert (exited.trigger, exited.qty, exited.leaves_qty) == (Trigger.OPEN, Decimal(3), Decimal(7))
    assert (rest.order_id, rest.fill_id) == (at_its_level.order_id, "0-s-AAPL-ENTRY-1:stop#2")


def test_the_rest_of_a_stop_never_expires_and_no_entry_comes_between() -> None:
    v = holding(10, stop=90.0, costs=THIN)
    v.on_bar(bar(2, 95.0, 85.0, volume=300))
    assert [report for session in range(2, 5) for report in v.end_session(session)] == []
    again = order(session=4)
    assert v.submit(again) == [Rejected(again, RejectCode.WORKING_ORDER)]
    last = only_fill(v.on_bar(bar(6, 95.0, volume=10_000)))
    assert (last.trigger, last.qty, last.price, last.leaves_qty) == (Trigger.STOP, Decimal(7), Decimal(95), Decimal(0))
    assert v.positions() == {}


def test_queued_exit_at_the_open_wins_over_the_stop() -> None:
    v = holding(10, stop=90.0)
    v.submit(order(OrderKind.EXIT, session=1))
    fill = only_fill(v.on_bar(bar(2, 95.0, 85.0)))
    assert (fill.trigger, fill.price) == (Trigger.OPEN, Decimal(95))


def test_stop_takes_what_a_partial_exit_left_and_ends_it_with_the_last_of_it() -> None:
    v = holding(10, stop=90.0, costs=THIN)
    leave = order(OrderKind.EXIT, session=1)
    v.submit(leave)
    first, stopped = v.on_bar(bar(2, 95.0, 85.0, volume=300))
    assert isinstance(first, Fill)
    assert isinstance(stopped, Fill)
    assert (first.qty, stopped.qty, stopped.leaves_qty) == (Decimal(3), Decimal(3), Decimal(4))
    last, rest = v.on_bar(bar(3, 85.0, volume=400))
    assert isinstance(last, Fill)
    assert (last.trigger, last.leaves_qty) == (Trigger.STOP, Decimal(0))
    assert rest == Cancelled(leave, Decimal(7), CancelReason.POSITION_CLOSED)


def test_stopping_out_ends_the_rest_of_the_entry() -> None:
    v = venue(THIN)
    entry = order(stop=95.0)
    v.submit(entry)
    bought, stopped, rest = v.on_bar(bar(1, 100.0, 94.0, volume=400))
    assert isinstance(bought, Fill)
    assert isinstance(stopped, Fill)
    assert (bought.qty, stopped.qty) == (Decimal(4), Decimal(4))
    assert rest == Cancelled(entry, Decimal(6), CancelReason.STOPPED_OUT)


def test_adding_to_a_position_never_loosens_its_stop() -> None:
    v = holding(10, stop=90.0)
    v.submit(order(session=1, stop=80.0))
    assert only_fill(v.on_bar(bar(2))).stop == 90.0
    assert only_fill(v.on_bar(bar(3, 95.0, 89.0))).qty == 20


def test_a_position_without_bars_is_held_until_its_symbol_trades_again() -> None:
    v = holding(10, stop=90.0)
    leave = order(OrderKind.EXIT, session=1)
    v.submit(leave)
    assert [v.end_session(session) for session in range(1, 4)] == [[], [], []]
    assert v.end_session(4) == [Expired(leave, Decimal(10))]
    assert [v.end_session(session) for session in range(5, 70)] == [[]] * 65
    assert only_fill(v.on_bar(bar(70, 10.0))).price == Decimal(10)


@pytest.mark.parametrize(("haircut", "price"), [(1.0, Decimal(0)), (0.25, Decimal("75.375"))])
def test_a_haircut_writes_a_position_off_after_exactly_its_sessions(haircut: float, price: Decimal) -> None:
    v = holding(10, stop=90.0, costs=PLAIN.model_copy(update={"delisting": cut(haircut), "fee_rate": Decimal("0.1")}))
    wanting = order(session=4)
    v.submit(wanting)
    cash = v.cash
    assert [v.end_session(session) for session in range(1, 6)] == [[]] * 5
    fill, rest = v.end_session(6)
    assert isinstance(fill, Fill)
    assert (fill.trigger, fill.price, fill.qty, fill.fee) == (Trigger.DELISTED, price, Decimal(10), Decimal(0))
    assert fill.fill_id == "0-s-AAPL-ENTRY-1:delisted#1"
    assert rest == Cancelled(wanting, Decimal(10), CancelReason.DELISTED)
    assert (v.positions(), v.cash - cash) == ({}, 10 * price)


def test_a_symbol_that_reopens_after_a_write_off_trades_as_new() -> None:
    v = holding(10, costs=PLAIN.model_copy(update={"delisting": cut(1.0)}))
    v.end_session(6)
    assert list(v.on_bar(bar(7, 300.0))) == []
    v.submit(order(session=7, n=2))
    assert only_fill(v.on_bar(bar(8, 300.0))).price == Decimal(300)


def cut(haircut: float) -> DelistingConfig:
    return DelistingConfig(policy="haircut", haircut=haircut)


def test_entry_is_cut_to_the_cash_and_the_rest_cancelled() -> None:
    v = venue(cash=1_000)
    v.submit(order(qty=10))
    fill, rest = v.on_bar(bar(1, 130.0))
    assert isinstance(fill, Fill)
    assert (fill.qty, v.cash) == (Decimal(7), Decimal(90))
    assert rest == Cancelled(order(qty=10), Decimal(3), CancelReason.CASH)


def test_entry_without_cash_is_cancelled_whole() -> None:
    v = venue(cash=90)
    v.submit(order(qty=10))
    assert v.on_bar(bar(1)) == [Cancelled(order(qty=10), Decimal(10), CancelReason.CASH)]


def test_halt_cancels_everything_and_accepts_nothing() -> None:
    v = holding()
    entry, leave = order(strategy="other", session=1), order(OrderKind.EXIT, 5, session=1)
    v.submit(entry)
    v.submit(leave)
    halted = [
        Cancelled(entry, Decimal(10), CancelReason.KILL_SWITCH),
        Cancelled(leave, Decimal(5), CancelReason.KILL_SWITCH),
    ]
    assert v.set_mode(KillMode.HALT) == halted
    again = order(OrderKind.EXIT, session=1, n=2)
    assert v.submit(again) == [Rejected(again, RejectCode.KILL_SWITCH)]


def test_stops_wait_while_halted_and_work_again_after() -> None:
    v = holding(10, stop=90.0)
    v.set_mode(KillMode.HALT)
    assert list(v.on_bar(bar(2, 85.0))) == []
    assert v.end_session(20) == []
    v.set_mode(KillMode.REDUCE_ONLY)
    assert only_fill(v.on_bar(bar(3, 80.0))).price == Decimal(80)


def test_reduce_only_cancels_entries_and_lets_exits_through() -> None:
    v = holding()
    entry, leave = order(strategy="other", session=1), order(OrderKind.EXIT, session=1)
    v.submit(entry)
    v.submit(leave)
    assert v.set_mode(KillMode.REDUCE_ONLY) == [Cancelled(entry, Decimal(10), CancelReason.KILL_SWITCH)]
    late = order(strategy="third", session=1)
    assert v.submit(late) == [Rejected(late, RejectCode.KILL_SWITCH)]
    assert only_fill(v.on_bar(bar(2))).order_id == leave.order_id


def test_restored_venue_goes_on_as_the_one_it_was() -> None:
    first = holding(10, stop=90.0, costs=THIN)
    first.submit(order(OrderKind.EXIT, session=1))
    first.on_bar(bar(2, volume=300))
    second = venue(THIN, cash=1)
    second.restore(json.loads(json.dumps(first.state())))
    assert second.state() == first.state()
    assert second.on_bar(bar(3, 95.0, 85.0)) == first.on_bar(bar(3, 95.0, 85.0))
    assert second.state() == first.state()


PRICES = st.floats(1.0, 200.0).map(lambda price: round(price, 6))
STRATEGIES = st.sampled_from("st")
SYMBOLS = st.sampled_from(("AAPL", "IBM"))


class VenueAndAccounts(RuleBasedStateMachine):
    """Any orders, bars and switches: the account is never overdrawn or short, and two sets of books agree."""

    @initialize(
        cash=st.integers(1, 5_000),
        min_fee=st.sampled_from([Decimal(0), Decimal(3)]),
        haircut=st.none() | st.sampled_from([0.0, 0.5, 1.0]),
    )
    def open(self, cash: int, min_fee: Decimal, haircut: float | None) -> None:
        delisting = DelistingConfig() if haircut is None else cut(haircut)
        self.costs = ExecutionConfig(
            half_spread_bp=3.0, impact_bp=20.0, participation=0.3, min_fee=min_fee, delisting=delisting
        )
        self.venue = PaperVenue(self.costs, cash=Decimal(cash))
        self.accounts = Accounts(Decimal(cash), audit_every=2)
        self.session = 0
        self.orders = 0
        self.reports: list[Report] = []
        self.submitted: dict[str, Order] = {}

    def take(self, reports: Sequence[Report]) -> None:
        self.reports += reports
        for report in reports:
            if isinstance(report, Fill):
                assert self.accounts.book(report) is not None
                assert self.accounts.book(report) is None

    @rule(
        kind=st.sampled_from(OrderKind),
        qty=st.integers(0, 60),
        stop=st.none() | PRICES,
        strategy=STRATEGIES,
        symbol=SYMBOLS,
    )
    def submit(self, kind: OrderKind, qty: int, stop: float | None, strategy: str, symbol: str) -> None:
        self.orders += 1
        new = order(kind, qty, session=self.session, stop=stop, strategy=strategy, symbol=symbol, n=self.orders)
        self.submitted[new.order_id] = new
        self.take(self.venue.submit(new))

    @rule(symbols=st.sets(SYMBOLS), open_=PRICES, drop=st.floats(0.0, 1.0), volume=st.integers(0, 200))
    def trade(self, symbols: set[str], open_: float, drop: float, volume: int) -> None:
        self.session += 1
        for symbol in sorted(symbols):
            one = bar(self.session, open_, round(open_ * (1.0 - drop), 6), volume=volume, symbol=symbol)
            self.take(self.venue.on_bar(one))
            self.accounts.mark(symbol, self.session, one.close)
        self.take(self.venue.end_session(self.session))
        assert self.accounts.close_session(self.session).breaches == ()

    @rule(mode=st.sampled_from([KillMode.OFF, KillMode.OFF, KillMode.REDUCE_ONLY, KillMode.HALT]))
    def switch(self, mode: KillMode) -> None:
        self.take(self.venue.set_mode(mode))

    @rule()
    def crash(self) -> None:
        state = json.loads(json.dumps([self.venue.state(), self.accounts.state()]))
        self.venue = PaperVenue(self.costs, cash=Decimal(1))
        self.venue.restore(state[0])
        self.accounts.restore(state[1])

    @invariant()
    def nothing_is_owed(self) -> None:
        assert self.venue.cash == self.accounts.cash >= 0
        assert self.venue.positions() == self.accounts.quantities()
        assert all(qty > 0 for qty in self.venue.positions().values())
        assert self.accounts.imbalance() == 0

    @invariant()
    def one_order_of_a_kind_works_for_a_pair(self) -> None:
        working = [(w.order.strategy_id, w.order.symbol, w.order.kind) for w in self.venue.working()]
        assert len(working) == len(set(working))
        assert all(w.state in {OrderState.ACCEPTED, OrderState.PARTIALLY_FILLED} for w in self.venue.working())

    @invariant()
    def every_order_is_working_or_was_ended_once(self) -> None:
        filled = dict.fromkeys(self.submitted, Decimal(0))
        ended = dict.fromkeys(self.submitted, 0)
        for report in self.reports:
            match report:
                case Fill(order_id=order_id, qty=qty, leaves_qty=leaves) if order_id in filled:
                    filled[order_id] += qty
                    ended[order_id] += not leaves
                    assert filled[order_id] + leaves == self.submitted[order_id].qty
                case Cancelled(ended_order, remaining) | Expired(ended_order, remaining):
                    ended[ended_order.order_id] += 1
                    assert filled[ended_order.order_id] + remaining == ended_order.qty
                case Rejected(refused):
                    ended[refused.order_id] += 1
        working = {w.order.order_id for w in self.venue.working()}
        assert ended == {order_id: int(order_id not in working) for order_id in self.submitted}

    @invariant()
    def no_fill_has_the_id_of_another(self) -> None:
        ids = [report.fill_id for report in self.reports if isinstance(report, Fill)]
        assert len(ids) == len(set(ids))


TestVenueAndAccounts = VenueAndAccounts.TestCase
TestVenueAndAccounts.settings = settings(stateful_step_count=40)
