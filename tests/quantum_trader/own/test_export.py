"""`qt export` and `load_run`: what comes out of a run is what went on in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from quantum_trader.api import load_run
from quantum_trader.monitoring.analytics import NoRun

if TYPE_CHECKING:
    from tests.quantum_trader.conftest import Terminal

SHORT = ("--to", "2000-07-31", "--symbols", "IBM,AAPL")


@pytest.fixture
def run(terminal: Terminal, write: Callable[[str, str], Path], dip: str) -> str:
    write("dip.py", dip)
    terminal.ok("run", "dip.py", *SHORT, "--output", "r")
    return "r"


def test_files_of_every_form_hold_the_same(terminal: Terminal, run: str) -> None:
    import pandas as pd
    import polars as pl

    for ending in ("csv", "json", "parquet"):
        wanted = (
            part for name in ("trades", "equity", "orders", "decisions") for part in (f"--{name}", f"{name}.{ending}")
        )
        terminal.ok("export", run, *wanted)
    csv, parquet = pd.read_csv("trades.csv"), pl.read_parquet("trades.parquet")
    rows = json.loads(Path("trades.json").read_text())
    assert len(csv) == len(parquet) == len(rows) == terminal.json("report", run, "--json")["fills"]
    assert csv["price"].tolist() == parquet["price"].to_list() == [row["price"] for row in rows]
    assert pl.read_parquet("equity.parquet").height == pl.read_csv("equity.csv").height


def test_frames_are_what_the_run_reports(terminal: Terminal, run: str) -> None:
    import polars as pl

    loaded = load_run(run)
    report = terminal.json("report", run, "--json")
    assert float(loaded.equity["equity"].iloc[-1]) == pytest.approx(float(report["equity"]))
    assert loaded.trades["fee"].sum() == pytest.approx(float(report["fees"]))
    flow = (loaded.trades["size"] * loaded.trades["price"] * loaded.trades["side"].map({"BUY": -1, "SELL": 1})).sum()
    assert float(loaded.equity["cash"].iloc[-1]) == pytest.approx(1e6 + flow - loaded.trades["fee"].sum(), abs=1e-3)
    assert set(loaded.orders["status"]) <= {"FILLED", "APPROVED", "EXPIRED"}
    assert loaded.orders.set_index("order_id")["filled"].sum() == loaded.trades["size"].sum()
    assert len(loaded.decisions) == sum(loaded.decisions["type"].value_counts())
    assert loaded.config.own.strategy_id == "dip"
    assert loaded.report["digest"] == report["digest"]
    assert isinstance(load_run(run, frames="polars").trades, pl.DataFrame)


def test_what_cannot_be_exported_is_one_line(terminal: Terminal, run: str) -> None:
    assert "nothing to write; give --trades FILE" in terminal.complaint("export", run)
    assert "unknown ending; give a name that ends with .csv" in terminal.complaint("export", run, "--trades", "t.xls")
    assert "no such run" in terminal.complaint("export", "nowhere", "--trades", "t.csv")
    with pytest.raises(NoRun):
        load_run("nowhere")
