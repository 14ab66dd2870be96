"""Pre-trade checks: the one gate between a sized order and the venue.

Each check is a pure function of the order and the risk state, all of them in one tuple, in the order they are asked;
the first that denies ends it. They fail closed: absent facts, a NaN or an exception deny. Knows no event and changes no
state.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final

from quantum_trader.control.risk_state import CALM, PolicyView, RiskState
from quantum_trader.model import HealthStatus, KillMode, Order, OrderKind, Side

__all__ = [
    "CHECKS",
    "CHECK_ERROR",
    "Check",
    "Denial",
    "Exits",
    "PolicyView",
    "RiskState",
    "judge",
    "reduces",
    "warnings",
]

CHECK_ERROR: Final = "CHECK_ERROR"


@dataclass(frozen=True, slots=True)
class Denial:
    """Why an order may not go: the check's code, what it allows and what it found."""

    code: str
    limit: float | str
    value: float | str


class Exits(StrEnum):
    """How a check treats an order that reduces a position."""

    PASS = "PASS"
    CHECKED = "CHECKED"
    WARN = "WARN"


@dataclass(frozen=True, slots=True)
class Check:
    """One question about an order: `denies` gives why it must not go, None when it may. `exits` says what becomes of those that reduce."""

    code: str
    denies: Callable[[Order, RiskState], Denial | None]
    exits: Exits = Exits.PASS


def reduces(order: Order) -> bool:
    """True for a sale that is not an entry. Whatever else an order calls itself, it is judged as an entry."""
    return order.side is Side.SELL and order.kind is not OrderKind.ENTRY


def judge(order: Order, state: RiskState, more: tuple[Check, ...] = ()) -> Denial | None:
    """The first denial, or None when the order may go; `more` checks come after the shipped ones.

    Never raises: what cannot be answered denies.
    """
    for check in (*CHECKS, *more):
        if check.exits is Exits.CHECKED or not reduces(order):
            denial = _ask(check, order, state)
            if denial is not None:
                return denial
    return None


def warnings(order: Order, state: RiskState) -> tuple[Denial, ...]:
    """What would have denied an exit that is only warned about."""
    if not reduces(order):
        return ()
    answers = (_ask(check, order, state) for check in CHECKS if check.exits is Exits.WARN)
    return tuple(answer for answer in answers if answer is not None)


def _ask(check: Check, order: Order, state: RiskState) -> Denial | None:
    try:
        return check.denies(order, state)
    except Exception as error:  # noqa: BLE001 - failing closed is the point: whatever went wrong, the order does not go
        return Denial(CHECK_ERROR, limit="an answer", value=f"{check.code}: {type(error).__name__}")


def _at_most(code: str, value: float, limit: float) -> Denial | None:
    # Asked this way round so that a NaN denies.
    return None if value <= limit else Denial(code, limit, value)


def _below(code: str, value: float, limit: float) -> Denial | None:
    return None if value < limit else Denial(code, limit, value)


def _value(order: Order) -> float:
    return float(order.qty) * order.reference


def _kill_switch(order: Order, state: RiskState) -> Denial | None:
    stops = state.kill_mode is KillMode.HALT or (state.kill_mode is KillMode.REDUCE_ONLY and not reduces(order))
    return Denial("KILL_SWITCH", KillMode.OFF.value, state.kill_mode.value) if stops else None


def _health_critical(order: Order, state: RiskState) -> Denial | None:
    if state.health is HealthStatus.CRITICAL:
        return Denial("HEALTH_CRITICAL", HealthStatus.DEGRADED.value, state.health.value)
    return None


def _policy_stale(order: Order, state: RiskState) -> Denial | None:
    policy = state.policy
    if policy is None:
        return Denial("POLICY_STALE", "a policy", "none")
    if policy.effective_session > state.session:
        return Denial("POLICY_STALE", state.session, policy.effective_session)
    return _at_most("POLICY_STALE", state.session - policy.confirmed_session, state.limits.policy_max_age)


def _strategy_not_allowed(order: Order, state: RiskState) -> Denial | None:
    if order.strategy_id not in state.live_strategies:
        return Denial("STRATEGY_NOT_ALLOWED", "LIVE", order.strategy_id)
    if order.strategy_id not in state.required_policy().allowed_strategies:
        return Denial("STRATEGY_NOT_ALLOWED", "allowed by the policy", order.strategy_id)
    return None


