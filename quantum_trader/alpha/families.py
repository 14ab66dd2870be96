"""Families: the four kinds of long/flat strategies, each a small machine that turns bars into a target.

The strategy runtime holds one machine per strategy and symbol; the generator makes specs. Everything is decided at
the close of the bar just seen, from that bar and earlier ones. Orders, stages and accounts are not known here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Protocol

from quantum_trader.market.indicators import RSI, SMA, PriorMax, PriorMin
from quantum_trader.model import Bar

LONGEST_WINDOW: Final = 500  # bars


class InvalidStrategy(ValueError):
    """A strategy's family or a parameter cannot be used. The message names it and what would do."""


class Machine(Protocol):
    """One strategy on one symbol."""

    def update(self, bar: Bar) -> int | None:
        """Take the next bar; the target after its close: 1 long, 0 flat, None while warming up."""
        ...


class Trend:
    """Long while the fast average of closes lies above the slow one."""

    def __init__(self, fast: int, slow: int) -> None:
        self._fast, self._slow = SMA(fast), SMA(slow)

    def update(self, bar: Bar) -> int | None:
        fast, slow = self._fast.update(bar.close), self._slow.update(bar.close)
        return None if fast is None or slow is None else int(fast > slow)


class Breakout:
    """Long from a close above the high of the `enter` bars before, flat from one below the low of the `leave`
    before."""

    def __init__(self, enter: int, leave: int) -> None:
        self._high, self._low = PriorMax(enter), PriorMin(leave)
        self._target = 0

    def update(self, bar: Bar) -> int | None:
        high, low = self._high.update(bar.high), self._low.update(bar.low)
        if high is None or low is None:
            return None
        if bar.close > high:
            self._target = 1
        elif bar.close < low:
            self._target = 0
        return self._target


class Momentum:
    """Long while the close lies above the close `lookback` bars before."""

    def __init__(self, lookback: int) -> None:
        self._closes: deque[float] = deque(maxlen=lookback + 1)

    def update(self, bar: Bar) -> int | None:
        closes = self._closes
        closes.append(bar.close)
        return int(bar.close > closes[0]) if len(closes) == closes.maxlen else None


class Reversion:
    """Long from an oversold close in a rising market: RSI below `low` above the average of `trend` closes; flat from
    RSI above `high`."""

    def __init__(self, rsi: int, low: int, trend: int, high: int) -> None:
        self._rsi, self._trend = RSI(rsi), SMA(trend)
        self._low, self._high = low, high
        self._target = 0

    def update(self, bar: Bar) -> int | None:
        rsi, trend = self._rsi.update(bar.close), self._trend.update(bar.close)
        if rsi is None or trend is None:
            return None
        if rsi > self._high:
            self._target = 0
        elif rsi < self._low and bar.close > trend:
            self._target = 1
        return self._target


@dataclass(frozen=True, slots=True)
class Family:
    """A kind of strategy: its parameters with the least and greatest usable value, and how a machine is built.

    `check` says what is wrong with parameters that are fine one by one, None if nothing.
    """

    bounds: Mapping[str, tuple[int, int]]
    build: Callable[..., Machine]
    check: Callable[[Mapping[str, int]], str | None]


_FAMILIES: Final[dict[str, Family]] = {
    "trend": Family(
        {"fast": (2, LONGEST_WINDOW), "slow": (3, LONGEST_WINDOW)},
        Trend,
        lambda p: None if p["fast"] < p["slow"] else f"fast {p['fast']} must be below slow {p['slow']}",
    ),
    "breakout": Family(
        {"enter": (2, LONGEST_WINDOW), "leave": (2, LONGEST_WINDOW)},
        Breakout,
        lambda p: None if p["leave"] <= p["enter"] else f"leave {p['leave']} must not exceed enter {p['enter']}",
    ),
    "momentum": Family({"lookback": (2, LONGEST_WINDOW)}, Momentum, lambda p: None),
    "reversion": Family(
        {"rsi": (2, 50), "low": (1, 49), "trend": (2, LONGEST_WINDOW), "high": (50, 99)},
        Reversion,
        lambda p: None,
    ),
}
FAMILIES: Final[Mapping[str, Family]] = MappingProxyType(_FAMILIES)


def admit(name: str, family: Family) -> None:
    """Make a family of a user's own known by `name`. Raises InvalidStrategy for the name of a shipped one."""
    if name in SHIPPED:
        raise InvalidStrategy(f"family: {name!r} is a shipped one; give the strategy another name")
    _FAMILIES[name] = family


SHIPPED: Final = frozenset(FAMILIES)


@dataclass(frozen=True, slots=True)
class StrategySpec:
    """A family with its parameters, in the family's order. Raises InvalidStrategy naming what cannot be used."""

    family: str
    params: tuple[int, ...]

    def __post_init__(self) -> None:
        family = FAMILIES.get(self.family)
        if family is None:
            raise InvalidStrategy(f"family: {self.family!r} is unknown; choose from {', '.join(FAMILIES)}")
        if len(self.params) != len(family.bounds):
            raise InvalidStrategy(f"{self.family}: give {', '.join(family.bounds)}, not {self.params}")
        for (name, (least, most)), value in zip(family.bounds.items(), self.params, strict=True):
            if type(value) is not int or not least <= value <= most:
                raise InvalidStrategy(f"{self.family}: {name} must be a whole number in {least}..{most}, not {value!r}")
        problem = family.check(self.named)
        if problem is not None:
            raise InvalidStrategy(f"{self.family}: {problem}")

    @classmethod
    def named_params(cls, family: str, params: Mapping[str, int]) -> StrategySpec:
        """A spec from parameters by name. Raises InvalidStrategy on a missing or unknown name too."""
        known = FAMILIES.get(family)
        if known is not None and params.keys() != known.bounds.keys():
            raise InvalidStrategy(f"{family}: give {', '.join(known.bounds)}, not {', '.join(params) or 'nothing'}")
        return cls(family, tuple(params[name] for name in known.bounds) if known is not None else ())

    @property
    def named(self) -> dict[str, int]:
        """The parameters by name."""
        return dict(zip(FAMILIES[self.family].bounds, self.params, strict=True))

    @property
    def strategy_id(self) -> str:
        """Family and parameters: equal specs have equal ids, so a duplicate shows itself."""
        return "-".join((self.family, *map(str, self.params)))

    def machine(self) -> Machine:
        """A fresh machine for one symbol."""
        return FAMILIES[self.family].build(*self.params)
