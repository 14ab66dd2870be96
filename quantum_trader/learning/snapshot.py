"""Snapshot: the state of a strategy's machine as plain JSON values, and back into a fresh machine.

Machines and indicators hold nothing but numbers, windows of them and one another, so one walk serves them all. Integers
are exact in JSON as Python writes it, however long.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any


def snapshot(machine: object) -> dict[str, Any]:
    """Everything `machine` remembers."""
    return {name: _plain(getattr(machine, name)) for name in _names(machine)}


def reinstate(machine: object, state: Mapping[str, Any]) -> None:
    """Make `machine`, built with the same parameters, become the one that `state` was taken of."""
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
        return [_plain(one) for one in value]
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
