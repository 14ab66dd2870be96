"""Over a venue of a user's own: what is told follows from approvals and reports alone, and what cannot be stops trading."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from eventbus import InMemoryEventBus
from eventbus.testing import Recorder
from quantum_trader.events import (
    KillSwitchChangedEvent,
    KillSwitchRequestedEvent,
    OrderAcceptedEvent,
    OrderApprovedEvent,
    OrderCancelledEvent,
    OrderRejectedEvent,
    OrdersSizedEvent,
    SessionClosedEvent,
    TradeExecutedEvent,
)
from quantum_trader.execution.executor import GUARD
from quantum_trader.model import KillMode, OrderKind, Side
from quantum_trader.runs.venue import reported
from quantum_trader.venues.desk import DeskState, VenueDesk
from quantum_trader.venues.executor import VenueExecutor
from quantum_trader.venues.market import Market
from quantum_trader.venues.paper import PaperBroker
from quantum_trader.venues.values import Report, ReportStatus

AT = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
NONE = Decimal(0)


class Story:
    """An executor over a broker in a market that is moved by hand."""

    def __init__(self, bus: InMemoryEventBus) -> None:
        self.bus = bus
        self.market = Market()
        self.market.price("XYZ", 10)
        self.broker = PaperBroker(self.market, latency=5)
        self.desk = VenueDesk(self.broker)
        self.executor = VenueExecutor(bus, self.desk, time_to_live=2)
        self.heard = Recorder()
        for tells in (*VenueExecutor.publishes,):
            bus.subscribe(tells, self.heard)

    async def approve(self, name: str, *, stop: float | None = None, kind: OrderKind = OrderKind.ENTRY) -> None:
        sized = OrdersSizedEvent(session=1, policy_version=0, timestamp=AT)
        await self.bus.publish(sized)
        await self.bus.drain()
        side = Side.BUY if kind is OrderKind.ENTRY else Side.SELL
        approved = OrderApprovedEvent(
            order_id=name, intent_id=name, strategy_id="s", symbol="XYZ", side=side, kind=kind, qty=Decimal(100),
            reference_px=10.0, stop_px=stop, session=1, timestamp=AT, source=GUARD,
        )  # fmt: skip
        await self.bus.publish(approved, cause=sized)
        await self.bus.drain()

    async def send(self) -> list[str]:
        await self.desk.reconcile()
        return [order.client_id for order in await self.desk.send()]

    async def report(self, name: str, status: ReportStatus, filled: int = 0, deal: str = "") -> None:
        report = Report(name, status, Decimal(filled), Decimal(10), NONE, deal, AT)
        await self.bus.publish(reported(report).model_copy(update={"timestamp": AT, "session": 2}))
        await self.bus.drain()

    async def switch(self, mode: KillMode) -> None:
        await self.bus.publish(KillSwitchChangedEvent(mode=mode, reason="drill", actor="ann", timestamp=AT))
        await self.bus.drain()


@pytest.fixture
async def story() -> AsyncIterator[Story]:
    async with InMemoryEventBus() as bus:
        yield Story(bus)


async def test_nothing_is_told_of_an_order_before_the_venue_reports(story: Story) -> None:
    await story.approve("a")
    await story.send()
    assert story.heard.events == []
    assert [order.client_id for order in await story.broker.open_orders()] == ["a"]


async def test_an_order_whose_acknowledgement_is_lost_is_accepted_by_its_first_fill(story: Story) -> None:
    await story.approve("a")
    await story.send()
    await story.report("a", ReportStatus.PARTLY_FILLED, 40, "d1")
    await story.report("a", ReportStatus.PARTLY_FILLED, 40, "d1")
    await story.report("a", ReportStatus.FILLED, 60, "d2")
    (accepted,) = story.heard.of(OrderAcceptedEvent)
    assert accepted.order_id == "a"
    assert [(fill.fill_id, fill.size, fill.leaves_qty) for fill in story.heard.of(TradeExecutedEvent)] == [
        ("d1", Decimal(40), Decimal(60)),
        ("d2", Decimal(60), Decimal(0)),
    ]
    assert story.desk.positions == {"XYZ": Decimal(100)}


@pytest.mark.parametrize(
    ("name", "filled", "why"),
    [("a", 120, "120 filled of 100"), ("never", 1, "never: a report of an order that was never sent")],
)
async def test_a_report_that_cannot_be_halts_and_books_nothing(story: Story, name: str, filled: int, why: str) -> None:
    await story.approve("a")
    await story.send()
    await story.report(name, ReportStatus.FILLED, filled, "d1")
    (asked,) = story.heard.of(KillSwitchRequestedEvent)
    assert (asked.mode, asked.latch, asked.actor) == (KillMode.HALT, True, "executor")
    assert why in asked.reason
    assert not story.heard.of(TradeExecutedEvent)


async def test_what_is_reported_while_halted_is_booked_when_it_is_released(story: Story) -> None:
    await story.approve("a")
    await story.send()
    await story.switch(KillMode.HALT)
    assert not await story.broker.open_orders(), "the venue is asked for the end of it at once"
    await story.report("a", ReportStatus.FILLED, 100, "d1")
    assert not story.heard.of(TradeExecutedEvent)
    await story.switch(KillMode.OFF)
    assert [fill.fill_id for fill in story.heard.of(TradeExecutedEvent)] == ["d1"]


async def test_reduce_only_ends_entries_and_lets_exits_work(story: Story) -> None:
    await story.approve("in")
    await story.approve("out", kind=OrderKind.EXIT)
    await story.send()
    await story.switch(KillMode.REDUCE_ONLY)
    assert [order.client_id for order in await story.broker.open_orders()] == ["out"]
    await story.approve("more")
    (rejected,) = story.heard.of(OrderRejectedEvent)
    assert (rejected.order_id, rejected.code) == ("more", "KILL_SWITCH")


async def test_what_was_to_be_ended_before_it_was_sent_never_is(story: Story) -> None:
    await story.approve("a")
    await story.switch(KillMode.HALT)
    assert await story.send() == ["a"]
    assert not await story.broker.open_orders()
    await story.switch(KillMode.OFF)
    await story.report("a", ReportStatus.CANCELLED)
    (cancelled,) = story.heard.of(OrderCancelledEvent)
    assert (cancelled.order_id, cancelled.remaining_qty, cancelled.reason) == ("a", Decimal(100), "VENUE")


async def test_an_order_lives_no_longer_than_it_may(story: Story) -> None:
    await story.approve("a")
    await story.send()
    for session in (1, 2, 3):
        await story.bus.publish(SessionClosedEvent(session=session, timestamp=AT))
        await story.bus.drain()
        await story.desk.send_ends()
        assert bool(await story.broker.open_orders()) is (session < 3)


async def test_a_second_order_of_a_kind_for_a_pair_is_refused_and_a_stop_that_nobody_holds(story: Story) -> None:
    await story.approve("a")
    await story.approve("b")
    await story.approve("c", stop=9.0)
    assert [(one.order_id, one.code) for one in story.heard.of(OrderRejectedEvent)] == [
        ("b", "WORKING_ORDER"),
        ("c", "STOP_NOT_HELD"),
    ]


async def test_a_restored_desk_sends_nothing_before_it_asked_and_nothing_twice(story: Story) -> None:
    await story.approve("a")
    await story.send()
    state = json.loads(json.dumps(story.executor.state()))
    async with InMemoryEventBus() as bus:
        again = Story(bus)
        again.broker = story.broker
        again.desk = VenueDesk(story.broker)
        again.executor = VenueExecutor(bus, again.desk, time_to_live=2)
        again.executor.restore(state)
        assert not again.desk.is_reconciled
        assert await again.send() == []
        assert again.desk.orders["a"].state is DeskState.WORKING
        assert len(await story.broker.open_orders()) == 1
        assert again.executor.state() == state
