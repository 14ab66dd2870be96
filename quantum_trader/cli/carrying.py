"""Carrying out: a run in a terminal, from the beginning or continued: progress, metrics, notices, and the report at its end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from rich.console import Console
from rich.table import Table

from eventbus import MissingDriver
from eventbus.observability import serve_metrics
from quantum_trader.cli.faults import HALTED, INTERRUPTED, Failed
from quantum_trader.cli.live import LiveView
from quantum_trader.cli.saying import Screen, emit, say
from quantum_trader.cli.showing import Place, dashboard
from quantum_trader.config import Config, ConfigError
from quantum_trader.events import RunCompletedEvent
from quantum_trader.feeds.paper import PaperFeed
from quantum_trader.files import write_whole
from quantum_trader.market.dataset import Dataset
from quantum_trader.model import KillMode, Side
from quantum_trader.monitoring.channels import channels, notifiers
from quantum_trader.monitoring.report import Report, as_lines
from quantum_trader.runs.durable import DurableRun
from quantum_trader.runs.ending import conclude
from quantum_trader.runs.folder import RunFolder

LOOPBACK: Final = "127.0.0.1"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Manner:
    """How a run is carried out; nothing of it changes what is decided."""

    speed: float = 0.0
    metrics_port: int | None = None
    metrics_host: str = LOOPBACK
    notify: bool = False
    as_json: bool = False
    until_session: int | None = None
    strict: bool = False
    place: Place | None = None  # of a dashboard beside it
    bus: str | None = None  # the server that keeps its journal, where that is not in its folder


def carry_out(folder: RunFolder, config: Config, feed: Dataset | PaperFeed, manner: Manner) -> None:
    """Do what is left of the run in `folder`, then report. Raises `Failed` for one that was interrupted or ended halted."""
    console = Screen(stderr=manner.as_json)
    run, completed = run_loop(_run(folder, config, feed, manner, console))
    if completed is None:
        _tell_stopped(run, manner)
        return
    mode = run.system.kill_switch.mode
    if mode is KillMode.HALT:
        raise Failed(f"the run ended halted: {run.bus.halt_reason}", HALTED)
    if manner.strict and mode is not KillMode.OFF:
        reason = run.system.record.stops[-1].reason
        raise Failed(f"the run ended with trading stopped: {reason}", HALTED)


def _report(run: DurableRun, completed: RunCompletedEvent, manner: Manner, console: Console) -> None:
    """What the run came to: the files of its folder, and what is printed."""
    folder = run.folder
    try:
        found, summary = conclude(folder, run.system.record, completed)
    except OSError as cause:
        raise unwritable(folder.path, cause, "--output") from cause
    if manner.as_json:
        emit(summary | {"plot": str(folder.plot)})
    else:
        _print_report(console, run, completed, found)


async def _run(
    folder: RunFolder, config: Config, feed: Dataset | PaperFeed, manner: Manner, console: Console
) -> tuple[DurableRun, RunCompletedEvent | None]:
    try:
        told = channels(config.notify) if manner.notify else []
    except MissingDriver as error:
        raise Failed(str(error)) from error
    async with AsyncExitStack() as stack:
        run = await stack.enter_async_context(DurableRun(folder, config, feed, bus_url=manner.bus))
        bus, system = run.bus, run.system
        if manner.metrics_port is not None:
            server = stack.enter_context(serve_metrics(bus, manner.metrics_port, manner.metrics_host))
            console.print(f"metrics at {server.url}")
        console.print(
            f"{feed.name}: {feed.bar_count:,} bars of {', '.join(feed.symbols)}, {len(feed):,} sessions, {system.rhythm}",
        )
        for warning in feed.warnings:
            console.print(f"warning: {warning}")
        page = None
        if manner.place is not None:
            page = await stack.enter_async_context(dashboard(run, manner.place))
            console.print(f"dashboard at {page.url}")
        live = stack.enter_context(LiveView(bus, system.record, len(feed), console))
        if manner.notify:
            for notifier in notifiers(bus, config.notify, told, echo=console.print, quiet=not manner.speed):
                system.alerts.add_notifier(notifier)
                await stack.enter_async_context(notifier)
        with _stopped_by_signals(run):
            completed = await run.run(speed=manner.speed, until_session=manner.until_session)
        if completed is not None:
            live.end()
            _report(run, completed, manner, console)
            if page is not None and not run.is_stopped:
                console.print(f"the dashboard stays at {page.url} until Ctrl-C")
                await page.stay()
        return run, completed


@contextlib.contextmanager
def _stopped_by_signals(run: DurableRun) -> Any:
    """The first signal lets the session in hand end, the second ends the process as it always would."""
    loop, signals = asyncio.get_running_loop(), (signal.SIGINT, signal.SIGTERM)

    def forget() -> None:
        for each in signals:
            loop.remove_signal_handler(each)

    def stop() -> None:
        forget()
        run.stop()

    for each in signals:
        loop.add_signal_handler(each, stop)
    try:
        yield
    finally:
        forget()


def _tell_stopped(run: DurableRun, manner: Manner) -> None:
    folder = run.folder.path
    text = f"stopped after {run.sessions:,} of {len(run.system.feed):,} sessions; continue with: qt resume {folder}"
    if run.is_stopped:
        raise Failed(text, INTERRUPTED)
    if manner.as_json:
        emit({"run": str(folder), "sessions": run.sessions, "complete": False})
    else:
        say(text)


def _print_report(console: Console, run: DurableRun, completed: RunCompletedEvent, report: Report) -> None:
    table = figures(as_lines(report))
    stats = run.bus.stats()
    deliveries = sum(row.succeeded for row in stats.subscriptions)
    table.add_row(
        "Bus",
        f"{stats.published:,} events, {deliveries:,} deliveries, {stats.errors} errors, {stats.dead_lettered} dead letters",
    )
    table.add_row("", f"dispatch p50 {stats.dispatch_p50_ms:.3f} ms, p99 {stats.dispatch_p99_ms:.3f} ms")
    bars = report.bars - run.bars_before
    table.add_row(
        "Speed",
        f"{stats.uptime_s:.2f} s, {bars / stats.uptime_s:,.0f} bars/s, {stats.published / stats.uptime_s:,.0f} events/s",
    )
    table.add_row("Digest", f"{completed.digest} of {completed.det_events:,} decision events")
    table.add_row("Run", str(run.folder.path))
    table.add_row("Plot", str(run.folder.plot))
    console.print(table)
    for step in _next_steps(run):
        console.print(step)
    if report.caution:
        console.print(report.caution, style="dim")


def _next_steps(run: DurableRun) -> Iterator[str]:
    """Where to look next, each a command that works as it stands."""
    folder, trades = run.folder.path, run.system.record.trades
    yield ""
    yield f"qt report {folder} --html report.html   the figures as a page"
    bought = next((trade.order_id for trade in reversed(trades) if trade.side is Side.BUY), None)
    if bought is not None:
        yield f"qt why {bought} --run {folder}   why the last purchase was made"
    yield f"qt strategies --run {folder}   who was promoted, who was refused"
    yield f"qt spc --run {folder}   the control charts"


def figures(lines: Iterable[tuple[str, str]]) -> Table:
    """Labelled lines, which a narrow terminal folds and never cuts: half a digest is none."""
    table = Table(show_header=False, box=None, padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for line in lines:
        table.add_row(*line)
    return table


def write(path: Path, text: str, option: str) -> None:
    """Write a file, whole. Raises `ConfigError` naming the option that chooses another place."""
    try:
        write_whole(path, text.encode())
    except OSError as cause:
        raise unwritable(path, cause, option) from cause


def unwritable(path: Path, cause: OSError, option: str) -> ConfigError:
    """What to say where nothing can be written; `option` is what names another place."""
    return ConfigError(str(path), "", f"cannot be written ({cause.strerror})", remedy=f"choose another {option}")


def run_loop(main: Coroutine[Any, Any, T]) -> T:
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
