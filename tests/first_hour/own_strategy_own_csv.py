"""A strategy of one's own over a CSV of one's own: imported, run, the report read, a trade explained, exported, verified."""

import math
import os
import subprocess
from datetime import date, timedelta
from pathlib import Path

STRATEGY = '''
from quantum_trader.api import Bars, Context, Strategy, Target


class Swing(Strategy):
    """Buy under the mean, sell above it."""

    window: int = 20

    def on_bar(self, bars: Bars, ctx: Context) -> Target | None:
        mean = bars.close[-self.window :].mean()
        if bars.close[-1] < 0.99 * mean:
            return Target(weight=0.3, reason="under its mean")
        return Target(weight=0.0, reason="back at its mean") if bars.close[-1] > mean else None
'''


def said(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def main() -> None:
    Path("swing.py").write_text(STRATEGY)
    lines = ["Date;Open;High;Low;Close;Volume"]
    day = date(2018, 1, 1)
    for number in range(400):
        day += timedelta(days=3 if day.weekday() == 4 else 1)
        close = 50 + 5 * math.sin(number / 9)
        prices = (close - 0.2, close + 0.5, close - 0.5, close)
        shown = ";".join(f"{price:.2f}".replace(".", ",") for price in prices)
        lines.append(f"{day:%d.%m.%Y};{shown};100000")
    Path("acme.csv").write_text("\n".join(lines))  # as a spreadsheet in Germany would write it

    told = said("qt", "data", "import", "acme.csv", "--name", "acme", "--symbol", "ACME")
    assert "acme" in told
    assert "acme" in said("qt", "data", "list")

    told = said("qt", "run", "swing.py", "--data", "acme", "--set", "window=30", "--output", "first")
    assert "fills" in told
    page = Path("first", "report.html").read_text()
    assert "ACME" in page
    assert 'src="http' not in page
    assert 'href="http' not in page

    (why,) = [line.partition("   ")[0].split() for line in told.splitlines() if line.startswith("qt why ")]
    story = said(*why)
    assert "under its mean" in story, story
    assert "ACME" in story

    said("qt", "verify", "first")
    said("qt", "run", "swing.py", "--data", "acme", "--set", "window=30", "--output", "again")
    said("qt", "diff", "first", "again")
    said("qt", "export", "first", "--trades", "trades.csv")
    assert Path("trades.csv").read_text().count("\n") > 3

    wrong = subprocess.run(["qt", "run", "swing.py", "--set", "windw=3"], capture_output=True, text=True, check=False)
    assert wrong.returncode != 0
    assert "windw" in wrong.stderr + wrong.stdout
    assert "Traceback" not in wrong.stderr
    assert not os.path.exists("runs") or not os.listdir("runs")
    print("imported, run, explained, verified")


main()
