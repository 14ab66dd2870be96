"""`qt types`, `qt graph`: what there is to hear, who publishes it and who listens, read off a system built for the purpose."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from eventbus import InMemoryEventBus
from quantum_trader.app import build, check, load_feed
from quantum_trader.brought import named_checks
from quantum_trader.cli.runs import Checks, Choices, Components
from quantum_trader.cli.saying import emit, say
from quantum_trader.cli.score import score
from quantum_trader.cli.settings import ConfigDirectory, Profile
from quantum_trader.config import Config, ConfigError, load_config
from quantum_trader.monitoring.analytics import FILE_NAME, AnalyticsService
from quantum_trader.monitoring.discord import DiscordNotifier
from quantum_trader.monitoring.metrics import MetricsLogger
from quantum_trader.wiring import Route, Wiring

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module to `qt`."""
    app.command()(types)
    app.command()(graph)


def types(as_json: AsJson = False, profile: Profile = None, config: ConfigDirectory = None) -> None:
    """Every type of event: who publishes it, who listens, and what keeps its deliveries in order."""
    wiring = assembled(load_config(config, profile))
    if as_json:
        emit([_entry(route) for route in wiring.routes])
        return
    for route in wiring.routes:
        order = f"in order by {route.key}" if route.key else "all in one line"
        say(f"{route.type}  ({route.kind.value}, {order})")
        say(f"  published by  {_names(route.producers)}")
        say(f"  heard by      {_names(route.consumers)}")
    say(f"{len(wiring.routes)} types; everything is looked on by {', '.join(wiring.onlookers)}")
    _tell_gaps(wiring)


def graph(
    svg: Annotated[Path | None, typer.Option(help="Draw it there instead.")] = None,
    checks: Checks = None,
    components: Components = None,
    profile: Profile = None,
    config: ConfigDirectory = None,
) -> None:
    """The stations and the arrows between them; names each type of event that leads from nowhere or to nowhere."""
    effective = Choices(profile, config, checks=checks, components=components).load()
    wiring = assembled(effective)
    if svg is None:
        for line in _as_lines(wiring):
            say(line)
        if effective.own.checks:
            say("RiskGuard")
            say(f"  asks besides its own  {', '.join(name for name, _ in named_checks(effective))}")
    else:
        try:
            svg.write_text(score(wiring, "Who publishes and who hears"), encoding="utf-8")
        except OSError as cause:
            raise ConfigError(
                str(svg), "", f"cannot be written ({cause.strerror})", remedy="choose another --svg"
            ) from cause
        say(str(svg))
    _tell_gaps(wiring)


def assembled(effective: Config) -> Wiring:
    """The wiring of a system as a run with this configuration has it, with all its onlookers."""
    check(effective)
    bus = InMemoryEventBus()
    with TemporaryDirectory(prefix="qt-wiring-") as folder:
        system = build(bus, effective, load_feed(effective))
        analytics = AnalyticsService(bus, Path(folder) / FILE_NAME, system.record, system.digest)
        MetricsLogger(bus, Path(folder) / "metrics.jsonl")
        system.alerts.add_notifier(DiscordNotifier(bus, effective.notify))
        wiring = system.wiring()
        analytics.close()
        system.close()
    return wiring


def _entry(route: Route) -> dict[str, Any]:
    spec = route.event.__event__
    return {
        "type": route.type,
        "class": route.event.__name__,
        "version": spec.version,
        "kind": route.kind.value,
        "is_decision": route.is_decision,
        "ordered_by": spec.key,
        "is_retained": spec.retain,
        "producers": route.producers,
        "consumers": route.consumers,
        "onlookers": route.onlookers,
        "fields": spec.fields,
        "meaning": " ".join((route.event.__doc__ or "").split()),
    }


def _as_lines(wiring: Wiring) -> list[str]:
    lines = []
    for station in wiring.stations:
        lines.append(station)
        heard = [route.type for route in wiring.routes if station in route.consumers]
        if heard:
            lines.append(f"  hears      {', '.join(heard)}")
        lines += [
            f"  publishes  {route.type} -> {_names(route.consumers)}"
            for route in wiring.routes
            if station in route.producers
        ]
    return [*lines, ", ".join(wiring.onlookers), "  look on at everything"]


def _names(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "onlookers only"


def _tell_gaps(wiring: Wiring) -> None:
    gaps = tuple(wiring.gaps())
    for gap in gaps:
        say(f"leads nowhere: {gap}")
    if not gaps:
        say("Every type that is published is heard, and every type that is heard is published.")
