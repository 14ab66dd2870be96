"""Market: prices that are moved by hand, step by step: what a venue under test trades in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal


class Market:
    """`price` sets one, `step` lets time go on by a second and tells whoever listens."""

    def __init__(self) -> None:
        self._prices: dict[str, Decimal] = {}
        self._listeners: list[Callable[[], None]] = []
        self.now = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)

    @property
    def prices(self) -> Mapping[str, Decimal]:
        return self._prices

    def price(self, symbol: str, value: Decimal | int | str) -> None:
        """What a unit of `symbol` costs from now on."""
        self._prices[symbol] = Decimal(value)

    def listen(self, each_step: Callable[[], None]) -> None:
        """Be told after each step."""
        self._listeners.append(each_step)

    def step(self) -> None:
        """A second goes by."""
        self.now += timedelta(seconds=1)
        for listener in self._listeners:
            listener()
