"""The contract of venues: the paper one keeps it with every setting, and three broken ones break it by name."""

from __future__ import annotations

from collections import deque
from decimal import Decimal
from typing import Any

import pytest

from quantum_trader.api import Venue, VenueContract
from quantum_trader.venues.contract import order
from quantum_trader.venues.desk import DeskState, ImpossibleReport, NotReconciled, VenueDesk
from quantum_trader.venues.market import Market
from quantum_trader.venues.paper import PaperBroker
from quantum_trader.venues.values import FILLS, ReportStatus


class TestPaper(VenueContract):
    def make_venue(self, market: Market) -> Venue:
        return PaperBroker(market)


class TestSlowPaperInParts(VenueContract):
    def make_venue(self, market: Market) -> Venue:
        return PaperBroker(market, latency=3, most=Decimal(30))


class FillsTwice(PaperBroker):
    """Tells each fill again, under another name."""

    def tell(self, client_id: str, status: ReportStatus, **what: Any) -> None:
        super().tell(client_id, status, **what)
        if status in FILLS:
            super().tell(client_id, ReportStatus.PARTLY_FILLED, **what | {"trade_id": f"{what['trade_id']}-again"})


class LosesAcknowledgements(PaperBroker):
    """Never says that an order arrived."""

    def tell(self, client_id: str, status: ReportStatus, **what: Any) -> None:
        if status is not ReportStatus.ACCEPTED:
            super().tell(client_id, status, **what)


class OutOfOrder(PaperBroker):
    """Tells the second thing before the first."""

    def __init__(self, market: Market) -> None:
        super().__init__(market)
        self._kept: deque[tuple[str, ReportStatus, dict[str, Any]]] = deque()

    def tell(self, client_id: str, status: ReportStatus, **what: Any) -> None:
        self._kept.append((client_id, status, what))
        if len(self._kept) == 2:
            while self._kept:
                late_id, late, rest = self._kept.pop()
                super().tell(late_id, late, **rest)


@pytest.mark.parametrize(
    ("broken", "by_name"),
    [
        (FillsTwice, "test_no_fill_is_reported_twice"),
        (LosesAcknowledgements, "test_an_order_is_acknowledged"),
        (OutOfOrder, "test_reports_come_in_order"),
    ],
)
def test_a_broken_venue_breaks_the_contract_by_name(broken: type[PaperBroker], by_name: str) -> None:
    class Tried(VenueContract):
        def make_venue(self, market: Market) -> Venue:
            return broken(market)

    with pytest.raises(AssertionError):
        getattr(Tried(), by_name)()
    Tried().test_positions_are_the_sum_of_the_fills()  # what it does not break stands


async def sent(desk: VenueDesk, name: str) -> DeskState:
    """What became of an order that was written down and sent."""
    desk.hold(order(name))
    await desk.send()
    return desk.orders[name].state


async def test_an_order_is_never_sent_before_what_the_venue_has_is_known() -> None:
    market = Market()
    market.price("XYZ", 10)
    desk = VenueDesk(PaperBroker(market))
    with pytest.raises(NotReconciled, match="was not asked what it has"):
        await sent(desk, "early")
    await desk.reconcile()
    assert await sent(desk, "now") is DeskState.WORKING


async def test_a_lost_acknowledgement_is_looked_for_and_never_sent_again() -> None:
    market = Market()
    market.price("XYZ", 10)
    venue = PaperBroker(market, lost=1)
    desk = VenueDesk(venue)
    await desk.reconcile()
    assert await sent(desk, "unheard") is DeskState.WORKING
    assert await sent(desk, "unheard") is DeskState.WORKING
    assert len(await venue.open_orders()) == 1


async def test_what_never_arrived_stays_unknown() -> None:
    class Deaf(PaperBroker):
        async def submit(self, order: Any) -> None:
            raise OSError("gone")

    desk = VenueDesk(Deaf(Market()))
    await desk.reconcile()
    assert await sent(desk, "gone") is DeskState.UNKNOWN
    assert await desk.look_for("gone") is DeskState.UNKNOWN


async def test_other_orders_or_positions_at_the_start_stop_everything() -> None:
    market = Market()
    market.price("XYZ", 10)
    venue = PaperBroker(market, latency=5)
    await venue.submit(order("stranger"))
    desk = VenueDesk(venue, positions={"XYZ": Decimal(7)})
    with pytest.raises(NotReconciled) as refused:
        await desk.reconcile()
    assert refused.value.differences == ("order stranger works there and not here", "XYZ: 7 here, 0 there")


async def test_a_fill_told_twice_counts_once_and_what_cannot_be_is_refused() -> None:
    market = Market()
    market.price("XYZ", 10)
    venue = PaperBroker(market, most=Decimal(60))
    desk = VenueDesk(venue)
    await desk.reconcile()
    await sent(desk, "a")
    market.step()
    market.step()
    reports = venue.reports()
    accepted, first, last = [await anext(reports) for _ in range(3)]
    assert [desk.take(report) for report in (accepted, first, first, last)] == [True, True, False, True]
    assert desk.positions == {"XYZ": Decimal(100)}
    assert desk.orders["a"].state is DeskState.ENDED
    with pytest.raises(ImpossibleReport, match="after its end"):
        desk.take(accepted)
    await reports.aclose()  # type: ignore[attr-defined]  # an async generator, as it happens