def _symbol_not_allowed(order: Order, state: RiskState) -> Denial | None:
    if order.symbol not in state.universe:
        return Denial("SYMBOL_NOT_ALLOWED", "in the universe", order.symbol)
    if order.symbol in state.excluded:
        return Denial("SYMBOL_NOT_ALLOWED", "not excluded", state.excluded[order.symbol])
    facts = state.symbols.get(order.symbol)
    if facts is not None and facts.jump_session is not None:
        since = state.session - facts.jump_session
        if since < state.limits.jump_quarantine:
            return Denial("SYMBOL_NOT_ALLOWED", f"{state.limits.jump_quarantine} sessions after a jump", since)
    paused = state.paused.get(order.symbol)
    if paused is not None and state.session - paused < CALM:
        return Denial("SYMBOL_NOT_ALLOWED", f"{CALM} sessions of a feed in order", state.session - paused)
    return None


def _qty_invalid(order: Order, state: RiskState) -> Denial | None:
    # By type, because a bool, a float or a numpy number would pass the comparison.
    if type(order.qty) is not Decimal:
        return Denial("QTY_INVALID", "a Decimal", repr(order.qty))
    instrument = state.instruments.of(order.symbol)
    if not instrument.is_lots(order.qty):
        return Denial("QTY_INVALID", f"lots of {instrument.lot}", str(order.qty))
    return _at_most("QTY_INVALID", float(order.qty), state.limits.max_order_qty)


def _short(order: Order, state: RiskState) -> Denial | None:
    sells_what_is_not_there = order.side is Side.SELL and order.kind is OrderKind.ENTRY
    return (
        Denial("SHORT", "long or flat: this account sells nothing that it does not hold", str(order.qty))
        if sells_what_is_not_there
        else None
    )


def _price_invalid(order: Order, state: RiskState) -> Denial | None:
    if not (math.isfinite(order.reference) and order.reference > 0.0):
        return Denial("PRICE_INVALID", "a price above 0", repr(order.reference))
    if reduces(order) or order.stop is None:
        return None
    if not (math.isfinite(order.stop) and order.stop < order.reference):
        return Denial("PRICE_INVALID", order.reference, repr(order.stop))
    return None


def _price_stale(order: Order, state: RiskState) -> Denial | None:
    facts = state.symbols.get(order.symbol)
    if facts is None:
        return Denial("PRICE_STALE", state.limits.price_max_age, "no bar")
    return _at_most("PRICE_STALE", state.session - facts.last_session, state.limits.price_max_age)


def _price_collar(order: Order, state: RiskState) -> Denial | None:
    facts = state.symbols.get(order.symbol)
    if facts is None or facts.previous_close is None:
        return Denial("PRICE_COLLAR", state.limits.price_collar, "no previous close")
    return _at_most("PRICE_COLLAR", abs(order.reference / facts.previous_close - 1.0), state.limits.price_collar)


def _confidence(order: Order, state: RiskState) -> Denial | None:
    minimum = state.required_policy().global_min_confidence
    return None if order.confidence >= minimum else Denial("CONFIDENCE", minimum, order.confidence)


def _duplicate(order: Order, state: RiskState) -> Denial | None:
    if order.order_id in state.seen:
        return Denial("DUPLICATE", "a new order id", order.order_id)
    for order_id, other in state.working.items():
        if (other.strategy_id, other.symbol, other.kind) == (order.strategy_id, order.symbol, order.kind):
            return Denial("DUPLICATE", f"one working {order.kind} of the pair", order_id)
    return None


def _order_rate(order: Order, state: RiskState) -> Denial | None:
    limits = state.limits
    total = state.approved_in_session.total() + 1
    if reduces(order):
        return _at_most("ORDER_RATE", total, limits.max_exits_per_session)
    in_symbol = state.approved_in_session[order.symbol] + 1
    return _at_most("ORDER_RATE", total, limits.max_orders_per_session) or _at_most(
        "ORDER_RATE", in_symbol, limits.max_orders_per_symbol
    )


def _order_notional(order: Order, state: RiskState) -> Denial | None:
    return _at_most("ORDER_NOTIONAL", _value(order), state.limits.max_order_notional * float(state.equity))


