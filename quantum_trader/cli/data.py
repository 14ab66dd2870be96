"""`qt data`: list, describe, import and verify data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from quantum_trader.cli.progress import reading
from quantum_trader.config import load_config
from quantum_trader.market import layout
from quantum_trader.market.calendar import format_ts
from quantum_trader.market.csv_import import import_csv
from quantum_trader.market.dataset import load_dataset
from quantum_trader.market.describe import describe as summaries
from quantum_trader.market.errors import Unusable, quoted
from quantum_trader.market.library import DEMO, available, find

app = typer.Typer(help="Data sets: the shipped one, and those of your own.", no_args_is_help=True)

Directory = Annotated[Path | None, typer.Option("--directory", help="Where imported data sets live.")]


def _directory(given: Path | None) -> Path:
    return Path(load_config().app.data_directory) if given is None else given


@app.command("list")
def list_(directory: Directory = None) -> None:
    """The data sets there are."""
    table = Table("name", "bars", "symbols", "file")
    for name, path in available(_directory(directory)).items():
        manifest = layout.read_manifest(path)
        table.add_row(name, f"{sum(manifest.rows.values()):,}", ", ".join(sorted(manifest.rows)), str(path))
    Console().print(table)


@app.command()
def describe(name: Annotated[str, typer.Argument()] = DEMO, directory: Directory = None) -> None:
    """What is in a data set: bars, dates, splits and jumps by symbol."""
    dataset = load_dataset(find(name, _directory(directory)), align="outer")
    table = Table("symbol", "bars", "first", "last", "splits and special dividends", "jumps", "sha256 of bars")
    for row in summaries(dataset):
        table.add_row(
            row.symbol,
            f"{row.bars:,}",
            "" if row.first is None else format_ts(row.first),
            "" if row.last is None else format_ts(row.last),
            ", ".join(map(format_ts, row.splits)) or "none",
            ", ".join(map(format_ts, row.jumps)) or "none",
            row.sha256[:16],
        )
    console = Console()
    console.print(f"{dataset.name}: {dataset.bar_count:,} bars on {len(dataset):,} sessions, {dataset.file}")
    console.print(table)
    for warning in dataset.warnings:
        console.print(f"warning: {warning}")


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="A CSV file, gzipped or not.")],
    name: Annotated[str | None, typer.Option(help="Name of the data set; from the file name if left out.")] = None,
    symbol: Annotated[str | None, typer.Option(help="What the bars are of, when no column says so.")] = None,
    column: Annotated[
        list[str] | None, typer.Option(help="FIELD=HEADER for a column that is not recognised; may be repeated.")
    ] = None,
    date_format: Annotated[str | None, typer.Option(help="strptime pattern of dates that are not ISO 8601.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Overwrite a data set of that name.")] = False,
    allow_jumps: Annotated[bool, typer.Option("--allow-jumps", help="Keep jumps of more than a fifth.")] = False,
    adjust_splits: Annotated[bool, typer.Option("--adjust-splits", help="Adjust jumps that are like splits.")] = False,
    directory: Directory = None,
) -> None:
    """Check a CSV file of your own and keep it as a data set."""
    if allow_jumps and adjust_splits:
        raise Unusable("--allow-jumps keeps what --adjust-splits changes", remedy="give one of them")
    path = import_csv(
        file,
        _directory(directory),
        name=name,
        symbol=symbol,
        columns=dict(_pair(text) for text in column or ()),
        date_format=date_format,
        replace=replace,
        jumps="allow" if allow_jumps else "adjust" if adjust_splits else "refuse",
        note=typer.echo,
        reading=reading,
    )
    manifest = layout.read_manifest(path)
    typer.echo(f"{manifest.name}: {sum(manifest.rows.values()):,} bars of {', '.join(sorted(manifest.rows))} in {path}")


@app.command()
def verify(name: Annotated[str, typer.Argument()] = DEMO, directory: Directory = None) -> None:
    """Read a data set whole and compare it with what its manifest promises."""
    dataset = load_dataset(find(name, _directory(directory)), align="outer")
    typer.echo(f"{dataset.name}: {dataset.bar_count:,} bars as promised, sha256 {dataset.sha256}")


def _pair(text: str) -> tuple[str, str]:
    field, separator, header = text.partition("=")
    if not separator:
        raise Unusable(f"--column {quoted(text)} is no FIELD=HEADER", remedy="write it like --column date=Datum")
    return field, header
