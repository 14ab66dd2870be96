"""A strategy of one's own in one file: buy what fell far below its average, leave at the average; run, reported, explained."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from quantum_trader.api import Bars, Context, Strategy, Target, load_run


class Dip(Strategy):
    """Buy a close `depth` under its mean of `window` bars, leave at the mean."""

    window: int = 20
    depth: float = 0.06

    def on_bar(self, bars: Bars, ctx: Context) -> Target | None:
        if len(bars) < self.window:
            return None
        mean = bars.close[-self.window :].mean()
        if bars.close[-1] < mean * (1 - self.depth):
            below = 1 - bars.close[-1] / mean
            return Target(weight=0.2, stop=0.8 * bars.close[-1], reason=f"{below:.1%} under its mean")
        return Target(weight=0.0, reason="back at its mean") if bars.close[-1] >= mean else None


def qt(*arguments: str) -> str:
    command = [sys.executable, "-c", "from quantum_trader.cli import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        run = Path(temporary) / "run"
        print(qt("run", __file__, "--set", "depth=0.05", "--to", "2000-12-31", "--output", str(run)))
        trades = load_run(run, frames="polars").trades
        bought = trades.row(0, named=True)
        told = qt("why", bought["order_id"], "--run", str(run))
        print(told)
        assert "under its mean" in told
        assert trades.height > 10


if __name__ == "__main__":
    main()