def _risk_per_trade(order: Order, state: RiskState) -> Denial | None:
    # Without a stop everything that is paid is at risk.
    risk = float(order.qty) * (order.reference - (order.stop if order.stop is not None else 0.0))
    allowed = state.limits.risk_tolerance * state.required_policy().max_risk_per_trade * float(state.equity)
    return _at_most("RISK_PER_TRADE", risk, allowed)


def _max_positions(order: Order, state: RiskState) -> Denial | None:
    most = state.required_policy().max_positions
    symbols = state.exposure().keys()
    return None if order.symbol in symbols else _at_most("MAX_POSITIONS", len(symbols) + 1, most)


def _symbol_weight(order: Order, state: RiskState) -> Denial | None:
    after = state.exposure().get(order.symbol, 0.0) + _value(order)
    return _at_most("SYMBOL_WEIGHT", after, state.limits.max_symbol_weight * float(state.equity))


def _gross_limit(order: Order, state: RiskState) -> Denial | None:
    after = math.fsum([*state.exposure().values(), _value(order)])
    return _at_most("GROSS_LIMIT", after, state.required_policy().gross_limit * float(state.equity))


def _cash(order: Order, state: RiskState) -> Denial | None:
    needed = state.cash_needed(order.qty, order.reference)
    free = state.free_cash()
    return None if needed <= free else Denial("CASH", float(free), float(needed))


def _participation(order: Order, state: RiskState) -> Denial | None:
    facts = state.symbols.get(order.symbol)
    adv20 = 0.0 if facts is None else facts.adv20
    return _at_most("PARTICIPATION", float(order.qty), state.limits.max_participation * adv20)


def _daily_loss(order: Order, state: RiskState) -> Denial | None:
    return _below("DAILY_LOSS", -state.day_return, state.limits.max_daily_loss)


def _max_drawdown(order: Order, state: RiskState) -> Denial | None:
    return _below("MAX_DRAWDOWN", state.drawdown, state.limits.max_drawdown)


def _cooldown(order: Order, state: RiskState) -> Denial | None:
    limits = state.limits
    for stop in state.stops:
        since = state.session - stop.session
        if (stop.strategy_id, stop.symbol) == (order.strategy_id, order.symbol) and since < limits.cooldown:
            return Denial("COOLDOWN", limits.cooldown, since)
    sessions = sorted(stop.session for stop in state.stops)
    for first, last in zip(sessions, sessions[limits.burst_stops - 1 :], strict=False):
        since = state.session - last
        if last - first < limits.burst_window and since < limits.burst_pause:
            return Denial("COOLDOWN", limits.burst_pause, since)
    return None


def _position_mismatch(order: Order, state: RiskState) -> Denial | None:
    if order.side is Side.BUY:
        return None
    held = state.held(order.strategy_id, order.symbol)
    return None if order.qty <= held else Denial("POSITION_MISMATCH", float(held), float(order.qty))


CHECKS: Final = (
    Check("KILL_SWITCH", _kill_switch, Exits.CHECKED),
    Check("HEALTH_CRITICAL", _health_critical),
    Check("POLICY_STALE", _policy_stale),
    Check("STRATEGY_NOT_ALLOWED", _strategy_not_allowed),
    Check("SYMBOL_NOT_ALLOWED", _symbol_not_allowed),
    Check("QTY_INVALID", _qty_invalid, Exits.CHECKED),
    Check("SHORT", _short),
    Check("PRICE_INVALID", _price_invalid, Exits.CHECKED),
    Check("PRICE_STALE", _price_stale),
    Check("PRICE_COLLAR", _price_collar),
    Check("CONFIDENCE", _confidence),
    Check("DUPLICATE", _duplicate, Exits.CHECKED),
    Check("ORDER_RATE", _order_rate, Exits.CHECKED),
    Check("ORDER_NOTIONAL", _order_notional),
    Check("RISK_PER_TRADE", _risk_per_trade),
    Check("MAX_POSITIONS", _max_positions),
    Check("SYMBOL_WEIGHT", _symbol_weight),
    Check("GROSS_LIMIT", _gross_limit),
    Check("CASH", _cash),
    Check("PARTICIPATION", _participation, Exits.WARN),
    Check("DAILY_LOSS", _daily_loss),
    Check("MAX_DRAWDOWN", _max_drawdown),
    Check("COOLDOWN", _cooldown),
    Check("POSITION_MISMATCH", _position_mismatch, Exits.CHECKED),
)
