"""Pre-trade checks: the table of the specification, each row with an order that passes and one that does not."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import pytest

from quantum_trader.control.checks import CHECK_ERROR, CHECKS, Denial, Exits, judge, reduces, warnings
from quantum_trader.control.risk_state import Pending, PolicyView, RiskState, Stop, SymbolFacts
from quantum_trader.model import HealthStatus, KillMode, Order, OrderKind, Side

NOW = 100


def entry(**changes: Any) -> Order:
    """100 AAPL at 100 with a stop at 95: 10 % of equity, 0.5 % of it at risk."""
    order = Order(
        "100-s-AAPL-BUY-1",
        "i",
        "s",
        "AAPL",
        Side.BUY,
        OrderKind.ENTRY,
        Decimal(100),
        100.0,
        95.0,
        confidence=0.9,
        session=NOW,
    )
    return replace(order, **changes)


def leaving(**changes: Any) -> Order:
    """The whole position of 50."""
    return replace(
        entry(order_id="100-s-AAPL-SELL-1", side=Side.SELL, kind=OrderKind.EXIT, qty=Decimal(50), stop=None), **changes
    )


def policy(**changes: Any) -> PolicyView:
    view = PolicyView(
        version=7,
        allowed_strategies=frozenset({"s"}),
        global_min_confidence=0.55,
        max_risk_per_trade=0.015,
        max_positions=2,
        gross_limit=0.8,
        effective_session=90,
        confirmed_session=98,
    )
    return replace(view, **changes)


def facts(**changes: Any) -> SymbolFacts:
    return replace(SymbolFacts(NOW, 100.0, 99.0, volumes=deque([1_000_000] * 20, maxlen=20)), **changes)


def world(**changes: Any) -> RiskState:
    """A state in which `entry()` and `leaving()` both go."""
    state = RiskState(
        session=NOW,
        health=HealthStatus.HEALTHY,
        equity=Decimal(100_000),
        cash=Decimal(95_000),
        universe=frozenset({"AAPL", "IBM", "MSFT"}),
        policy=policy(),
        live_strategies=frozenset({"s"}),
        symbols={symbol: facts() for symbol in ("AAPL", "IBM", "MSFT")},
        positions={("s", "AAPL"): Decimal(50)},
    )
    return replace(state, **changes)


def working(
    kind: OrderKind = OrderKind.ENTRY, symbol: str = "IBM", leaves: Decimal = Decimal(100)
) -> dict[str, Pending]:
    return {f"99-s-{symbol}-{kind}-1": Pending("s", symbol, kind, 100.0, leaves)}


@dataclass(frozen=True)
class Row:
    """What a check still lets through and what it denies, as changes to the good world and the good entry."""

    code: str
    fits: dict[str, Any]
    breaks: dict[str, Any]
    exits: str  # of the specification: pass, checked or warn
    fits_order: dict[str, Any] = field(default_factory=dict)
    breaks_order: dict[str, Any] = field(default_factory=dict)


TABLE = (
    Row("KILL_SWITCH", {}, {"kill_mode": KillMode.HALT}, "checked"),
    Row("HEALTH_CRITICAL", {"health": HealthStatus.DEGRADED}, {"health": HealthStatus.CRITICAL}, "pass"),
    Row("POLICY_STALE", {"policy": policy(confirmed_session=95)}, {"policy": policy(confirmed_session=94)}, "pass"),
    Row("STRATEGY_NOT_ALLOWED", {}, {"policy": policy(allowed_strategies=frozenset({"t"}))}, "pass"),
    Row("SYMBOL_NOT_ALLOWED", {"excluded": {"IBM": "STALE"}}, {"excluded": {"AAPL": "ILLIQUID"}}, "pass"),
    Row("QTY_INVALID", {}, {}, "checked", {"qty": Decimal(1)}, {"qty": Decimal(0)}),
    Row("SHORT", {}, {}, "pass", {}, {"side": Side.SELL, "qty": Decimal(50)}),
    Row("PRICE_INVALID", {}, {}, "checked", {"stop": 99.99}, {"reference": math.nan}),
    Row(
        "PRICE_STALE",
        {"symbols": {"AAPL": facts(last_session=97)}},
        {"symbols": {"AAPL": facts(last_session=96)}},
        "pass",
    ),
    Row(
        "PRICE_COLLAR",
        {"symbols": {"AAPL": facts(previous_close=80.0)}},
        {"symbols": {"AAPL": facts(previous_close=79.99)}},
        "pass",
    ),
    Row("CONFIDENCE", {}, {}, "pass", {"confidence": 0.55}, {"confidence": 0.549}),
    Row("DUPLICATE", {"seen": {"other"}}, {"seen": {entry().order_id, leaving().order_id}}, "checked"),
    Row(
        "ORDER_RATE",
        {"approved_in_session": Counter(IBM=8, AAPL=1)},
        {"approved_in_session": Counter(IBM=10)},
        "pass",
    ),
    Row(
        "ORDER_NOTIONAL",
        {},
        {"positions": {}},
        "pass",
        {"qty": Decimal(250), "stop": 99.0},
        {"qty": Decimal(251), "stop": 99.0},
    ),
    Row("RISK_PER_TRADE", {}, {}, "pass", {"stop": 84.75}, {"stop": 84.6}),
    Row(
        "MAX_POSITIONS",
        {"positions": {("s", "IBM"): Decimal(1), ("s", "AAPL"): Decimal(50)}},
        {"positions": {("s", "IBM"): Decimal(1), ("s", "MSFT"): Decimal(1)}},
        "pass",
    ),
    Row(
        "SYMBOL_WEIGHT",
        {"positions": {("t", "AAPL"): Decimal(150), ("s", "AAPL"): Decimal(50)}},
        {"positions": {("t", "AAPL"): Decimal(151), ("s", "AAPL"): Decimal(50)}},
        "pass",
    ),
    Row("GROSS_LIMIT", {"policy": policy(gross_limit=0.15)}, {"policy": policy(gross_limit=0.149)}, "pass"),
    # 10,000 and a fee of 10, with 1 % on top
    Row("CASH", {"cash": Decimal("10110.1")}, {"cash": Decimal("10110.09")}, "pass"),
    Row(
        "PARTICIPATION",
        {"symbols": {"AAPL": facts(volumes=deque([2_000]))}},
        {"symbols": {"AAPL": facts(volumes=deque([999]))}},
        "warn",
    ),
    Row("DAILY_LOSS", {"day_return": -0.029}, {"day_return": -0.03}, "pass"),
    Row("MAX_DRAWDOWN", {"drawdown": 0.199}, {"drawdown": 0.2}, "pass"),
    Row("COOLDOWN", {"stops": [Stop(95, "s", "AAPL")]}, {"stops": [Stop(96, "s", "AAPL")]}, "pass"),
    Row("POSITION_MISMATCH", {}, {}, "checked", {}, {"side": Side.SELL, "kind": OrderKind.EXIT, "qty": Decimal(51)}),
)
EACH = pytest.mark.parametrize("row", TABLE, ids=lambda row: row.code)


def test_checks_are_those_of_the_specification_in_its_order() -> None:
    assert [check.code for check in CHECKS] == [row.code for row in TABLE]
    assert len(CHECKS) == 24


def test_exits_are_treated_as_specified() -> None:
    # ORDER_RATE lets exits pass up to a limit of its own, which is the check's to know.
    checked = {row.code: row.exits.upper() for row in TABLE} | {"ORDER_RATE": "CHECKED"}
    assert {check.code: check.exits.value for check in CHECKS} == checked


@EACH
def test_order_within_the_limit_goes(row: Row) -> None:
    assert judge(entry(**row.fits_order), world(**row.fits)) is None


@EACH
def test_order_beyond_the_limit_is_denied_by_this_check_alone(row: Row) -> None:
    order, state = entry(**row.breaks_order), world(**row.breaks)
    denial = judge(order, state)
    assert denial is not None
    assert denial.code == row.code
    others = [check for check in CHECKS if check.code != row.code]
    # Without a usable price or quantity others cannot agree either.
    if row.code not in {"QTY_INVALID", "PRICE_INVALID"}:
        assert [check.code for check in others if check.denies(order, state)] == []


@EACH
def test_exit_is_denied_only_by_what_is_checked_for_exits(row: Row) -> None:
    order, state = leaving(**row.breaks_order | {"stop": None}), world(**row.breaks)
    held = Decimal(50) if row.code == "POSITION_MISMATCH" else order.qty
    state.positions = state.positions | {("s", "AAPL"): held}
    denial = judge(order, state)
    assert (denial.code if denial else None) == (row.code if row.exits == "checked" else None)


def test_checks_change_nothing() -> None:
    state = world(working=working())
    before = state.state()
    judge(entry(), state)
    judge(leaving(), state)
    assert state.state() == before


def test_exit_goes_through_a_world_in_which_no_entry_does() -> None:
    state = world(
        kill_mode=KillMode.REDUCE_ONLY,
        health=HealthStatus.CRITICAL,
        policy=None,
        live_strategies=frozenset(),
        excluded={"AAPL": "STALE"},
        symbols={"AAPL": facts(last_session=10, previous_close=None, volumes=deque())},
        approved_in_session=Counter(AAPL=49),
        cash=Decimal(0),
        equity=Decimal(0),
        day_return=-0.5,
        drawdown=0.9,
        stops=[Stop(NOW, "s", "AAPL")],
    )
    order = leaving(confidence=0.0)
    assert judge(order, state) is None
    assert judge(entry(), state) is not None


@pytest.mark.parametrize(
    ("changes", "denied"),
    [
        ({"kill_mode": KillMode.REDUCE_ONLY}, "KILL_SWITCH"),
        ({"policy": None}, "POLICY_STALE"),
        ({"policy": policy(effective_session=101)}, "POLICY_STALE"),
        ({"live_strategies": frozenset()}, "STRATEGY_NOT_ALLOWED"),
        ({"universe": frozenset({"IBM"})}, "SYMBOL_NOT_ALLOWED"),
        ({"symbols": {"AAPL": facts(jump_session=96)}}, "SYMBOL_NOT_ALLOWED"),
        ({"symbols": {}, "positions": {}}, "PRICE_STALE"),
        ({"symbols": {"AAPL": facts(previous_close=None)}}, "PRICE_COLLAR"),
        ({"working": working(symbol="AAPL")}, "DUPLICATE"),
        ({"approved_in_session": Counter(AAPL=2)}, "ORDER_RATE"),
        ({"working": working(), "positions": {("s", "MSFT"): Decimal(1)}}, "MAX_POSITIONS"),
        ({"working": {"w": Pending("t", "AAPL", OrderKind.ENTRY, 100.0, Decimal(151))}}, "SYMBOL_WEIGHT"),
        ({"working": working(leaves=Decimal(700))}, "GROSS_LIMIT"),
        ({"working": working(leaves=Decimal(100)), "cash": Decimal(20_000)}, "CASH"),
        ({"symbols": {"AAPL": facts(volumes=deque())}}, "PARTICIPATION"),
        ({"stops": [Stop(90, "a", "IBM"), Stop(91, "b", "IBM"), Stop(99, "c", "MSFT")]}, "COOLDOWN"),
    ],
)
def test_entry_is_denied(changes: dict[str, Any], denied: str) -> None:
    denial = judge(entry(), world(**changes))
    assert denial is not None
    assert denial.code == denied


@pytest.mark.parametrize(
    "changes",
    [
        {"symbols": {"AAPL": facts(jump_session=95)}},  # quarantine of five sessions is over
        {"working": working(OrderKind.EXIT, "AAPL")},  # another kind of order works
        {"working": {"w": Pending("t", "AAPL", OrderKind.ENTRY, 100.0, Decimal(10))}},  # of another strategy
        {"stops": [Stop(89, "a", "IBM"), Stop(90, "b", "IBM"), Stop(99, "c", "MSFT")]},  # three in eleven sessions
        {"stops": [Stop(86, "a", "IBM"), Stop(87, "b", "IBM"), Stop(95, "c", "MSFT")]},  # the pause is over
        {"stops": [Stop(NOW, "s", "IBM"), Stop(NOW, "t", "AAPL")]},  # other pairs
    ],
)
def test_entry_goes(changes: dict[str, Any]) -> None:
    assert judge(entry(), world(**changes)) is None


@pytest.mark.parametrize(
    ("order", "code"),
    [
        (entry(qty=True), "QTY_INVALID"),
        (entry(qty=1.5), "QTY_INVALID"),
        (entry(qty=Decimal(1_000_001)), "QTY_INVALID"),
        (entry(stop=100.0), "PRICE_INVALID"),
        (entry(stop=math.nan), "PRICE_INVALID"),
        (entry(stop=-math.inf), "PRICE_INVALID"),
        (entry(reference=0.0), "PRICE_INVALID"),
        (entry(stop=None), "RISK_PER_TRADE"),  # without a stop all of it is at risk
        (entry(side=Side.SELL), "SHORT"),  # an "entry" that sells what is not held
        (leaving(reference=math.inf), "PRICE_INVALID"),
        (leaving(side=Side.BUY, kind=OrderKind.EXIT, confidence=0.1), "CONFIDENCE"),  # calls itself an exit, and buys
    ],
)
def test_malformed_order_is_denied(order: Order, code: str) -> None:
    denial = judge(order, world())
    assert denial is not None
    assert denial.code == code


def test_exits_have_a_rate_limit_of_their_own() -> None:
    assert judge(leaving(), world(approved_in_session=Counter(AAPL=49))) is None
    assert judge(leaving(), world(approved_in_session=Counter(AAPL=50))) == Denial("ORDER_RATE", 50, 51)


def test_second_exit_of_the_pair_is_a_duplicate() -> None:
    denial = judge(leaving(), world(working=working(OrderKind.EXIT, "AAPL")))
    assert denial is not None
    assert denial.code == "DUPLICATE"


def test_denial_states_limit_and_value() -> None:
    assert judge(entry(confidence=0.5), world()) == Denial("CONFIDENCE", 0.55, 0.5)
    assert judge(entry(), world(excluded={"AAPL": "ILLIQUID"})) == Denial(
        "SYMBOL_NOT_ALLOWED", "not excluded", "ILLIQUID"
    )


def test_large_exit_is_warned_about_and_goes() -> None:
    thin = world(symbols={"AAPL": facts(volumes=deque([100]))})
    assert judge(leaving(), thin) is None
    assert warnings(leaving(), thin) == (Denial("PARTICIPATION", 5.0, 50),)
    assert warnings(leaving(), world()) == ()
    assert warnings(entry(), thin) == ()


@pytest.mark.parametrize("order", [entry(), leaving()])
def test_exception_in_a_check_denies(order: Order) -> None:
    denial = judge(order, world(seen=None))
    assert denial == Denial(CHECK_ERROR, "an answer", "DUPLICATE: TypeError")


NAN_STATES: tuple[Callable[[], RiskState], ...] = (
    lambda: world(equity=Decimal("NaN")),
    lambda: world(cash=Decimal("NaN")),
    lambda: world(drawdown=math.nan),
    lambda: world(day_return=math.nan),
    lambda: world(policy=policy(global_min_confidence=math.nan)),
    lambda: world(policy=policy(max_risk_per_trade=math.nan)),
    lambda: world(policy=policy(gross_limit=math.nan)),
    lambda: world(symbols={"AAPL": facts(previous_close=math.nan)}),
    lambda: world(symbols={"AAPL": facts(close=math.nan)}),
)


@pytest.mark.parametrize("state", NAN_STATES)
def test_nan_in_the_state_denies_an_entry(state: Callable[[], RiskState]) -> None:
    assert judge(entry(), state()) is not None


def test_nan_confidence_denies() -> None:
    denial = judge(entry(confidence=math.nan), world())
    assert denial is not None
    assert denial.code == "CONFIDENCE"


def test_only_sales_that_are_no_entries_reduce() -> None:
    reducing = {(side, kind) for side in Side for kind in OrderKind if reduces(entry(side=side, kind=kind))}
    assert reducing == {(Side.SELL, OrderKind.EXIT), (Side.SELL, OrderKind.TRIM)}


def test_every_way_to_treat_exits_is_used() -> None:
    assert {check.exits for check in CHECKS} == set(Exits)
