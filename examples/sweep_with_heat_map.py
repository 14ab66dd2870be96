"""A sweep over a grid of parameters on every core, its table and its heat map; the same command again goes on with it."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from quantum_trader.api import Bars, Context, Strategy, Target


class Cross(Strategy):
    """Long while the fast average of closes lies above the slow one."""

    fast: int = 5
    slow: int = 20

    def on_bar(self, bars: Bars, ctx: Context) -> Target | None:
        if len(bars) < self.slow:
            return None
        is_up = bars.close[-self.fast :].mean() > bars.close[-self.slow :].mean()
        return Target(weight=0.3 if is_up else 0.0)


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "sweep"
        command = [sys.executable, "-c", "from quantum_trader.cli import main; main()", "sweep", __file__]
        command += ["--grid", "fast=3,5", "--grid", "slow=10:30:3", "--symbols", "AAPL,IBM", "--to", "2000-06-30"]
        command += ["--output", str(folder)]
        print(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        again = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)  # nothing left to do
        runs = json.loads(again.stdout)["runs"]
        assert len(runs) == 6
        assert {run["params"]["slow"] for run in runs} == {10, 20, 30}
        assert (folder / "heatmap.svg").read_text().count("<rect") == 1 + 6


if __name__ == "__main__":
    main()
