"""Bounds: a value that makes no sense is refused where it is given, by the name of its argument.

`None` means without end and is the caller's to allow; inf, nan, booleans and other types are refused everywhere.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from eventbus.errors import PolicyConflict
from eventbus.wording import shown

CENTURY = 100 * 365.25 * 86_400
"""The longest time, in seconds, that every event loop and every journal can hold."""

_BUS_NAME = re.compile(r"[a-z][a-z0-9_]{0,30}")


def whole(argument: str, value: object, *, least: int = 1) -> int:
    """`value`, if it is a whole number from `least` on. Raises `PolicyConflict`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise PolicyConflict(argument, f"{shown(value)} is not a whole number from {least} on")
    return value


def number(argument: str, value: object, *, least: float = 0.0) -> float:
    """`value`, if it is a finite number from `least` on. Raises `PolicyConflict`."""
    if _is_number(value) and value >= least:  # type: ignore[operator] # it is one
        return value  # type: ignore[return-value] # as above
    raise PolicyConflict(argument, f"{shown(value)} is not a number from {least:g} on")


def seconds(argument: str, value: object, *, zero: bool = False) -> float:
    """`value`, if it is a time in seconds: more than 0 (or 0, if `zero`) and less than a century. Raises `PolicyConflict`."""
    if _is_number(value) and (0 < value <= CENTURY or (zero and value == 0)):  # type: ignore[operator] # it is one
        return value  # type: ignore[return-value] # as above
    wanted = "a number of seconds from 0 on" if zero else "a positive number of seconds"
    raise PolicyConflict(argument, f"{shown(value)} is not {wanted}, below a century; None is without end")


def patience(argument: str, value: object) -> None:
    """Raise `PolicyConflict` unless `value` says how long somebody waits: seconds from 0 on, or None."""
    if value is not None:
        seconds(argument, value, zero=True)


def word(argument: str, value: object) -> str:
    """`value`, if it is a text with something in it. Raises `PolicyConflict`."""
    if isinstance(value, str) and value.strip():
        return text(argument, value)
    raise PolicyConflict(argument, f"{shown(value)} is not a name: use a text that is not empty")


def text(argument: str, value: object) -> str:
    """`value`, if it is a text that can be written down: no lone surrogate in it. Raises `PolicyConflict`."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise PolicyConflict(argument, f"{shown(value)} has a character that is none: {error.reason}") from error
        return value
    raise PolicyConflict(argument, f"{shown(value)} is no text")


def bus_name(value: object) -> str:
    """`value`, if a bus on a server may be called so: schema, key prefix or stream there. Raises `PolicyConflict`."""
    name = text("name", value)
    if _BUS_NAME.fullmatch(name):
        return name
    raise PolicyConflict("name", f"{shown(name)} is no name of a bus: a-z, then up to 30 of a-z, 0-9 and _")


def truth(argument: str, value: object) -> bool:
    """`value`, if it is true or false. Raises `PolicyConflict`."""
    if isinstance(value, bool):
        return value
    raise PolicyConflict(argument, f"{shown(value)} is neither true nor false")


def callable_with(argument: str, value: object, what: str) -> Callable[..., Any]:
    """`value`, if it can be called (with `what`, says the message). Raises `PolicyConflict`."""
    if callable(value):
        return value
    raise PolicyConflict(argument, f"{shown(value)} cannot be called with {what}")


def instance(argument: str, value: object, kind: type) -> None:
    """Raise `PolicyConflict` unless `value` is one of that kind."""
    if not isinstance(value, kind):
        raise PolicyConflict(argument, f"{shown(value)} is no {kind.__name__}")


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isinstance(value, int) or math.isfinite(value)
