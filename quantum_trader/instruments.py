"""Instruments: in what steps a symbol is traded and priced. One share and no tick, unless `instruments.toml` says otherwise.

Values that sizing, checks and fills round by; knows no bar and no order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from fnmatch import fnmatchcase
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, model_validator

from quantum_trader.model import MONEY, Side, price

_Digits = Annotated[int, Field(ge=0, le=18)]
_NONE: Final = Decimal(0)
_Step = Annotated[Decimal, Field(gt=0)]


class Instrument(BaseModel):
    """`lot` is the least quantity and the step between two, `tick` the step between two prices (None: twelve digits).

    `quantity_digits` and `price_digits` say the same by decimal places: 3 is a step of 0.001.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    lot: _Step = Decimal(1)
    tick: _Step | None = None
    quantity_digits: _Digits | None = None
    price_digits: _Digits | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_digits(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        steps = dict(values)
        for digits, step in (("quantity_digits", "lot"), ("price_digits", "tick")):
            if isinstance(places := steps.get(digits), int):
                if step in steps:
                    raise ValueError(f"give {step} or {digits}, not both")
                steps[step] = Decimal(1).scaleb(-places)
        return steps

    def floor(self, quantity: float | Decimal) -> Decimal:
        """The most whole lots within `quantity`; none below one."""
        if isinstance(quantity, float) and self.lot == 1:
            return Decimal(max(0, math.floor(quantity)))
        lots = MONEY.divide_int(max(_exact(quantity), _NONE), self.lot)
        return MONEY.multiply(lots, self.lot)

    def ceiling(self, quantity: float) -> Decimal:
        """The fewest whole lots that `quantity` fits in."""
        whole = self.floor(quantity)
        return whole if whole >= _exact(quantity) else MONEY.add(whole, self.lot)

    def is_lots(self, quantity: Decimal) -> bool:
        """Whether `quantity` is a number of whole lots, one at least."""
        return quantity.is_finite() and quantity > 0 and not MONEY.remainder(quantity, self.lot)

    def price(self, value: float, side: Side) -> Decimal:
        """What `value` is dealt at: twelve significant digits, on the tick that is worse for who buys or sells."""
        exact = price(value)
        if self.tick is None:
            return exact
        worse = ROUND_CEILING if side is Side.BUY else ROUND_FLOOR
        ticks = MONEY.divide(exact, self.tick).to_integral_value(worse)
        # A sale below one tick would be a gift: nobody pays less than the least price.
        return MONEY.multiply(max(ticks, Decimal(1)), self.tick)


def _exact(quantity: float | Decimal) -> Decimal:
    return quantity if isinstance(quantity, Decimal) else Decimal(repr(quantity))


SHARE: Final = Instrument()


@dataclass(frozen=True, slots=True)
class Instruments:
    """The instrument of each symbol: by its name, else by the first pattern (`BTC/*`) that fits it, else one share."""

    known: Mapping[str, Instrument] = field(default_factory=dict)
    _found: dict[str, Instrument] = field(default_factory=dict, init=False, compare=False, repr=False)

    def of(self, symbol: str) -> Instrument:
        found = self._found.get(symbol)
        if found is None:
            fits = (instrument for name, instrument in self.known.items() if fnmatchcase(symbol, name))
            found = self._found[symbol] = self.known.get(symbol) or next(fits, SHARE)
        return found


SHARES: Final = Instruments()  # every symbol in whole shares, without a tick
