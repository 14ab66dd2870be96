"""A strategy with state of its own, killed in the middle of a run and resumed: it goes on with what it remembered."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections import deque
from pathlib import Path

from quantum_trader.api import Bars, Context, Strategy, Target, load_run


class Streaks(Strategy):
    """Counts down days in a row of each symbol; buys after `length` of them, leaves after as many sessions."""

    length: int = 3
    _streaks: dict[str, int] = {}  # noqa: RUF012 - each instance gets one of its own
    _since: dict[str, int] = {}  # noqa: RUF012
    _newest: deque[str] = deque(maxlen=5)  # noqa: RUF012

    def on_bar(self, bars: Bars, ctx: Context) -> Target | None:
        if ctx.session == int(os.environ.get("DIE_IN", "-1")):
            os.kill(os.getpid(), signal.SIGKILL)
        fell = len(bars) > 1 and bars.close[-1] < bars.close[-2]
        streak = self._streaks[bars.symbol] = self._streaks.get(bars.symbol, 0) + 1 if fell else 0
        if streak >= self.length and not ctx.position():
            self._since[bars.symbol] = ctx.session
            self._newest.append(bars.symbol)
            return Target(weight=0.15, reason=f"{streak} down days")
        if ctx.position() and ctx.session - self._since[bars.symbol] >= self.length:
            return Target(weight=0.0, reason="held long enough")
        return None


QT = [sys.executable, "-c", "from quantum_trader.cli import main; main()"]


def qt(*arguments: str, **environment: str) -> int:
    environment = {**os.environ, "QT_APP__CHECKPOINT_EVERY": "25", **environment}
    return subprocess.run([*QT, *arguments], env=environment, check=False, capture_output=True).returncode


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        whole, killed = str(Path(temporary) / "whole"), str(Path(temporary) / "killed")
        command = ("run", __file__, "--to", "2000-09-30", "--symbols", "AAPL,IBM,MSFT", "--output")
        assert qt(*command, whole) == 0
        assert qt(*command, killed, DIE_IN="83") == -signal.SIGKILL
        assert qt("resume", killed) == 0
        one, other = load_run(whole).report, load_run(killed).report
        for name, report in (("whole", one), ("killed and resumed", other)):
            print(f"{name:<20} {report['fills']} fills, equity {report['equity']}, digest {report['digest'][:16]}")
        assert one["digest"] == other["digest"]
        assert one["fills"] > 10
        assert qt("verify", killed) == 0


if __name__ == "__main__":
    main()
