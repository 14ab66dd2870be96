"""`qt strategies`, `qt models`, `qt spc`: what a run has come to, while it runs or after."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from quantum_trader.cli.carrying import write
from quantum_trader.cli.choosing import AsJson, Run, chosen
from quantum_trader.cli.faults import Failed
from quantum_trader.cli.saying import Screen, emit, say
from quantum_trader.cli.settings import ConfigDirectory
from quantum_trader.learning.registry_reads import MODEL, STRATEGY, Entry, RegistryReads, registry_view
from quantum_trader.monitoring.analytics import NoRun
from quantum_trader.monitoring.archive import Archive, ChartPoint, ChartSummary, FoundViolation
from quantum_trader.monitoring.chart_lines import chart_lines, chart_svg
from quantum_trader.runs.folder import RunFolder

_SHOWN_POINTS: Final = 25
_DRAWN_POINTS: Final = 2_000

strategies_app = typer.Typer(help="The strategies of a run: family, parameters, parents, stage.")
models_app = typer.Typer(help="The models of a run: versions, stages, digests of what was fitted.")
spc_app = typer.Typer(help="The control charts of a run, and the ids of what broke a rule.")

OpenOnly = Annotated[bool, typer.Option("--open", help="Only violations that nobody acknowledged.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module to `qt`."""
    app.add_typer(strategies_app, name="strategies")
    app.add_typer(models_app, name="models")
    app.add_typer(spc_app, name="spc")


@strategies_app.callback(invoke_without_command=True)
def strategies(
    context: typer.Context, run: Run = None, as_json: AsJson = False, config: ConfigDirectory = None
) -> None:
    if context.invoked_subcommand is None:
        _registered(STRATEGY, None, run, as_json=as_json, config=config)


@strategies_app.command("show")
def show_strategy(
    strategy: Annotated[str, typer.Argument(help="Id of a strategy.")],
    run: Run = None,
    as_json: AsJson = False,
    config: ConfigDirectory = None,
) -> None:
    """One strategy, with the history of its stages."""
    _registered(STRATEGY, strategy, run, as_json=as_json, config=config)


@models_app.callback(invoke_without_command=True)
def models(context: typer.Context, run: Run = None, as_json: AsJson = False, config: ConfigDirectory = None) -> None:
    if context.invoked_subcommand is None:
        _registered(MODEL, None, run, as_json=as_json, config=config)


@models_app.command("show")
def show_model(
    model: Annotated[str, typer.Argument(help="Name of a model.")],
    run: Run = None,
    as_json: AsJson = False,
    config: ConfigDirectory = None,
) -> None:
    """One model, with its versions."""
    _registered(MODEL, model, run, as_json=as_json, config=config)


@spc_app.callback(invoke_without_command=True)
def spc(
    context: typer.Context,
    run: Run = None,
    as_json: AsJson = False,
    open_only: OpenOnly = False,
    config: ConfigDirectory = None,
) -> None:
    if context.invoked_subcommand is None:
        _charts(None, run, as_json=as_json, open_only=open_only, config=config)


@spc_app.command("show")
def show_chart(
    chart: Annotated[str, typer.Argument(help="Name of a chart.")],
    run: Run = None,
    as_json: AsJson = False,
    open_only: OpenOnly = False,
    svg: Annotated[Path | None, typer.Option(help="Draw it there too, every point of it.")] = None,
    config: ConfigDirectory = None,
) -> None:
    """One chart, drawn with its limits and dates: its newest points and its violations."""
    _charts(chart, run, as_json=as_json, open_only=open_only, config=config)
    archive = Archive(chosen(run, config).path)
    summary = next(one for one in archive.charts() if one.chart == chart)
    points = archive.points(chart, newest=_DRAWN_POINTS)
    if not as_json:
        for line in chart_lines(points, summary.centre, summary.sigma, _width()):
            say(line)
    if svg is not None:
        write(svg, chart_svg(chart, points, summary.centre, summary.sigma), "--svg")
        if not as_json:
            say(str(svg))


