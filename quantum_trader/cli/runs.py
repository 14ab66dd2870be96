"""`qt demo`, `qt replay`, `qt oracle`, `qt bench`: commands that replay a market."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from eventbus import InMemoryEventBus
from eventbus.observability import serve_metrics
from quantum_trader.app import QUEUE_SIZE, TradingSystem, build, discord_settings, load_feed
from quantum_trader.cli.faults import HALTED, Failed
from quantum_trader.cli.live import LiveView
from quantum_trader.cli.oracle import CASES, differences, run_case
from quantum_trader.cli.settings import ConfigDirectory, Profile
from quantum_trader.cli.throughput import strategy_only
from quantum_trader.config import Config, ConfigError, load_config
from quantum_trader.events import RunCompletedEvent
from quantum_trader.market.dataset import Dataset
from quantum_trader.model import KillMode
from quantum_trader.monitoring.analytics import FILE_NAME, AnalyticsService, NoRun, load_record
from quantum_trader.monitoring.discord import DiscordNotifier, webhook_from_environment
from quantum_trader.monitoring.metrics import MetricsLogger
from quantum_trader.monitoring.plot import Line, line_chart
from quantum_trader.monitoring.record import RunRecord
from quantum_trader.monitoring.report import Report, as_html, as_lines, make_report

T = TypeVar("T")

oracle_app = typer.Typer(help="Reference runs.", no_args_is_help=True)

Speed = Annotated[float, typer.Option(help="Sessions per second; 0 is as fast as possible.", min=0.0)]
Symbols = Annotated[str | None, typer.Option(help="Comma-separated; all of the data set if left out.")]
From = Annotated[str | None, typer.Option("--from", help="First date, like 2008-01-01.")]
To = Annotated[str | None, typer.Option("--to", help="Last date.")]
Seed = Annotated[int | None, typer.Option(help="Seed of everything random.")]
MetricsPort = Annotated[int | None, typer.Option(help="Serve Prometheus metrics there while running.")]
Name = Annotated[str | None, typer.Option("--data", help="Name of the data set.")]
Notify = Annotated[bool, typer.Option("--notify", help="Tell people: by the webhook of the environment, else print.")]
Output = Annotated[Path | None, typer.Option(help="Where report and plot go.")]


@dataclass(frozen=True, slots=True)
class Choices:
    """What the command line says about a run."""

    profile: str | None
    config: Path | None = None
    dataset: str | None = None
    symbols: str | None = None
    start: str | None = None
    end: str | None = None
    seed: int | None = None

    def load(self) -> Config:
        universe: dict[str, Any] = {}
        if self.dataset is not None:
            universe["dataset"] = self.dataset
        if self.symbols is not None:
            universe["symbols"] = tuple(symbol.strip() for symbol in self.symbols.split(",") if symbol.strip())
        universe |= {key: value for key, value in (("start", self.start), ("end", self.end)) if value is not None}
        overrides: dict[str, dict[str, Any]] = {"universe": universe} if universe else {}
        if self.seed is not None:
            overrides["app"] = {"seed": self.seed}
        return load_config(self.config, self.profile, overrides=overrides)


def register(app: typer.Typer) -> None:
    """Add the commands of this module to `qt`."""
    app.command()(demo)
    app.command()(replay)
    app.command()(report)
    app.command()(bench)
    app.add_typer(oracle_app, name="oracle")


def demo(
    speed: Speed = 0.0,
    symbols: Symbols = None,
    start: From = None,
    end: To = None,
    seed: Seed = None,
    metrics_port: MetricsPort = None,
    profile: Profile = "demo",
    config: ConfigDirectory = None,
    data: Name = None,
    output: Output = None,
    notify: Notify = False,
) -> None:
    """Replay thirteen years of five symbols through the whole system, live; then report."""
    choices = Choices(profile, config, data, symbols, start, end, seed)
    _replay(choices, speed=speed, metrics_port=metrics_port, output=output, notify=notify, as_json=False)


def replay(
    speed: Speed = 0.0,
    symbols: Symbols = None,
    start: From = None,
    end: To = None,
    seed: Seed = None,
    metrics_port: MetricsPort = None,
    profile: Profile = None,
    config: ConfigDirectory = None,
    data: Name = None,
    output: Output = None,
    notify: Notify = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON and nothing else.")] = False,
) -> None:
    """Replay a data set with a profile of your choice."""
    choices = Choices(profile, config, data, symbols, start, end, seed)
    _replay(choices, speed=speed, metrics_port=metrics_port, output=output, notify=notify, as_json=as_json)


def report(
    run: Annotated[Path | None, typer.Argument(help="Folder of a run; the newest one if left out.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write one self-contained page there.")] = None,
    config: ConfigDirectory = None,
) -> None:
    """What a recorded run came to."""
    folder = run or _newest(Path(load_config(config).app.run_directory))
    record, completed = load_record(folder)
    found = make_report(record)
    if html is not None:
        _write(html, as_html(found, _plot(record, found)), "--html")
        typer.echo(str(html))
    elif as_json:
        typer.echo(json.dumps(found.as_dict() | {"digest": completed.digest}, indent=2))
    else:
        table = Table(show_header=False, box=None, padding=(0, 2))
        for label, text in [*as_lines(found), ("Digest", completed.digest)]:
            table.add_row(label, text)
        Console().print(table, highlight=False, soft_wrap=True)


@oracle_app.command("check")
def oracle_check() -> None:
    """Run the reference cases through the whole bus path and compare with independent engines."""
    table = Table("case", "closed", "open", "fees", "net profit", "equity", "drawdown", "agrees")
    wrong = []
    for case in CASES:
        system, report = run_case(case)
        found = list(differences(case, system, report))
        wrong += [f"case {case.name}: {difference}" for difference in found]
        table.add_row(
            case.name,
            str(report.closed_trades),
            str(case.open),
            f"{report.fees:,.6f}",
            f"{report.net_profit_closed:,.6f}",
            f"{report.equity:,.6f}",
            f"{report.max_drawdown:.9f}",
            "no" if found else "yes",
        )
    Console().print(table)
    if wrong:
        raise Failed("; ".join(wrong))


def bench(
    bars: Annotated[int, typer.Option(help="Bars to replay, synthetic ones, five symbols.", min=5)] = 200_000,
    demo_data: Annotated[bool, typer.Option("--demo-data", help="Replay the shipped bars instead.")] = False,
) -> None:
    """Throughput of the strategy-only graph: SMA 20/50 through the bus, three barriers per session."""
    feed = load_feed(load_config()) if demo_data else None
    result = _run_loop(strategy_only(bars, feed))
    typer.echo(
        f"{result.bars:,} bars, {result.signals:,} signals in {result.seconds:.2f} s: {result.bars_per_second:,.0f} bars/s"
        f" ({result.loop}, one core)"
    )
    typer.echo("Same strategy elsewhere: plain loop 3.8 M, nautilus_trader 45 k, backtrader 22 k bars/s")


def _replay(
    choices: Choices, *, speed: float, metrics_port: int | None, output: Path | None, notify: bool, as_json: bool
) -> None:
    config = choices.load()
    feed = load_feed(config)
    console = Console(stderr=as_json)
    folder = output or Path(config.app.run_directory) / f"run-{config.sha256()[:12]}"
    _prepare(folder)
    system, completed = _run_loop(_run(config, feed, speed, metrics_port, console, folder, notify=notify))
    found = make_report(system.record)
    plot = folder / "equity.svg"
    _write(plot, _plot(system.record, found), "--output")
    if as_json:
        typer.echo(json.dumps(found.as_dict() | {"digest": completed.digest, "plot": str(plot)}, indent=2))
    else:
        _print_report(console, system, completed, found, plot)
    if system.kill_switch.mode is KillMode.HALT:
        raise Failed(f"the run ended halted: {system.bus.halt_reason}", HALTED)


async def _run(
    config: Config,
    feed: Dataset,
    speed: float,
    metrics_port: int | None,
    console: Console,
    folder: Path,
    *,
    notify: bool,
) -> tuple[TradingSystem, RunCompletedEvent]:
    bus = InMemoryEventBus(max_queue_size=QUEUE_SIZE)
    system = build(bus, config, feed)
    async with AsyncExitStack() as stack:
        if metrics_port is not None:
            server = stack.enter_context(serve_metrics(bus, metrics_port))
            console.print(f"metrics at {server.url}", highlight=False)
        console.print(
            f"{feed.name}: {feed.bar_count:,} bars of {', '.join(feed.symbols)}, {len(feed):,} sessions",
            highlight=False,
        )
        stack.enter_context(LiveView(bus, system.record, len(feed), console))
        stack.callback(system.close)
        stack.callback(AnalyticsService(bus, folder / FILE_NAME, system.record).close)
        MetricsLogger(bus, folder / "metrics.jsonl")
        await stack.enter_async_context(bus)
        if notify:
            settings = discord_settings(config, quiet=not speed)
            webhook = webhook_from_environment()
            notifier = DiscordNotifier(bus, settings, webhook=webhook, echo=partial(console.print, highlight=False))
            system.alerts.add_notifier(notifier)
            await stack.enter_async_context(notifier)
        completed = await system.run(speed=speed)
    return system, completed


def _print_report(
    console: Console, system: TradingSystem, completed: RunCompletedEvent, report: Report, plot: Path
) -> None:
    table = Table(show_header=False, box=None, padding=(0, 2))
    for label, text in as_lines(report):
        table.add_row(label, text)
    stats = system.bus.stats()
    deliveries = sum(row.succeeded for row in stats.subscriptions)
    table.add_row(
        "Bus",
        f"{stats.published:,} events, {deliveries:,} deliveries, {stats.errors} errors, {stats.dead_lettered} dead letters",
    )
    table.add_row("", f"dispatch p50 {stats.dispatch_p50_ms:.3f} ms, p99 {stats.dispatch_p99_ms:.3f} ms")
    table.add_row(
        "Speed",
        f"{stats.uptime_s:.2f} s, {report.bars / stats.uptime_s:,.0f} bars/s, {stats.published / stats.uptime_s:,.0f} events/s",
    )
    table.add_row("Digest", f"{completed.digest} of {completed.det_events:,} decision events")
    table.add_row("Plot", str(plot))
    console.print(table, highlight=False, soft_wrap=True)
    console.print("Five surviving stocks, chosen with hindsight: this proves nothing about profit.", style="dim")


def _plot(record: RunRecord, found: Report) -> str:
    points = record.points
    return line_chart(
        f"Equity {found.first} .. {found.last}",
        [point.ts for point in points],
        [
            Line("buy and hold", [point.benchmark for point in points], "#8c959f", 1.2),
            Line("equity", [float(point.equity) for point in points], "#0969da", 1.8),
        ],
    )


def _newest(runs: Path) -> Path:
    """The folder of the run that was recorded last."""
    files = sorted(runs.glob(f"*/{FILE_NAME}"), key=lambda file: file.stat().st_mtime)
    if not files:
        raise NoRun(runs, "no run is recorded there")
    return files[-1].parent


def _prepare(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as cause:
        raise _unwritable(folder, cause, "--output") from cause


def _write(path: Path, text: str, option: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as cause:
        raise _unwritable(path, cause, option) from cause


def _unwritable(path: Path, cause: OSError, option: str) -> ConfigError:
    return ConfigError(str(path), "", f"cannot be written ({cause.strerror})", remedy=f"choose another {option}")


def _run_loop(main: Coroutine[Any, Any, T]) -> T:
    """Run on uvloop where there is one: barriers cost half as much there."""
    # What was imported and built lives as long as the run, and what a session makes dies with it: looking through the
    # first again and again, and at the second too early, took a fifth of the time.
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)
