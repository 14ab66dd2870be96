"""`qt data`: list, describe, import and verify data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from quantum_trader.cli.progress import reading
from quantum_trader.cli.saying import Screen, say
from quantum_trader.config import load_config
from quantum_trader.market import layout
from quantum_trader.market.calendar import format_ts
from quantum_trader.market.csv_import import import_csv
from quantum_trader.market.dataset import load_dataset
from quantum_trader.market.describe import describe as summaries
from quantum_trader.market.errors import Unusable, quoted
from quantum_trader.market.importing.dates import SPECIAL
from quantum_trader.market.importing.shape import Decimal, Shape
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
    Screen().print(table)


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
    console = Screen()
    console.print(f"{dataset.name}: {dataset.bar_count:,} bars on {len(dataset):,} sessions, {dataset.file}")
    console.print(table)
    for warning in dataset.warnings:
        console.print(f"warning: {warning}")


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="A CSV file, packed with gzip or zip or not.")],
    name: Annotated[str | None, typer.Option(help="Name of the data set; from the file name if left out.")] = None,
    symbol: Annotated[str | None, typer.Option(help="What the bars are of, when no column says so.")] = None,
    column: Annotated[
        list[str] | None, typer.Option(help="FIELD=HEADER for a column that is not recognised; may be repeated.")
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(help="The columns in order, for a file without a header: date,open,high,low,close,volume."),
    ] = None,
    skip_rows: Annotated[int, typer.Option(min=0, help="Lines before the table.")] = 0,
    encoding: Annotated[str | None, typer.Option(help="Of the text, when it is neither UTF-8 nor UTF-16.")] = None,
    date_format: Annotated[
        str | None, typer.Option(help=f"strptime pattern of unusual dates, or one of {', '.join(sorted(SPECIAL))}.")
    ] = None,
    day_first: Annotated[bool, typer.Option("--day-first", help="01/02/2020 is in February.")] = False,
    month_first: Annotated[bool, typer.Option("--month-first", help="01/02/2020 is in January.")] = False,
    zone: Annotated[str | None, typer.Option(help="Zone of times that have none, such as America/New_York.")] = None,
    decimal: Annotated[Decimal | None, typer.Option(help="What separates the fraction of a number.")] = None,
    no_volume: Annotated[
        bool, typer.Option("--no-volume", help="The file has no volume: limit no order by it.")
    ] = False,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out rows that make no sense, and list them.")
    ] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Overwrite a data set of that name.")] = False,
    allow_jumps: Annotated[bool, typer.Option("--allow-jumps", help="Keep jumps of more than a fifth.")] = False,
    adjust_splits: Annotated[bool, typer.Option("--adjust-splits", help="Adjust jumps that are like splits.")] = False,
    directory: Directory = None,
) -> None:
    """Check a CSV file of your own and keep it as a data set. What is assumed about it is told."""
    if file.is_dir():
        raise Unusable(f"{file}: it is a folder", remedy="give a file of bars")
    if allow_jumps and adjust_splits:
        raise Unusable("--allow-jumps keeps what --adjust-splits changes", remedy="give one of them")
    if day_first and month_first:
        raise Unusable("--day-first and --month-first cannot both be", remedy="give one of them")
    shape = Shape(
        columns=dict(_pair(text) for text in column or ()),
        header=None if columns is None else tuple(columns.split(",")),
        skip_rows=skip_rows,
        encoding=encoding,
        date_format=date_format,
        first="day" if day_first else "month" if month_first else None,
        zone=zone,
        decimal=decimal,
        has_volume=not no_volume,
        skip_bad=skip_bad,
    )
    path = import_csv(
        file,
        _directory(directory),
        name=name,
        symbol=symbol,
        shape=shape,
        replace=replace,
        jumps="allow" if allow_jumps else "adjust" if adjust_splits else "refuse",
        note=say,
        reading=reading,
    )
    manifest = layout.read_manifest(path)
    say(f"{manifest.name}: {sum(manifest.rows.values()):,} bars of {', '.join(sorted(manifest.rows))} in {path}")


@app.command()
def verify(name: Annotated[str, typer.Argument()] = DEMO, directory: Directory = None) -> None:
    """Read a data set whole and compare it with what its manifest promises."""
    dataset = load_dataset(find(name, _directory(directory)), align="outer")
    say(f"{dataset.name}: {dataset.bar_count:,} bars as promised, sha256 {dataset.sha256}")


def _pair(text: str) -> tuple[str, str]:
    field, separator, header = text.partition("=")
    if not separator:
        raise Unusable(f"--column {quoted(text)} is no FIELD=HEADER", remedy="write it like --column date=Datum")
    return field, header
