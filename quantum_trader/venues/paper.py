"""Paper broker: a venue of the shape that brokers have, with the faults that they have: late, in parts, refused, unheard."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from quantum_trader.model import MONEY, Order, Side
from quantum_trader.venues.market import Market
from quantum_trader.venues.values import Report, ReportStatus

_NOTHING: Final = Decimal(0)
_FEE_RATE: Final = Decimal("0.001")  # of the traded value


@dataclass(slots=True)
class _Working:
    order: Order
    leaves: Decimal
    since: int  # the step it came in
    fills: int = 0


class PaperBroker:
    """Fills market orders at the price of `market`, `latency` steps after they came, at most `most` units a step.

    With `lost` set, every so many acknowledgements is not heard: the order works all the same, and `submit` raises
    `TimeoutError`.
    """

    def __init__(
        self,
        market: Market,
        *,
        latency: int = 0,
        most: Decimal | None = None,
        lost: int = 0,
    ) -> None:
        self._market = market
        self._latency = latency
        self._most = most
        self._lost = lost
        self._step = 0
        self._known: dict[str, Order] = {}
        self._working: dict[str, _Working] = {}
        self._positions: dict[str, Decimal] = {}
        self._queue: asyncio.Queue[Report] = asyncio.Queue()
        market.listen(self.on_step)

    async def submit(self, order: Order) -> None:
        if order.client_id in self._known:
            return
        self._known[order.client_id] = order
        if order.symbol not in self._market.prices or order.qty <= 0:
            self.tell(order.client_id, ReportStatus.REJECTED)
            return
        self._working[order.client_id] = _Working(order, order.qty, self._step)
        if self._lost and len(self._known) % self._lost == 0:
            raise TimeoutError(f"order {order.client_id}: no answer")
        self.tell(order.client_id, ReportStatus.ACCEPTED)

    async def cancel(self, client_id: str) -> None:
        if self._working.pop(client_id, None) is not None:
            self.tell(client_id, ReportStatus.CANCELLED)

    async def open_orders(self) -> Sequence[Order]:
        return [working.order for working in self._working.values()]

    async def positions(self) -> Mapping[str, Decimal]:
        return {symbol: qty for symbol, qty in sorted(self._positions.items()) if qty}

    async def reports(self) -> AsyncIterator[Report]:
        while True:
            yield await self._queue.get()

    def on_step(self) -> None:
        """Fill what has waited long enough."""
        self._step += 1
        for client_id, working in list(self._working.items()):
            if self._step > working.since + self._latency:
                self._fill(client_id, working)

    def _fill(self, client_id: str, working: _Working) -> None:
        order = working.order
        qty = working.leaves if self._most is None else min(working.leaves, self._most)
        working.leaves = MONEY.subtract(working.leaves, qty)
        working.fills += 1
        change = qty if order.side is Side.BUY else qty.copy_negate()
        self._positions[order.symbol] = MONEY.add(self._positions.get(order.symbol, _NOTHING), change)
        price = self._market.prices[order.symbol]
        if not working.leaves:
            del self._working[client_id]
        self.tell(
            client_id,
            ReportStatus.PARTLY_FILLED if working.leaves else ReportStatus.FILLED,
            filled=qty,
            price=price,
            fee=MONEY.multiply(MONEY.multiply(qty, price), _FEE_RATE),
            trade_id=f"{client_id}/{working.fills}",
        )

    def tell(
        self,
        client_id: str,
        status: ReportStatus,
        *,
        filled: Decimal = _NOTHING,
        price: Decimal = _NOTHING,
        fee: Decimal = _NOTHING,
        trade_id: str = "",
    ) -> None:
        """Put a report into the stream."""
        self._queue.put_nowait(Report(client_id, status, filled, price, fee, trade_id, self._market.now))