def _charts(chart: str | None, run: str | None, *, as_json: bool, open_only: bool, config: Path | None) -> None:
    folder = chosen(run, config)
    archive = Archive(folder.path)
    charts = archive.charts()
    if chart is not None and chart not in {one.chart for one in charts}:
        known = ", ".join(one.chart for one in charts) or "none with points"
        raise Failed(f"chart {chart}: there is none of that name in {folder.path}; known are {known}")
    shown = [one for one in charts if chart in {None, one.chart}]
    points = archive.points(chart, newest=_SHOWN_POINTS) if chart is not None else ()
    violations = archive.violations(chart=chart, open_only=open_only)
    if as_json:
        parts = {
            "charts": list(map(asdict, shown)),
            "points": list(map(asdict, points)),
            "violations": list(map(asdict, violations)),
        }
        emit(parts)
        return
    for one in shown:
        say(_summary(one))
    for point in points:
        z = "" if point.z is None else f"  z {point.z:+.2f}  {point.zone}"
        mark = "" if point.in_control else "  !"
        say(f"  point {point.sample_id:>5}  {_when(point)}  {point.value:+.4f}{z}{mark}")
    for found in violations if chart is not None or open_only else violations[-_SHOWN_POINTS:]:
        answer = f"acknowledged by {found.acknowledged_by}: {found.reason}" if found.acknowledged_by else "open"
        head = f"{found.violation_id:<30}  {_when(found)}  rule {found.rule_id}  {found.severity:<8}"
        say(f"  {head}  {answer}")


def _registered(kind: str, id_: str | None, run: str | None, *, as_json: bool, config: Path | None) -> None:
    folder = chosen(run, config)
    dates = dates_of(folder)
    with registry_view(folder.registry) as registry:
        known = registry.ids(kind)
        if id_ is not None and id_ not in known:
            raise Failed(
                f"{kind.lower()} {id_}: there is none of that name in {folder.path};"
                f" known are {', '.join(known) or 'none'}"
            )
        if as_json:
            wanted = known if id_ is None else (id_,)
            emit([_plain(registry, kind, one) for one in wanted])
        elif id_ is None:
            for one in known:
                entry = _current(registry, kind, one)
                since = dates.get(registry.stages(kind, one)[-1][-1], "")
                head = f"{one:<28}  v{entry.version:<3}  {entry.stage:<9}"
                say(f"{head}  {_words(entry.payload)}{since and f'  since {since}'}")
        else:
            _tell_history(registry, kind, id_, dates)


def _current(registry: RegistryReads, kind: str, id_: str) -> Entry:
    """The version that is in use: the newest LIVE one, else the newest."""
    versions = registry.history(kind, id_)
    return next((entry for entry in reversed(versions) if entry.stage == "LIVE"), versions[-1])


def _tell_history(registry: RegistryReads, kind: str, id_: str, dates: Mapping[int, str]) -> None:
    for entry in registry.history(kind, id_):
        when = told_when(entry.created_session, dates)
        say(f"version {entry.version}  {when}  sha256 {entry.sha256[:16]}  {entry.stage}")
        say(f"  {_words(entry.payload)}")
    for version, stage, session in registry.stages(kind, id_):
        say(f"{told_when(session, dates)}  version {version}  {stage}")


def dates_of(folder: RunFolder) -> Mapping[int, str]:
    """The dates of a run's sessions; none where its record cannot be read, for then the sessions have to do."""
    try:
        return Archive(folder.path).dates()
    except NoRun:
        return {}


def told_when(session: int, dates: Mapping[int, str]) -> str:
    """A session as people are told of it: its date, if it is over, and its number."""
    return f"{dates.get(session, ''):<10}  session {session:>5}"


def _plain(registry: RegistryReads, kind: str, id_: str) -> dict[str, Any]:
    return {
        "id": id_,
        "versions": [asdict(entry) for entry in registry.history(kind, id_)],
        "stages": [
            {"version": version, "stage": stage, "session": session}
            for version, stage, session in registry.stages(kind, id_)
        ],
    }


def _when(one: ChartPoint | FoundViolation) -> str:
    return f"{one.date or 'this session':<12}  session {one.session:>5}"


def _summary(chart: ChartSummary) -> str:
    limits = "" if chart.centre is None or chart.sigma is None else f"  {chart.centre:.4f} +- 3 x {chart.sigma:.4f}"
    return (
        f"{chart.chart:<20}  {chart.points:>6,} points  {chart.phase:<9}  {chart.violations:>4} violations,"
        f" {chart.open} open{limits}"
    )


def _words(payload: Mapping[str, Any]) -> str:
    """The payload on one line; fitted states are too long for one."""
    return ", ".join(f"{key} {_value(value)}" for key, value in payload.items() if key != "state")


def _value(value: Any) -> str:
    match value:
        case Mapping():
            return " ".join(f"{key}={inner}" for key, inner in value.items())
        case str():
            return value
        case Iterable():
            return "/".join(map(str, value)) or "-"
        case _:
            return str(value)


def _width() -> int:
    """Columns of a terminal; of what is piped as many as fit a page."""
    screen = Screen()
    return screen.width if screen.is_terminal else 120
