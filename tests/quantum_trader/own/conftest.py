"""What tests of users' own code share: a place to write it to."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

DIP = """
from quantum_trader.api import Bars, Context, Strategy, Target


class Dip(Strategy):
    window: int = 10
    depth: float = 0.03

    def on_bar(self, bars: Bars, ctx: Context) -> Target | None:
        if len(bars) < self.window:
            return None
        mean = bars.close[-self.window :].mean()
        if bars.close[-1] < mean * (1 - self.depth):
            return Target(weight=0.2, reason="dip")
        return Target(weight=0.0) if bars.close[-1] >= mean else None
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    """Writes a file of a user's."""

    def written(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(textwrap.dedent(text))
        return path

    return written


@pytest.fixture
def dip() -> str:
    """The text of a strategy that buys what has fallen."""
    return DIP
