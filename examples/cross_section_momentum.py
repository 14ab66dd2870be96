"""A strategy over the whole cross-section: hold the symbols that rose most, in equal weights, chosen anew every month."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from quantum_trader.api import Bars, Context, Strategy, Target, load_run
from quantum_trader.cli import run


class Momentum(Strategy):
    """Rank by the return of `lookback` bars; hold the best `top`, rebalanced every `every` sessions."""

    lookback: int = 60
    top: int = 2
    every: int = 21

    def on_session(self, market: Mapping[str, Bars], ctx: Context) -> Mapping[str, Target]:
        if ctx.session % self.every:
            return {}
        rises = {
            symbol: bars.close[-1] / bars.close[-self.lookback] - 1
            for symbol, bars in market.items()
            if len(bars) >= self.lookback
        }
        best = sorted(rises, key=lambda symbol: rises[symbol], reverse=True)[: self.top]
        left = {
            symbol: Target(weight=0.0, reason="no longer among the best") for symbol in market if symbol not in best
        }
        held = {
            symbol: Target(weight=0.9 / self.top, reason=f"rose {rises[symbol]:+.0%}", rebalance=True)
            for symbol in best
        }
        return {**left, **held}


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "run"
        assert run(["run", __file__, "--from", "2004-01-01", "--to", "2005-06-30", "--output", str(folder)]) == 0
        loaded = load_run(folder, frames="polars")
        months = {time.strftime("%Y-%m") for time in loaded.trades["time"]}
        held = loaded.equity["positions"]
        print(f"{loaded.trades.height} fills in {len(months)} months, {held[-1]} positions at the end")
        assert held.max() == 2
        assert len(months) > 8


if __name__ == "__main__":
    main()
