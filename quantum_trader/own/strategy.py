"""Strategy: what a strategy of a user's own is made of: its parameters, the bars it sees, the target it gives.

Who writes one comes in here and needs nothing else. Knows no event and no component; who asks the strategy is `own.runtime`.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, ClassVar, Final, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from quantum_trader.own.bars import Bars
from quantum_trader.own.context import Context
from quantum_trader.own.plain import of_plain, plain


class InvalidTarget(ValueError):
    """A target cannot be meant as it is: its weight is no number, or beyond 1. Give a fraction of equity, 0.2 for a fifth."""


class InvalidParameter(ValueError):
    """A parameter of a strategy is unknown, missing, or has a value it cannot have. The message says what would do."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a strategy wants of one symbol: `weight` of equity, 0 to leave, 1 for all of it.

    `stop` protects an entry from its fill on; `take` leaves at the open after a bar that reached it. Both are prices. The
    same weight again is no order, unless `rebalance` asks for sizing to present equity. `reason` is kept and shown by
    `qt why`. A weight below 0 is a short, which the risk guard refuses. Raises `InvalidTarget`.
    """

    weight: float
    stop: float | None = None
    take: float | None = None
    reason: str = ""
    rebalance: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", _number("weight", self.weight))
        if not -1.0 <= self.weight <= 1.0:
            raise InvalidTarget(f"weight {self.weight:g} is beyond all of the equity; give a fraction, 0.2 for a fifth")
        for name in ("stop", "take"):
            price = getattr(self, name)
            if price is not None:
                object.__setattr__(self, name, _number(name, price))
                if getattr(self, name) <= 0.0:
                    raise InvalidTarget(f"{name} {price} is no price; give one above 0, or leave it out")
        if not isinstance(self.reason, str):
            raise InvalidTarget(f"reason {self.reason!r} is no text; give a few words")


def _number(name: str, value: Any) -> float:
    try:
        found = float(value)
    except (TypeError, ValueError) as cause:
        raise InvalidTarget(f"{name} {value!r} is no number; give one") from cause
    if not math.isfinite(found):
        raise InvalidTarget(f"{name} is {found}; check for it (math.isfinite) and return None until there is a number")
    return found


class Strategy:
    """Subclass it, and give `on_bar` or `on_session`.

    Annotated fields without an underscore are parameters: validated, part of the run's identity, set by `--set`. Fields
    with one are state: kept over kill and resume if their values are plain. One instance serves all symbols.
    """

    _fields: ClassVar[Mapping[str, TypeAdapter[Any]]] = {}

    def __init__(self, **parameters: Any) -> None:
        """Raises `InvalidParameter`."""
        cls = type(self)
        if unknown := [name for name in parameters if name not in cls._fields]:
            known = ", ".join(cls._fields) or "none"
            raise InvalidParameter(f"{cls.__name__} has no parameter {unknown[0]}; known are {known}")
        for name, adapter in cls._fields.items():
            if name not in parameters and not hasattr(cls, name):
                raise InvalidParameter(f"{cls.__name__}.{name} has no value; give one with --set {name}=...")
            given = parameters.get(name, getattr(cls, name, None))
            try:
                setattr(self, name, adapter.validate_python(given))
            except ValidationError as cause:
                problem = cause.errors()[0]["msg"]
                raise InvalidParameter(
                    f"{cls.__name__}.{name}: {problem} (got {given!r}); correct the value"
                ) from cause
        for base in reversed(cls.__mro__):
            for name, value in vars(base).items():  # a list on the class would be shared by every instance
                if name.startswith("_") and isinstance(value, dict | list | set | deque) and name not in _OURS:
                    setattr(self, name, deepcopy(value))

    def __init_subclass__(cls, **rest: Any) -> None:
        super().__init_subclass__(**rest)
        hints = get_type_hints(cls, include_extras=True)
        cls._fields = {
            name: TypeAdapter(hint)
            for name, hint in hints.items()
            if not name.startswith("_") and get_origin(hint) is not ClassVar
        }

    @classmethod
    def parameters(cls) -> tuple[str, ...]:
        """The names of its parameters, in the order in which they are written."""
        return tuple(cls._fields)

    def settings(self) -> dict[str, Any]:
        """The value of each parameter."""
        return {name: getattr(self, name) for name in self._fields}

    def on_bar(self, bars: Bars, ctx: Context) -> Target | None:
        """What is wanted of one symbol after the close of its newest bar; None keeps what is wanted now."""
        raise NotImplementedError

    def on_session(self, market: Mapping[str, Bars], ctx: Context) -> Mapping[str, Target]:
        """The same for all symbols at once: `market` has those with a bar in this session. Who is left out keeps its target."""
        found = {}
        for symbol, bars in market.items():
            target = self.on_bar(bars, ctx.of(symbol))
            if target is not None:
                found[symbol] = target
        return found

    def state(self) -> Mapping[str, Any]:
        """What it remembers, in plain values: everything of its own with an underscore. Raises `NotPlain`."""
        return {name: plain(value, name) for name, value in vars(self).items() if name.startswith("_")}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become what `state()` described."""
        for name, value in state.items():
            setattr(self, name, of_plain(value))


_OURS: Final = frozenset({"_fields", "__dict__", "__annotations__", "__dataclass_fields__"})


def is_over_sessions(cls: type[Strategy]) -> bool:
    """Whether a strategy decides over all symbols at once."""
    return cls.on_session is not Strategy.on_session
