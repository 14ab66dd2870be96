"""`qt sweep`, `qt compare`: many runs of a strategy, and runs beside each other."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from quantum_trader.app import check, load_feed
from quantum_trader.cli import choosing
from quantum_trader.cli.carrying import unwritable, write
from quantum_trader.cli.faults import CHECK_FAILED, INTERRUPTED, Failed
from quantum_trader.cli.own import Brought, File, Limits, PolicyChoice, Ranker, Set, pairs, with_room
from quantum_trader.cli.runs import AlignOption, Checks, Choices, Components, From, Name, Seed, Symbols, To
from quantum_trader.cli.saying import Screen, emit, say
from quantum_trader.cli.settings import ConfigDirectory, Profile
from quantum_trader.config import Config, ConfigError
from quantum_trader.monitoring.analytics import load_record
from quantum_trader.monitoring.figures import Figures, figures
from quantum_trader.monitoring.heat import heat_lines, heat_map
from quantum_trader.monitoring.plot import Line, line_chart
from quantum_trader.monitoring.record import RunRecord, closed_trades
from quantum_trader.monitoring.spark import sparkline
from quantum_trader.own.loading import made, strategy_class
from quantum_trader.runs.comparison import part
from quantum_trader.runs.folder import RunFolder
from quantum_trader.runs.sweep import Point, Sweep, plan
from quantum_trader.runs.sweeping import work

Grid = Annotated[
    list[str] | None, typer.Option("--grid", help="An axis: window=10,20,40 or depth=0.01:0.05:5; may be repeated.")
]
Jobs = Annotated[int | None, typer.Option(help="Processes; as many as there are cores if left out.", min=1)]
Figure = Annotated[str, typer.Option(help="What the heat map shows: sharpe, cagr, drawdown, sortino or calmar.")]
COLOURS: Final = ("#0969da", "#cf222e", "#1a7f37", "#8250df", "#bf8700", "#1b7c83", "#953800", "#6e7781")
_FIGURES: Final = ("sharpe", "cagr", "drawdown", "sortino", "calmar")
_MOST: Final = 100_000  # runs of one sweep


def register(app: typer.Typer) -> None:
    """Add the commands of this module to `qt`."""
    app.command()(sweep)
    app.command()(compare)


def sweep(
    file: File,
    grid: Grid = None,
    jobs: Jobs = None,
    figure: Figure = "sharpe",
    data: Name = None,
    set_: Set = None,
    limits: Limits = None,
    ranker: Ranker = False,
    policy: PolicyChoice = "open",
    checks: Checks = None,
    components: Components = None,
    symbols: Symbols = None,
    start: From = None,
    end: To = None,
    seed: Seed = None,
    align: AlignOption = None,
    profile: Profile = None,
    config: ConfigDirectory = None,
    output: Annotated[Path | None, typer.Option(help="Folder of the sweep, a run in each folder below.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
) -> None:
    """Run a strategy of your own over a grid of parameters, on all cores; the same command again goes on with it."""
    if figure not in _FIGURES:
        raise ConfigError("command line", "--figure", f"{figure!r} is unknown", remedy=f"give {', '.join(_FIGURES)}")
    axes = axes_of(file, grid or [], pairs(set_))
    brought = Brought(
        file,
        pairs(set_) | {name: str(values[0]) for name, values in axes.items()},
        limits=limits,
        ranker=ranker,
        policy=policy,
    )
    base = brought.load(Choices(profile, config, data, symbols, start, end, seed, align, checks, components))
    check(base)
    feed = load_feed(base)
    base = base if limits is not None else with_room(base, feed.symbols)
    folder = output or Path(base.app.run_directory) / f"sweep-{base.own.strategy_id}-{_name(base, axes)}"
    try:
        points = plan(folder, base, axes)
    except OSError as cause:
        raise unwritable(folder, cause, "--output") from cause
    _carry_out(Sweep(points, jobs or cores(), work), points, folder, axes, figure, as_json=as_json)


def cores() -> int:
    """How many processes can run at once here."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def axes_of(file: str, given: Sequence[str], fixed: Mapping[str, str]) -> dict[str, list[Any]]:
    """The values of each axis, as the strategy's parameters take them. Raises `ConfigError`, `OwnCodeError`."""
    if not given:
        raise ConfigError("command line", "--grid", "is missing", remedy="write --grid window=10,20,40")
    cls = strategy_class(file)
    axes: dict[str, list[Any]] = {}
    for text in given:
        name, equals, values = text.partition("=")
        if not equals or not values:
            raise ConfigError("command line", "--grid", f"{text!r} is no axis", remedy="write window=10,20,40")
        if name in axes:
            raise ConfigError("command line", "--grid", f"{name} is given twice", remedy="give each axis once")
        axes[name] = []
        for value in _values(values):
            taken = made(cls, {**fixed, **{other: chosen[0] for other, chosen in axes.items() if chosen}, name: value})
            axes[name].append(taken.settings()[name])
    if math.prod(map(len, axes.values())) > _MOST:
        raise ConfigError("command line", "--grid", f"asks for more than {_MOST:,} runs", remedy="give fewer values")
    return axes


