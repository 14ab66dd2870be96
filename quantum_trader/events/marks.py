"""Marks: what sets a decision apart from an operation, and the small types that events of every subject are made of."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from eventbus import Event
from quantum_trader.model import Side

_PLACES: Final = 18


class Decision:
    """Mark of an event that belongs to the replay digest."""


class Operation:
    """Mark of an event that depends on the machine, the clock on its wall or the network."""


class Item(BaseModel):
    """One line of an event that carries many."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


def _places(value: Decimal) -> Decimal:
    exponent = value.as_tuple().exponent
    if isinstance(exponent, int) and exponent < -_PLACES:
        raise ValueError(f"a price has at most {_PLACES} decimal places")
    return value


AnySide = Annotated[Side, BeforeValidator(_upper)]  # "buy" and "BUY" are one side
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Price = Annotated[Decimal, AfterValidator(_places)]  # in account currency; money itself has six places
Weight = Annotated[
    float | None, Field(exclude_if=lambda weight: weight is None)
]  # of equity; where none is wanted, none is told
Told = Literal["event", "wall"]  # by which clock: "wall" is about the machine, and stays out of the digest


def is_decision(event: Event) -> bool:
    """Whether the event belongs to the replay digest."""
    # A model takes long to say that it lacks an attribute, and this is asked of every event.
    return isinstance(event, Decision) and event.__dict__.get("clock", "event") == "event"
