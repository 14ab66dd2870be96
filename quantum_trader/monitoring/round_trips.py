"""Round trips: what the trades of a strategy in a symbol came to, from flat to flat. Plain money, open to every component.

Knows no event and no report.
"""

from __future__ import annotations

from decimal import Decimal

from quantum_trader.model import MONEY, Side, added, taken


class RoundTrips:
    """The trades of each (strategy, symbol) since it was flat."""

    def __init__(self) -> None:
        self._flow: dict[tuple[str, str], Decimal] = {}
        self._held: dict[tuple[str, str], Decimal] = {}

    def take(
        self, strategy_id: str, symbol: str, side: Side, size: Decimal, value: Decimal, fee: Decimal
    ) -> Decimal | None:
        """The next trade, of which `value` is what changed hands, fee aside, in account currency; `size` in whole lots.

        Gives the net profit of the round trip that it ends, fees included; None where it ends none.
        """
        pair, buys = (strategy_id, symbol), side is Side.BUY
        flow = MONEY.subtract(value.copy_negate() if buys else value, fee)
        self._flow[pair] = MONEY.add(self._flow.get(pair, Decimal(0)), flow)
        self._held[pair] = (added if buys else taken)(self._held.get(pair, Decimal(0)), size)
        return None if self._held[pair] else self._flow.pop(pair)
