"""Saying: how `qt` prints. A terminal is written nothing that it would act on, and what is piped is neither cut nor wrapped.

Every command writes through here: lines with `say`, values with `emit`, tables and what changes on a `Screen`.
"""

from __future__ import annotations

import json
from typing import Any, Final

import typer
from rich.console import Console
from rich.text import Text

from eventbus.cli.render import clean, say

__all__ = ["Screen", "clean", "emit", "is_text", "say", "shortened"]

_UNWRAPPED: Final = 1_000_000
_LONGEST: Final = 1_000  # characters of a complaint: it may name what somebody typed, and end with what would do


class Screen(Console):
    """A console that takes text as it is: what looks like markup is text, and what a terminal would act on is escaped."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, highlight=False, emoji=False)
        if not self.is_terminal:
            self.width = _UNWRAPPED

    def render_str(self, text: str, **settings: Any) -> Text:
        """The text that is written for a string; each of its lines is clean."""
        return super().render_str("\n".join(map(clean, text.split("\n"))), **settings)


def is_text(argument: str) -> bool:
    """Whether an argument, or a variable of the environment, is text: bytes that are no UTF-8 arrive as halves of characters."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        return False
    return True


def shortened(text: str, longest: int = _LONGEST) -> str:
    """The text without its middle, if it is too long."""
    half = longest // 2
    return text if len(text) <= longest else f"{text[:half]} ... {text[-half:]}"


def emit(value: Any) -> None:
    """One JSON value, indented."""
    typer.echo(json.dumps(value, indent=2, default=str).replace("\x7f", "\\u007f"))
