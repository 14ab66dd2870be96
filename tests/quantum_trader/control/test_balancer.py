"""Portfolio balancer: sizes to fit, exits whole and first, trims what has grown, and sets working entries aside."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from eventbus import Event, InMemoryEventBus
from eventbus.testing.recorder import Recorder
from quantum_trader.config import SizingConfig
from quantum_trader.control.balancer import PortfolioBalancer
from quantum_trader.control.sizing import SizingRules
from quantum_trader.events import (
    MarketBarEvent,
    OrderApprovedEvent,
    OrderCancelledEvent,
    OrderIntent,
    OrdersProposedEvent,
    OrdersSizedEvent,
    PolicyUpdatedEvent,
    PortfolioUpdatedEvent,
    PositionItem,
    PredictionItem,
    PredictionMadeEvent,
    SizedOrder,
    TradeExecutedEvent,
)
from quantum_trader.model import OrderKind, RiskMode, Side, money

START = datetime(2001, 1, 1, tzinfo=UTC)
NOW = 10
ZERO = Decimal(0)


def wish(
    symbol: str = "AAPL", strategy_id: str = "s", kind: OrderKind = OrderKind.ENTRY, **changes: Any
) -> OrderIntent:
    """An entry at 100 with a stop at 90, or an exit."""
    entry = kind is OrderKind.ENTRY
    usual: dict[str, Any] = {
        "intent_id": f"{NOW}-{strategy_id}-{symbol}",
        "strategy_id": strategy_id,
        "symbol": symbol,
        "side": Side.BUY if entry else Side.SELL,
        "kind": kind,
        "reference_px": 100.0,
        "stop_px": 90.0 if entry else None,
        "confidence": 0.9,
    }
    return OrderIntent(**usual | changes)


def policy(**changes: Any) -> PolicyUpdatedEvent:
    usual: dict[str, Any] = {
        "risk_mode": RiskMode.NORMAL,
        "allowed_strategies": ["s"],
        "global_min_confidence": 0.5,
        "max_risk_per_trade": 0.01,
        "max_positions": 4,
        "gross_limit": 0.8,
    }
    return PolicyUpdatedEvent(**usual | changes)


def portfolio(*positions: tuple[str, str, int], cash: int = 100_000) -> PortfolioUpdatedEvent:
    lines = tuple(
        PositionItem(
            strategy_id=strategy_id, symbol=symbol, qty=Decimal(qty), avg_price=money(100), last=money(100), stop_px=None,
            unrealised=ZERO, stale=False,
        )
        for strategy_id, symbol, qty in positions
    )  # fmt: skip
    return PortfolioUpdatedEvent(
        session=NOW, cash=money(cash), equity=money(100_000), gross=ZERO, realised=ZERO, fees=ZERO, drawdown=0.0,
        day_return=0.0, positions=lines,
    )  # fmt: skip


def approved(item: SizedOrder) -> OrderApprovedEvent:
    shared = OrderApprovedEvent.model_fields.keys() & SizedOrder.model_fields.keys()
    return OrderApprovedEvent(**{name: getattr(item, name) for name in sorted(shared)}, session=NOW)


def filled(item: SizedOrder, qty: int) -> TradeExecutedEvent:
    return TradeExecutedEvent(
        order_id=item.order_id, symbol=item.symbol, side=item.side, size=Decimal(qty), price=money(100),
        strategy_id=item.strategy_id, leaves_qty=item.qty - qty,
    )  # fmt: skip


class Desk:
    """A balancer on a running bus that has heard of closes at 100, a policy and an account without positions."""

    def __init__(self, bus: InMemoryEventBus, heard: Recorder, **rules: Any) -> None:
        self.bus, self.heard = bus, heard
        self.balancer = PortfolioBalancer(bus, SizingRules(SizingConfig(**rules)))

    async def tell(self, *events: Event) -> None:
        for event in events:
            await self.bus.publish(event)
            await self.bus.drain()

    async def settle(self) -> None:
        for symbol in ("AAPL", "IBM", "MSFT"):
            await self.tell(
                MarketBarEvent(
                    symbol=symbol, session=NOW, open=100.0, high=100.0, low=100.0, close=100.0, volume=1_000_000,
                    timestamp=START + timedelta(days=NOW),
                )
            )  # fmt: skip
        await self.tell(policy(), portfolio())

    async def size(self, *wishes: OrderIntent) -> OrdersSizedEvent:
        self.heard.clear()
        await self.tell(OrdersProposedEvent(session=NOW, policy_version=3, items=wishes))
        (answer,) = self.heard.of(OrdersSizedEvent)
        return answer


@pytest.fixture
async def desk(event_bus: InMemoryEventBus, recorder: Recorder) -> Desk:
    made = Desk(event_bus, recorder)
    await made.settle()
    return made


def quantities(answer: OrdersSizedEvent) -> list[tuple[str, str, int]]:
    return [(item.symbol, item.kind.value, int(item.qty)) for item in answer.items]


async def test_an_entry_is_sized_by_its_risk(desk: Desk) -> None:
    (item,) = (await desk.size(wish())).items
    assert (item.qty, item.limited_by) == (Decimal(100), "RISK")  # 1 % of 100,000 over a stop 10 away
    assert (item.order_id, item.intent_id) == ("10-s-AAPL-BUY-1", "10-s-AAPL")
    assert (item.notional, item.risk) == (money(10_000), money(1_000))


async def test_a_batch_is_answered_even_when_nothing_is_wished(desk: Desk) -> None:
    answer = await desk.size()
    assert (answer.session, answer.policy_version, answer.items, answer.dropped) == (NOW, 3, (), ())


async def test_a_volatile_symbol_gets_less(desk: Desk) -> None:
    await desk.tell(
        PredictionMadeEvent(session=NOW, items=(PredictionItem(symbol="AAPL", log_range=-3.0, sigma_1d=0.036),))
    )
    (item,) = (await desk.size(wish())).items
    assert (item.qty, item.limited_by) == (Decimal(50), "VOLATILITY")


async def test_entries_share_what_there_is_in_their_order(desk: Desk) -> None:
    await desk.tell(policy(gross_limit=0.15))
    answer = await desk.size(wish("AAPL"), wish("IBM"), wish("MSFT"))
    assert [(item.symbol, int(item.qty), item.limited_by) for item in answer.items] == [
        ("AAPL", 100, "RISK"),
        ("IBM", 50, "GROSS"),
    ]
    assert [(dropped.symbol, dropped.reason) for dropped in answer.dropped] == [("MSFT", "GROSS")]


async def test_a_position_beyond_the_policy_s_number_is_dropped(desk: Desk) -> None:
    await desk.tell(policy(max_positions=1))
    answer = await desk.size(wish("AAPL"), wish("IBM"))
    assert [item.symbol for item in answer.items] == ["AAPL"]
    assert [dropped.reason for dropped in answer.dropped] == ["MAX_POSITIONS"]


async def test_an_exit_sells_all_that_is_held_and_nothing_without_a_position(desk: Desk) -> None:
    await desk.tell(portfolio(("s", "AAPL", 70)))
    answer = await desk.size(wish("AAPL", kind=OrderKind.EXIT), wish("IBM", kind=OrderKind.EXIT))
    assert quantities(answer) == [("AAPL", "EXIT", 70)]
    assert answer.items[0].risk == 0
    assert [(dropped.symbol, dropped.reason) for dropped in answer.dropped] == [("IBM", "NO_POSITION")]


async def test_exits_need_no_policy_and_entries_do(event_bus: InMemoryEventBus, recorder: Recorder) -> None:
    desk = Desk(event_bus, recorder)
    await desk.tell(portfolio(("s", "AAPL", 70)))
    answer = await desk.size(wish("AAPL", kind=OrderKind.EXIT), wish("IBM"))
    assert quantities(answer) == [("AAPL", "EXIT", 70)]
    assert [dropped.reason for dropped in answer.dropped] == ["NO_POLICY"]


async def test_without_an_account_nothing_is_sized(event_bus: InMemoryEventBus, recorder: Recorder) -> None:
    answer = await Desk(event_bus, recorder).size(wish(), wish("IBM", kind=OrderKind.EXIT))
    assert answer.items == ()
    assert [dropped.reason for dropped in answer.dropped] == ["NO_PORTFOLIO"] * 2


async def test_what_works_is_set_aside_until_it_is_filled_or_ends(desk: Desk) -> None:
    await desk.tell(policy(gross_limit=0.15))
    (first,) = (await desk.size(wish("AAPL"))).items
    await desk.tell(approved(first))
    assert [item.qty for item in (await desk.size(wish("IBM"))).items] == [50]
    await desk.tell(filled(first, 60))  # the account will tell of them with its next statement
    assert [item.qty for item in (await desk.size(wish("IBM"))).items] == [100]
    await desk.tell(portfolio(("s", "AAPL", 60), cash=94_000))
    assert [item.qty for item in (await desk.size(wish("IBM"))).items] == [50]
    await desk.tell(
        OrderCancelledEvent(
            order_id=first.order_id, strategy_id="s", symbol="AAPL", kind=OrderKind.ENTRY, remaining_qty=Decimal(40),
            reason="CASH", session=NOW,
        )
    )  # fmt: skip
    assert [item.qty for item in (await desk.size(wish("IBM"))).items] == [90]


async def test_too_much_is_trimmed_back_to_the_limit_without_being_wished(desk: Desk) -> None:
    await desk.tell(policy(gross_limit=0.4), portfolio(("s", "AAPL", 300), ("s", "IBM", 200), cash=50_000))
    answer = await desk.size()
    assert quantities(answer) == [("AAPL", "TRIM", 60), ("IBM", "TRIM", 40)]
    assert [item.order_id for item in answer.items] == ["10-s-AAPL-SELL-2", "10-s-IBM-SELL-2"]


async def test_what_is_on_its_way_out_is_not_trimmed(desk: Desk) -> None:
    await desk.tell(policy(gross_limit=0.25), portfolio(("s", "AAPL", 300), ("s", "IBM", 200), cash=50_000))
    answer = await desk.size(wish("AAPL", kind=OrderKind.EXIT))
    assert quantities(answer) == [("AAPL", "EXIT", 300)]
    (leaving,) = answer.items
    await desk.tell(approved(leaving))
    assert quantities(await desk.size()) == []


async def test_growth_within_five_percent_of_the_limit_is_left_alone(desk: Desk) -> None:
    await desk.tell(policy(gross_limit=0.4), portfolio(("s", "AAPL", 420), cash=58_000))
    assert quantities(await desk.size()) == []


async def test_fixed_quantities_replace_sizing_and_trimming(event_bus: InMemoryEventBus, recorder: Recorder) -> None:
    desk = Desk(event_bus, recorder, fixed_qty={"AAPL": Decimal(7)})
    await desk.settle()
    await desk.tell(policy(gross_limit=0.1), portfolio(("s", "IBM", 500), cash=50_000))
    answer = await desk.size(wish("AAPL"), wish("MSFT"))
    assert quantities(answer) == [("AAPL", "ENTRY", 7)]


async def test_confidence_passes_through_untouched(desk: Desk) -> None:
    (item,) = (await desk.size(wish(confidence=0.123))).items
    assert item.confidence == 0.123


async def test_a_restored_balancer_sizes_like_the_one_that_went_on(desk: Desk) -> None:
    (first,) = (await desk.size(wish("AAPL"))).items
    await desk.tell(approved(first), filled(first, 30))
    saved = json.loads(json.dumps(desk.balancer.state()))
    heard = Recorder()
    async with InMemoryEventBus() as bus:
        bus.subscribe("*", heard)
        other = Desk(bus, heard)
        other.balancer.restore(saved)
        wishes = [wish("IBM"), wish("MSFT"), wish("AAPL", "t")]
        assert (await other.size(*wishes)).payload == (await desk.size(*wishes)).payload
