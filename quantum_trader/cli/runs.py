"""`qt demo`, `qt replay`, `qt resume`, `qt report`, `qt oracle`, `qt bench`: commands that replay a market."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from quantum_trader.app import check, load_feed
from quantum_trader.brought import paper_feed
from quantum_trader.cli.carrying import LOOPBACK, Manner, carry_out, figures, run_loop, unwritable, write
from quantum_trader.cli.choosing import chosen
from quantum_trader.cli.faults import Failed
from quantum_trader.cli.oracle import CASES, differences, run_case
from quantum_trader.cli.progress import each
from quantum_trader.cli.saying import Screen, emit, say
from quantum_trader.cli.settings import ConfigDirectory, Profile
from quantum_trader.cli.showing import (
    SPEED,
    AllowOrigin,
    BehindProxy,
    Door,
    Host,
    Port,
    TlsCert,
    TlsKey,
    Tokens,
    Web,
    shown_at,
)
from quantum_trader.cli.throughput import strategy_only
from quantum_trader.config import Config, load_config
from quantum_trader.files import write_whole
from quantum_trader.monitoring.analytics import load_record
from quantum_trader.monitoring.report import as_lines, make_report
from quantum_trader.own.loading import settled
from quantum_trader.runs.folder import ON_A_SERVER, RunFolder, free_folder, newest
from quantum_trader.runs.page.page import page

oracle_app = typer.Typer(help="Reference runs.", no_args_is_help=True)

Speed = Annotated[float, typer.Option(help="Sessions per second; 0 is as fast as possible.", min=0.0)]
SpeedBeside = Annotated[
    float | None,
    typer.Option(
        help="Sessions per second; 0 is as fast as possible.", min=0.0, show_default="40 beside a dashboard, else 0"
    ),
]
Symbols = Annotated[str | None, typer.Option(help="Comma-separated; all of the data set if left out.")]
From = Annotated[str | None, typer.Option("--from", help="First date, like 2008-01-01.")]
To = Annotated[str | None, typer.Option("--to", help="Last date.")]
Seed = Annotated[int | None, typer.Option(help="Seed of everything random.")]
MetricsPort = Annotated[
    int | None, typer.Option(help="Serve Prometheus metrics there while running.", min=0, max=65_535)
]
MetricsHost = Annotated[str, typer.Option(help="Where they are served; 0.0.0.0 lets other machines scrape.")]
Name = Annotated[str | None, typer.Option("--data", help="Name of the data set.")]
Notify = Annotated[bool, typer.Option("--notify", help="Tell people, by every channel that is set up, else print.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the report as JSON and nothing else.")]
Until = Annotated[int | None, typer.Option(help="Last session to do now; the rest waits for qt resume.", min=0)]
Strict = Annotated[bool, typer.Option("--strict", help="Exit code 4 when trading ended stopped, not only halted.")]
Bus = Annotated[
    str | None,
    typer.Option(
        "--bus",
        help="Keep the journal on a server, postgresql://..., redis:// or nats://..., where other processes hear the run.",
        metavar="URL",
    ),
]
Output = Annotated[Path | None, typer.Option(help="Folder of the run: journal, report, plot.")]
Checks = Annotated[list[str] | None, typer.Option("--check", help="A check of your own, module:name; may be repeated.")]
Components = Annotated[
    list[str] | None, typer.Option("--with", help="A component of your own, module:build; may be repeated.")
]


class Align(StrEnum):
    strict = "strict"
    outer = "outer"


AlignOption = Annotated[
    Align | None, typer.Option("--align", help="outer accepts symbols that hardly ever trade in the same session.")
]


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
    align: Align | None = None
    checks: Sequence[str] | None = None
    components: Sequence[str] | None = None

    def load(self) -> Config:
        """The configuration. Raises `ConfigError`."""
        return load_config(self.config, self.profile, overrides=self.overrides())

    def overrides(self) -> dict[str, dict[str, Any]]:
        """What was chosen, by section and key."""
        universe: dict[str, Any] = {}
        if self.dataset is not None:
            universe["dataset"] = self.dataset
        if self.symbols is not None:
            universe["symbols"] = tuple(symbol.strip() for symbol in self.symbols.split(",") if symbol.strip())
        universe |= {key: value for key, value in (("start", self.start), ("end", self.end)) if value is not None}
        if self.align is not None:
            universe["align"] = self.align.value
        overrides: dict[str, dict[str, Any]] = {"universe": universe} if universe else {}
        if self.seed is not None:
            overrides["app"] = {"seed": self.seed}
        brought = {"checks": self.checks, "components": self.components}
        if own := {key: tuple(map(settled, references)) for key, references in brought.items() if references}:
            overrides["own"] = own
        return overrides


def register(app: typer.Typer) -> None:
    """Add the commands of this module to `qt`."""
    app.command()(demo)
    app.command()(replay)
    app.command()(resume)
    app.command()(report)
    app.command()(bench)
    app.add_typer(oracle_app, name="oracle")


def demo(
    speed: SpeedBeside = None,
    symbols: Symbols = None,
    start: From = None,
    end: To = None,
    seed: Seed = None,
    align: AlignOption = None,
    metrics_port: MetricsPort = None,
    metrics_host: MetricsHost = LOOPBACK,
    profile: Profile = "demo",
    config: ConfigDirectory = None,
    data: Name = None,
    output: Output = None,
    notify: Notify = False,
    strict: Strict = False,
    web: Web = None,
    host: Host = None,
    port: Port = None,
    allow_origin: AllowOrigin = None,
    tokens: Tokens = None,
    behind_proxy: BehindProxy = False,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    bus: Bus = None,
    checks: Checks = None,
    components: Components = None,
) -> None:
    """Replay thirteen years of five symbols through the whole system, live, with a dashboard beside it; then report."""
    choices = Choices(profile, config, data, symbols, start, end, seed, align, checks, components)
    door = Door(host, port, allow_origin, tokens, behind_proxy, tls_cert, tls_key)
    place = shown_at(web, door, choices.load().app)
    pace = speed if speed is not None else SPEED if place is not None else 0.0
    manner = Manner(pace, metrics_port, metrics_host, notify, strict=strict, place=place, bus=bus)
    _start(choices, manner, output)


def replay(
    speed: Speed = 0.0,
    symbols: Symbols = None,
    start: From = None,
    end: To = None,
    seed: Seed = None,
    align: AlignOption = None,
    metrics_port: MetricsPort = None,
    metrics_host: MetricsHost = LOOPBACK,
    profile: Profile = None,
    config: ConfigDirectory = None,
    data: Name = None,
    output: Output = None,
    notify: Notify = False,
    as_json: AsJson = False,
    until_session: Until = None,
    strict: Strict = False,
    bus: Bus = None,
    checks: Checks = None,
    components: Components = None,
) -> None:
    """Replay a data set with a profile of your choice."""
    choices = Choices(profile, config, data, symbols, start, end, seed, align, checks, components)
    manner = Manner(speed, metrics_port, metrics_host, notify, as_json, until_session, strict, bus=bus)
    _start(choices, manner, output)


def resume(
    run: Annotated[str, typer.Argument(help="Folder or name of a run.")],
    speed: SpeedBeside = None,
    metrics_port: MetricsPort = None,
    metrics_host: MetricsHost = LOOPBACK,
    notify: Notify = False,
    as_json: AsJson = False,
    until_session: Until = None,
    strict: Strict = False,
    config: ConfigDirectory = None,
    web: Web = None,
    host: Host = None,
    port: Port = None,
    allow_origin: AllowOrigin = None,
    tokens: Tokens = None,
    behind_proxy: BehindProxy = False,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    bus: Bus = None,
) -> None:
    """Continue a run whose process ended, with a dashboard beside it; it ends as if nothing had happened."""
    folder = chosen(run, config)
    if folder.is_complete:
        if as_json:
            emit(folder.summary())
        else:
            say(f"{folder.path}: complete; see qt report {folder.path}")
        return
    effective = folder.config()
    if folder.elsewhere.is_file() and bus is None:
        raise Failed(f"{folder.path}: {ON_A_SERVER}")
    door = Door(host, port, allow_origin, tokens, behind_proxy, tls_cert, tls_key)
    place = None if as_json else shown_at(web, door, effective.app)
    usual = SPEED if place is not None and not effective.own.feed else 0.0  # what is live has a speed of its own
    pace = usual if speed is None else speed
    manner = Manner(pace, metrics_port, metrics_host, notify, as_json, until_session, strict, place=place, bus=bus)
    carry_out(folder, effective, paper_feed(effective) if effective.own.feed else load_feed(effective), manner)


def report(
    run: Annotated[Path | None, typer.Argument(help="Folder of a run; the newest one if left out.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write one self-contained page there.")] = None,
    config: ConfigDirectory = None,
) -> None:
    """What a recorded run came to."""
    folder = run or newest(Path(load_config(config).app.run_directory)).path
    record, completed = load_record(folder)
    found = make_report(record)
    if html is not None:
        write(html, page(folder), "--html")
        say(str(html))
    elif as_json:
        emit(found.as_dict() | {"run": str(folder), "digest": completed.digest})
    else:
        Screen().print(figures([*as_lines(found), ("Digest", completed.digest)]))


@oracle_app.command("check")
def oracle_check() -> None:
    """Run the reference cases through the whole bus path and compare with independent engines."""
    table = Table("case", "closed", "open", "fees", "net profit", "equity", "drawdown", "agrees")
    wrong = []
    for case in each(CASES, "reference runs"):
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
    Screen().print(table)
    if wrong:
        raise Failed("; ".join(wrong))


def bench(
    bars: Annotated[int, typer.Option(help="Bars to replay, synthetic ones, five symbols.", min=5)] = 200_000,
    demo_data: Annotated[bool, typer.Option("--demo-data", help="Replay the shipped bars instead.")] = False,
) -> None:
    """Throughput of the strategy-only graph: SMA 20/50 through the bus, three barriers per session."""
    feed = load_feed(load_config()) if demo_data else None
    result = run_loop(strategy_only(bars, feed))
    say(
        f"{result.bars:,} bars, {result.signals:,} signals in {result.seconds:.2f} s: {result.bars_per_second:,.0f} bars/s"
        f" ({result.loop}, one core)"
    )
    say("Same strategy elsewhere: plain loop 3.8 M, nautilus_trader 45 k, backtrader 22 k bars/s")


def _start(choices: Choices, manner: Manner, output: Path | None) -> None:
    config = choices.load()
    check(config)
    feed = load_feed(config)
    runs = Path(config.app.run_directory)
    folder = RunFolder(output) if output is not None else free_folder(runs, f"run-{config.sha256()[:12]}")
    try:
        folder.begin(config)
        if manner.bus is not None:
            write_whole(folder.elsewhere, b'{"journal": "on a server: qt resume needs --bus"}\n')
    except OSError as cause:
        raise unwritable(folder.path, cause, "--output") from cause
    carry_out(folder, config, feed, manner)