def _values(text: str) -> list[str]:
    """`10,20,40`, or `0.01:0.05:5`: five values from the first to the second."""
    if ":" not in text:
        return [value.strip() for value in text.split(",") if value.strip()]
    try:
        first, last, count = text.split(":")
        low, high, number = Decimal(first), Decimal(last), int(count)
    except (ValueError, ArithmeticError) as cause:
        raise ConfigError("command line", "--grid", f"{text!r} is no range", remedy="write 0.01:0.05:5") from cause
    if number < 1 or number > _MOST or not (low.is_finite() and high.is_finite()):
        raise ConfigError("command line", "--grid", f"{text!r} is no range", remedy="write 0.01:0.05:5")
    step = (high - low) / max(1, number - 1)
    return [f"{float(low + step * index):.12g}" for index in range(number)]


def _name(base: Config, axes: Mapping[str, Sequence[Any]]) -> str:
    named = base.own.model_copy(update={"params": {**base.own.params, "axes": repr(dict(axes))}})
    return base.model_copy(update={"own": named}).sha256()[:12]


def _carry_out(
    swept: Sweep,
    points: Sequence[Point],
    folder: Path,
    axes: Mapping[str, Sequence[Any]],
    figure: str,
    *,
    as_json: bool,
) -> None:
    console = Screen(stderr=True)
    columns = (TextColumn("sweeping"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("sweeping", total=len(points), completed=len(swept.outcome.done))
        for _ in swept.run():
            progress.advance(task)
    outcome = swept.outcome
    rows = {point.number: _row(point, len(points)) for point in sorted(outcome.done, key=lambda point: point.number)}
    write(folder / "results.csv", _as_csv(points, rows), "--output")
    grids = _grid(axes, points, rows, figure)
    write(folder / "heatmap.svg", heat_map(_title(points, folder), *grids[:3], axes=grids[3]), "--output")
    if as_json:
        emit(
            {
                "sweep": str(folder),
                "runs": [
                    {"run": str(p.folder.path), "params": p.params, **rows[p.number]}
                    for p in points
                    if p.number in rows
                ],
                "failed": {str(number): problem for number, problem in outcome.failed.items()},
                "worker_deaths": outcome.deaths,
            }
        )
    else:
        _show(points, rows, grids, folder, axes)
    for number, problem in sorted(outcome.failed.items()):
        say(f"{points[number].folder.path}: failed: {problem}")
    if outcome.is_stopped:
        left = len(points) - len(outcome.done)
        raise Failed(
            f"stopped with {left} of {len(points)} runs to do; the same command goes on with them", INTERRUPTED
        )
    if outcome.failed:
        raise Failed(
            f"{len(outcome.failed)} of {len(points)} runs failed; correct them, and give the same command again"
        )


def _row(point: Point, trials: int) -> dict[str, Any]:
    record, _ = load_record(point.folder.path)
    found = figures_of(record, trials)
    equity = record.points[-1].equity
    return {"equity": float(equity), "fills": len(record.trades), **found.as_dict()}


def figures_of(record: RunRecord, trials: int = 1) -> Figures:
    """The figures of a recorded run, which is one of `trials`."""
    equity = [float(record.cash), *(float(point.equity) for point in record.points)]
    results = [float(result) for result in closed_trades(record.trades)]
    return figures(equity, results, periods=record.periods_per_year, trials=trials)


def _as_csv(points: Sequence[Point], rows: Mapping[int, Mapping[str, Any]]) -> str:
    text = io.StringIO()
    lines = [{"run": p.folder.path.name, **p.params, **rows[p.number]} for p in points if p.number in rows]
    if lines:
        writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    return text.getvalue()


def _grid(
    axes: Mapping[str, Sequence[Any]], points: Sequence[Point], rows: Mapping[int, Mapping[str, Any]], figure: str
) -> tuple[list[str], list[str], list[list[float | None]], tuple[str, str]]:
    """The heat map of the last two axes; of the others the best is taken, and of one axis a single line."""
    names = list(axes)
    across = names[-1]
    down = names[-2] if len(names) > 1 else ""
    lines: list[Any] = list(axes[down]) if down else [""]
    values: list[list[float | None]] = [[None] * len(axes[across]) for _ in lines]
    for point in points:
        value = rows.get(point.number, {}).get(figure)
        row, column = lines.index(point.params[down]) if down else 0, axes[across].index(point.params[across])
        before = values[row][column]
        if value is not None and (before is None or value > before):
            values[row][column] = value
    return (
        [f"{value:g}" if isinstance(value, float) else str(value) for value in axes[across]],
        [f"{value:g}" if isinstance(value, float) else str(value) for value in lines],
        values,
        (across, down),
    )


def _title(points: Sequence[Point], folder: Path) -> str:
    return f"{points[0].config.own.strategy_id}: {len(points)} runs ({folder.name})"


def _show(
    points: Sequence[Point], rows: Mapping[int, Mapping[str, Any]], grids: Any, folder: Path, axes: Mapping[str, Any]
) -> None:
    screen = Screen()
    table = Table(*axes, "equity", "CAGR", "Sharpe", "drawdown", "win rate", "fills", "PSR", "DSR", "run")
    for point in points:
        if point.number in rows:
            row = rows[point.number]
            rate = "-" if row["win_rate"] is None else f"{row['win_rate']:.0%}"
            cells = (
                f"{row['equity']:,.0f}",
                "-" if row["cagr"] is None else f"{row['cagr']:+.1%}",
                f"{row['sharpe']:.2f}",
                f"{row['drawdown']:.1%}",
            )
            more = (rate, str(row["fills"]), f"{row['psr']:.2f}", f"{row['dsr']:.2f}", point.folder.path.name)
            table.add_row(
                *(f"{value:g}" if isinstance(value, float) else str(value) for value in point.params.values()),
                *cells,
                *more,
            )
    screen.print(table)
    for line in heat_lines(*grids[:3], axes=grids[3]):
        screen.print(line)
    best = max(rows.items(), key=lambda one: one[1]["sharpe"], default=None)
    if best is not None:
        number, row = best
        say(
            f"best of {len(points)}: {points[number].folder.path.name}, Sharpe {row['sharpe']:.2f}; the probability that it is"
        )
        say(f"better than the luckiest of {len(points)} without skill is {row['dsr']:.2f} (DSR)")
    say(f"{folder}: results.csv, heatmap.svg, a run in each folder")


def compare(
    runs: Annotated[list[str], typer.Argument(help="Folders or names of runs.", show_default=False)],
    svg: Annotated[Path | None, typer.Option(help="Draw the equity curves there, in one plot.")] = None,
    as_json: choosing.AsJson = False,
    config: ConfigDirectory = None,
) -> None:
    """Figures of runs side by side, their equity curves, and the first decision in which each parts from the first."""
    if len(runs) < 2:
        raise ConfigError("command line", "RUN", "there is nothing to compare with", remedy="name two runs or more")
    folders = [choosing.chosen(name, config) for name in runs]
    records = [load_record(folder.path)[0] for folder in folders]
    found = [figures_of(record) for record in records]
    partings = [_parting(folders[0], other) for other in folders[1:]]
    if svg is not None:
        write(svg, curves([folder.path.name for folder in folders], records), "--svg")
    if as_json:
        emit(
            {
                "runs": [{"run": str(f.path), **one.as_dict()} for f, one in zip(folders, found, strict=True)],
                "partings": partings,
            }
        )
        return
    table = Table("", *(folder.path.name for folder in folders))
    for label, cells in _side_by_side(records, found):
        table.add_row(label, *cells)
    screen = Screen()
    screen.print(table)
    for folder, record in zip(folders, records, strict=True):
        say(f"{sparkline([float(point.equity) for point in record.points], 60)}  {folder.path.name}")
    for folder, parting in zip(folders[1:], partings, strict=True):
        for name, (one, other) in parting["configuration"].items():
            say(f"{folder.path.name}: {name}: {one} | {other}")
        if parting["is_same"]:
            say(f"{folder.path.name}: the same {parting['same']:,} decisions as {folders[0].path.name}")
        else:
            say(
                f"{folder.path.name}: parts after {parting['same']:,} equal decisions, in session {parting['session']}: {parting['what']}"
            )
    if svg is not None:
        say(str(svg))


def _parting(one: RunFolder, other: RunFolder) -> dict[str, Any]:
    found = part(one, other)
    event = found.other or found.one
    what = "" if event is None else f"{event.type} of {event.source}"
    configuration = {name: list(pair) for name, pair in found.configuration.items()}
    return {
        "is_same": found.is_same,
        "same": found.same,
        "session": found.session,
        "what": what,
        "configuration": configuration,
    }


def _side_by_side(records: Sequence[RunRecord], found: Sequence[Figures]) -> list[tuple[str, list[str]]]:
    def each(form: str, name: str) -> list[str]:
        return ["-" if getattr(one, name) is None else format(getattr(one, name), form) for one in found]

    return [
        ("sessions", [f"{len(record.points):,}" for record in records]),
        ("equity", [f"{record.points[-1].equity:,.2f}" for record in records]),
        ("CAGR", each("+.2%", "cagr")),
        ("volatility", each(".2%", "volatility")),
        ("Sharpe", each(".2f", "sharpe")),
        ("Sortino", each(".2f", "sortino")),
        ("Calmar", each(".2f", "calmar")),
        ("drawdown", each(".2%", "drawdown")),
        ("longest, sessions", each(",", "drawdown_sessions")),
        ("fills", [f"{len(record.trades):,}" for record in records]),
        ("win rate", each(".0%", "win_rate")),
        ("profit factor", each(".2f", "profit_factor")),
        ("expectancy", each(",.2f", "expectancy")),
        ("SQN", each(".2f", "sqn")),
        ("PSR", each(".2f", "psr")),
    ]


def curves(names: Sequence[str], records: Sequence[RunRecord]) -> str:
    """The equity of each run in one plot, over the sessions that all of them have."""
    common = sorted(set.intersection(*({point.ts for point in record.points} for record in records)))
    if not common:
        raise Failed("the runs share no session; compare runs over the same dates", CHECK_FAILED)
    lines = []
    for number, (name, record) in enumerate(zip(names, records, strict=True)):
        values = {point.ts: float(point.equity) for point in record.points}
        lines.append(Line(name, [values[ts] for ts in common], COLOURS[number % len(COLOURS)]))
    return line_chart("Equity", common, lines)
