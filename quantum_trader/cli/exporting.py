"""`qt export`: the fills, equity, orders and decisions of a run as files for other programs."""

from __future__ import annotations

import csv
import io
import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from quantum_trader.cli import choosing
from quantum_trader.cli.carrying import unwritable, write
from quantum_trader.cli.saying import say
from quantum_trader.cli.settings import ConfigDirectory
from quantum_trader.config import ConfigError
from quantum_trader.files import write_whole
from quantum_trader.runs.loaded import MissingFrames, framed
from quantum_trader.runs.tables import TABLES, Columns

_ENDINGS: Final = (".csv", ".json", ".parquet")
Run = Annotated[str, typer.Argument(help="Folder or name of a run.", show_default=False)]
Trades = Annotated[Path | None, typer.Option(help="The fills: .csv, .json or .parquet.")]
Equity = Annotated[Path | None, typer.Option(help="The account at the end of each session.")]
Orders = Annotated[Path | None, typer.Option(help="Every order, with its checks and its fate.")]
Decisions = Annotated[Path | None, typer.Option(help="Every decision event.")]


def register(app: typer.Typer) -> None:
    """Add the command of this module to `qt`."""
    app.command()(export)


def export(
    run: Run,
    trades: Trades = None,
    equity: Equity = None,
    orders: Orders = None,
    decisions: Decisions = None,
    config: ConfigDirectory = None,
) -> None:
    """Write the trades, equity, orders or decisions of a run to files; the ending says in which form."""
    wanted = {"trades": trades, "equity": equity, "orders": orders, "decisions": decisions}
    chosen = {name: path for name, path in wanted.items() if path is not None}
    if not chosen:
        raise ConfigError("command line", "qt export", "nothing to write", remedy="give --trades FILE or another")
    for name, path in chosen.items():
        if path.suffix not in _ENDINGS:
            remedy = f"give a name that ends with {', '.join(_ENDINGS)}"
            raise ConfigError("command line", f"--{name}", f"{path} has an unknown ending", remedy=remedy)
    folder = choosing.chosen(run, config)
    for name, path in chosen.items():
        columns = TABLES[name](folder)
        _write(path, columns, f"--{name}")
        say(f"{path}: {len(next(iter(columns.values()))):,} {name}")


def _write(path: Path, columns: Columns, option: str) -> None:
    if path.suffix == ".parquet":
        try:
            frame, buffer = framed(columns, "polars"), io.BytesIO()
        except MissingFrames as cause:
            remedy = "install quantum-trader[notebook], or write .csv"
            raise ConfigError("command line", option, "needs polars, which is not installed", remedy=remedy) from cause
        frame.write_parquet(buffer)
        try:
            write_whole(path, buffer.getvalue())
        except OSError as cause:
            raise unwritable(path, cause, option) from cause
        return
    rows = [dict(zip(columns, map(_plain, row), strict=True)) for row in zip(*columns.values(), strict=True)]
    if path.suffix == ".json":
        write(path, json.dumps(rows, indent=1), option)
        return
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write(path, text.getvalue(), option)


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
