"""Wording: the text of anything a user may hand in. It never raises, whatever `__str__` or `__repr__` do, and it is capped.

Knows nothing of the rest of the package.
"""

from __future__ import annotations

TEXT_CAP = 8 * 1024
"""The most characters of somebody else's text that are kept or printed."""


def text_of(value: object, cap: int = TEXT_CAP) -> str:
    """`str(value)`, at most `cap` characters of it; what was raised instead, if it cannot be printed."""
    try:
        return capped(f"{value!s}", cap)
    except BaseException as broken:  # noqa: BLE001 - a user's object may do anything when it is printed
        return f"<its str() raised {type(broken).__name__}>"


def shown(value: object, cap: int = 200) -> str:
    """`repr(value)` for a message, at most `cap` characters of it; the name of its class, if it cannot be printed."""
    try:
        return capped(repr(value), cap)
    except BaseException:  # noqa: BLE001 - as above
        return f"<{type(value).__qualname__} without a repr>"


def capped(text: str, cap: int = TEXT_CAP) -> str:
    """At most `cap` characters: what is too long loses its middle."""
    if len(text) <= cap:
        return text
    head = (cap - 3) // 3
    return f"{text[:head]}...{text[len(text) - (cap - 3 - head) :]}"
