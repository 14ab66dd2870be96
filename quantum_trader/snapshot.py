"""Snapshot: what components remember as plain JSON values, and back into fresh ones. Checkpoints are made of it.

Machines and indicators hold nothing but numbers, windows of them and one another, so one walk serves them all. Integers
and floats are exact in JSON as Python writes it, however long.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Protocol, cast

from eventbus import Event, event_class
from quantum_trader.model import Bar, Order, OrderKind, Side

_NUMBERS: Final = frozenset({int, float})


class Stateful(Protocol):
    """A component that can go on after a restart where it was, at a moment when nothing is pending."""

    def state(self) -> dict[str, Any]:
        """Everything needed to go on, in plain JSON values."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become what `state()` described; it was built with the same configuration."""
        ...


def event_values(event: Event | None) -> dict[str, Any] | None:
    """An event that a component holds on to."""
    return None if event is None else {"type": event.type, "event": event.model_dump(mode="json")}


def event_of(values: Mapping[str, Any] | None) -> Any:
    """The event that `event_values` was taken of. Raises `KeyError` for a type that is not known any more."""
    if values is None:
        return None
    cls = event_class(values["type"])
    if cls is None:
        raise KeyError(values["type"])
    return cls.model_validate(values["event"])


def events_of(saved: Iterable[Mapping[str, Any]]) -> list[Any]:
    """Events, one after the other."""
    return [event_of(values) for values in saved]


def bar_values(bar: Bar) -> list[Any]:
    """A bar that a component holds on to."""
    prices = [bar.open, bar.high, bar.low, bar.close, bar.volume, bar.adj_factor]
    return [bar.symbol, bar.session, bar.ts.isoformat(), *prices]


def bar_of(values: Iterable[Any]) -> Bar:
    """The bar that `bar_values` was taken of."""
    symbol, session, ts, *prices = values
    return Bar(symbol, session, datetime.fromisoformat(ts), *prices)


def order_values(order: Order) -> dict[str, Any]:
    """An order that a component holds on to."""
    return asdict(order) | {"side": order.side.value, "kind": order.kind.value, "qty": str(order.qty)}


def order_of(values: Mapping[str, Any]) -> Order:
    """The order that `order_values` was taken of."""
    told = {"side": Side(values["side"]), "kind": OrderKind(values["kind"]), "qty": Decimal(values["qty"])}
    return Order(**{**values, **told})


def snapshot(machine: object) -> dict[str, Any]:
    """Everything `machine` remembers; one that knows how tells it itself."""
    if hasattr(machine, "restore"):
        told: dict[str, Any] = cast(Stateful, machine).state()
        return told
    return {name: _plain(getattr(machine, name)) for name in _names(machine)}


def reinstate(machine: object, state: Mapping[str, Any]) -> None:
    """Make `machine`, built with the same parameters, become the one that `state` was taken of."""
    if hasattr(machine, "restore"):
        cast(Stateful, machine).restore(state)
        return
    for name in _names(machine):
        setattr(machine, name, _like(getattr(machine, name), state[name]))


def _names(machine: object) -> Iterator[str]:
    for cls in type(machine).__mro__:
        slots = cls.__dict__.get("__slots__", ())
        yield from (slots,) if isinstance(slots, str) else slots
    yield from getattr(machine, "__dict__", ())


def _plain(value: object) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple | deque):
        return [one if type(one) in _NUMBERS else _plain(one) for one in value]
    return snapshot(value)


def _like(present: Any, saved: Any) -> Any:
    if isinstance(present, deque):
        return deque(map(_inner, saved), maxlen=present.maxlen)
    if isinstance(present, tuple):
        return _inner(saved)
    if isinstance(saved, dict):
        reinstate(present, saved)
        return present
    return saved


def _inner(saved: Any) -> Any:
    return tuple(map(_inner, saved)) if isinstance(saved, list) else saved
