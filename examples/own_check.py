"""A check of one's own: no more than a third of the account may stand in symbols that move together."""

from __future__ import annotations

import tempfile
from pathlib import Path

from quantum_trader.api import Bars, Context, Denial, Order, RiskView, Strategy, Target, load_run
from quantum_trader.cli import run

COMPUTERS = {"AAPL", "IBM"}
MOST = 0.33


def max_sector(order: Order, state: RiskView) -> Denial | None:
    """Asked after the shipped checks, about every entry. It fails closed: if it raises, the order does not go."""
    if order.symbol not in COMPUTERS:
        return None
    held = sum(float(qty) * state.prices[symbol] for symbol, qty in state.positions.items() if symbol in COMPUTERS)
    share = (held + float(order.qty) * order.reference) / float(state.equity)
    return Denial("SECTOR", f"computers would be {share:.0%} of equity, {MOST:.0%} at most") if share > MOST else None


class BuyEverything(Strategy):
    """Wants a quarter of the account in every symbol, one after the other."""

    def on_bar(self, bars: Bars, ctx: Context) -> Target | None:
        turn = {"AAPL": 5, "IBM": 10, "MSFT": 15}
        return Target(weight=0.25) if ctx.session >= turn[bars.symbol] and not ctx.position() else None


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "run"
        dates = ("--symbols", "AAPL,IBM,MSFT", "--from", "2004-01-01", "--to", "2004-03-31")
        assert run(["run", __file__, "--check", f"{__file__}:max_sector", *dates, "--output", str(folder)]) == 0
        loaded = load_run(folder, frames="polars")
        bought = sorted(set(loaded.trades["symbol"]))
        print(f"bought {', '.join(bought)}; denied {loaded.report['denials']}")
        assert bought == ["AAPL", "MSFT"]
        assert loaded.report["denials"]["SECTOR"] > 0


if __name__ == "__main__":
    main()
