"""Machine: a user's strategy in the shape that the lifecycle tries strategies in: one instance a symbol, long or flat.

For `qt run --gated`: trials, evaluations and stages are those of the shipped strategies, and so is the size of a position.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from quantum_trader.model import Bar
from quantum_trader.own.bars import Bars
from quantum_trader.own.context import Account, Context
from quantum_trader.own.strategy import Strategy

_ALONE: Final = 1_000_000.0  # account currency; whoever looks on asks for ratios only


class OwnMachine:
    """`made` makes the strategy. It is asked with what it would hold alone: the target of the bar before."""

    def __init__(self, made: Callable[[], Strategy], dice_of: str) -> None:
        self._strategy = made()
        self._dice_of = dice_of
        self._kept: list[list[Any]] = []
        self._bars: Bars | None = None
        self._target = 0

    def update(self, bar: Bar) -> int | None:
        """Take the next bar; 1 while any weight is wanted, else 0."""
        if self._bars is None:
            self._bars = Bars(bar.symbol)
        self._bars.append(bar)
        self._kept.append([bar.session, bar.ts.isoformat(), bar.open, bar.high, bar.low, bar.close, bar.volume])
        held = self._target / bar.close
        account = Account(
            equity=_ALONE,
            cash=_ALONE,
            positions={bar.symbol: held} if held else {},
            closes={bar.symbol: bar.close},
            ranks={},
            policy=None,
            dice_of=f"{self._dice_of}/{bar.symbol}/{bar.session}",
        )
        target = self._strategy.on_bar(self._bars, Context(bar.session, bar.ts, account, bar.symbol))
        if target is not None:
            self._target = int(target.weight > 0.0)
        return self._target

    def state(self) -> dict[str, Any]:
        """Everything needed to go on after a restart, in plain JSON values."""
        symbol = "" if self._bars is None else self._bars.symbol
        return {"strategy": dict(self._strategy.state()), "symbol": symbol, "bars": self._kept, "target": self._target}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become what `state()` described."""
        self._strategy.restore(state["strategy"])
        self._kept = [list(row) for row in state["bars"]]
        self._bars = Bars(state["symbol"]) if state["symbol"] else None
        for session, ts, *prices in self._kept:
            if self._bars is not None:
                self._bars.append(Bar(state["symbol"], session, datetime.fromisoformat(ts), *prices))
        self._target = state["target"]
