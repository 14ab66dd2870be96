"""Ledger: trades and closes in, one statement a session out, whose sums hold whatever was traded."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventbus import Event, InMemoryEventBus
from eventbus.testing.recorder import Recorder
from quantum_trader.control.kill_switch import KillSwitch
from quantum_trader.control.risk_guard import RiskGuard
from quantum_trader.control.risk_state import RiskState
from quantum_trader.events import MarketBarEvent, PortfolioUpdatedEvent, SessionClosedEvent, TradeExecutedEvent
from quantum_trader.execution.accounts import Accounts
from quantum_trader.execution.ledger import PortfolioLedger
from quantum_trader.model import HealthStatus, KillMode, Side, Trigger, money

START = datetime(2001, 1, 1, tzinfo=UTC)
CASH = money(10_000)


def at(session: int) -> datetime:
    return START + timedelta(days=session)


def trade(
    side: Side, qty: Decimal | int | str, price: str = "100", *, session: int = 1, n: int = 1, **changes: Any
) -> Event:
    usual: dict[str, Any] = {
        "order_id": f"{session}-s-AAPL-{side}-{n}",
        "fill_id": f"{session}-s-AAPL-{side}-{n}#1",
        "symbol": "AAPL",
        "side": side,
        "size": Decimal(qty),
        "price": Decimal(price),
        "strategy_id": "s",
        "session": session,
        "timestamp": at(session),
    }
    return TradeExecutedEvent(**usual | changes)


def bar(session: int, close: float, symbol: str = "AAPL") -> Event:
    return MarketBarEvent(
        symbol=symbol, session=session, open=close, high=close, low=close, close=close, volume=1, timestamp=at(session)
    )


def closed(session: int) -> Event:
    return SessionClosedEvent(session=session, timestamp=at(session))


async def told(*events: Event, cash: Decimal = CASH) -> list[PortfolioUpdatedEvent]:
    """The statements that a ledger makes of these events, each handled before the next comes."""
    heard = Recorder()
    async with InMemoryEventBus() as bus:
        PortfolioLedger(bus, Accounts(cash))
        bus.subscribe(PortfolioUpdatedEvent, heard)
        for event in events:
            await bus.publish(event)
            await bus.drain()
        assert len(bus.dead_letters) == 0
    return heard.of(PortfolioUpdatedEvent)


async def test_a_purchase_and_a_sale_are_stated_with_what_they_cost() -> None:
    first, second = await told(
        trade(Side.BUY, 10, fee=Decimal("1.5"), stop_px=90.0), bar(1, 110.0), closed(1),
        trade(Side.SELL, 4, "120", session=2, fee=Decimal(1)), bar(2, 115.0), closed(2),
    )  # fmt: skip
    (line,) = first.positions
    assert (line.qty, line.avg_price, line.unrealised, line.stop_px) == (Decimal(10), money(100), money(100), 90.0)
    assert (first.cash, first.equity) == (money("8998.5"), money("10098.5"))
    assert first.day_return == pytest.approx(0.00985)
    assert (second.realised, second.fees, second.cash) == (money(80), money("2.5"), money("9477.5"))
    assert second.equity == second.cash + 6 * 115
    assert second.timestamp == at(2)


async def test_a_trade_told_twice_is_booked_once() -> None:
    (statement,) = await told(trade(Side.BUY, 10), trade(Side.BUY, 10), bar(1, 100.0), closed(1))
    assert statement.positions[0].qty == 10


async def test_a_delisting_found_while_the_session_closes_counts_in_the_next_whoever_was_first() -> None:
    leaves = trade(Side.SELL, 10, session=2, trigger=Trigger.DELISTED)
    bought = (trade(Side.BUY, 10), bar(1, 100.0), closed(1))
    before, after = await told(*bought, leaves, closed(2), closed(3)), await told(*bought, closed(2), leaves, closed(3))
    assert [statement.payload for statement in before] == [statement.payload for statement in after]
    assert [len(statement.positions) for statement in before] == [1, 1, 0]


async def test_a_symbol_without_a_bar_is_valued_at_its_last_close_and_said_to_be_stale() -> None:
    *_, second = await told(trade(Side.BUY, 10), bar(1, 101.0), closed(1), closed(2))
    assert [(line.last, line.stale) for line in second.positions] == [(money(101), True)]


async def test_a_part_of_a_share_is_booked_as_such() -> None:
    (first,) = await told(trade(Side.BUY, "1.5"), bar(1, 100.0), closed(1))
    assert [(line.qty, line.unrealised) for line in first.positions] == [(Decimal("1.5"), money(0))]
    assert first.equity == CASH


async def test_broken_books_halt_the_bus_and_stay_so() -> None:
    async with InMemoryEventBus() as bus:
        PortfolioLedger(bus, Accounts(CASH))
        switch = KillSwitch(bus)
        RiskGuard(bus, RiskState(0, HealthStatus.HEALTHY, CASH, CASH, frozenset()))
        for event in (trade(Side.SELL, 1), bar(1, 100.0), closed(1)):
            await bus.publish(event)
            await bus.drain()
        assert (switch.mode, switch.latched, bus.is_halted) == (KillMode.HALT, True, True)


TRADES = st.lists(
    st.tuples(
        st.sampled_from(["s", "t"]),
        st.sampled_from(["AAPL", "IBM"]),
        st.booleans(),  # to buy; else to sell some of what is held
        st.integers(1, 40),
        st.decimals(1, 500, places=6),
        st.decimals(0, 5, places=6),
        st.booleans(),  # the session ends after it
    ),
    max_size=25,
)


@given(TRADES)
def test_cash_and_shares_are_conserved_over_any_trades(trades: list[tuple[Any, ...]]) -> None:
    """No sum is taken from the code under test: money paid and got, shares bought and sold, added up by hand."""
    cash, fees = money(10_000_000), Decimal(0)
    held: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
    last: dict[str, Decimal] = {}
    events: list[Event] = []
    expected: list[tuple[Decimal, Decimal, Decimal, dict[tuple[str, str], Decimal]]] = []
    session = 1
    for n, (strategy_id, symbol, buys, size, price, fee, ends) in enumerate(trades):
        qty = Decimal(size) if buys else min(Decimal(size), held[strategy_id, symbol])
        if qty:
            side = Side.BUY if buys else Side.SELL
            header = {"order_id": f"o{n}", "fill_id": f"f{n}", "strategy_id": strategy_id, "symbol": symbol}
            events.append(trade(side, qty, str(price), session=session, fee=fee, **header))
            cash -= side.sign * qty * price + fee
            fees += fee
            held[strategy_id, symbol] += side.sign * qty
            last.setdefault(symbol, price)
        if ends or n == len(trades) - 1:
            events += [bar(session, float(price), symbol), closed(session)]
            last[symbol] = money(float(price))
            worth = sum((qty * last[pair[1]] for pair, qty in held.items() if qty), Decimal(0))
            expected.append((cash, fees, cash + worth, {pair: qty for pair, qty in sorted(held.items()) if qty}))
            session += 1
    statements = asyncio.run(told(*events, cash=money(10_000_000)))
    assert [
        (one.cash, one.fees, one.equity, {(line.strategy_id, line.symbol): line.qty for line in one.positions})
        for one in statements
    ] == expected
    for one in statements:
        unrealised = sum((line.unrealised for line in one.positions), Decimal(0))
        assert one.equity == money(10_000_000) + one.realised + unrealised - one.fees
        assert one.gross == one.equity - one.cash
        assert one.invariants_ok, one.breaches


async def test_a_restored_ledger_states_like_the_one_that_went_on() -> None:
    start = (trade(Side.BUY, 10), bar(1, 100.0), closed(1), trade(Side.SELL, 10, session=2, trigger=Trigger.DELISTED))
    rest = (closed(2), closed(3))
    heard = Recorder()
    async with InMemoryEventBus() as bus:
        ledger = PortfolioLedger(bus, Accounts(CASH))
        for event in start:
            await bus.publish(event)
            await bus.drain()
        saved = json.loads(json.dumps(ledger.state()))
    async with InMemoryEventBus() as bus:
        PortfolioLedger(bus, Accounts(CASH)).restore(saved)
        bus.subscribe(PortfolioUpdatedEvent, heard)
        for event in rest:
            await bus.publish(event)
            await bus.drain()
    assert heard.payloads == [one.payload for one in (await told(*start, *rest))[1:]]
