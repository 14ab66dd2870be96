"""`qt spc add`, `edit`, `remove`, `rebase`: the control charts of one run, changed while it runs or is stopped.

The configuration stays as it is: the next run has its charts from there.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from quantum_trader.cli.choosing import Run, unfinished
from quantum_trader.cli.faults import Failed
from quantum_trader.cli.looking import spc_app
from quantum_trader.cli.operating import ME, Reason, User, ask
from quantum_trader.cli.settings import ConfigDirectory
from quantum_trader.events import CharacteristicRequestedEvent
from quantum_trader.monitoring.archive import Archive
from quantum_trader.monitoring.characteristics import UnusableCharacteristic, chart_spec
from quantum_trader.runs.folder import RunFolder
from quantum_trader.runs.inbox import OPERATOR, Inbox

Name = Annotated[str, typer.Argument(help="Name of a chart: that of the metric it shows.")]
Type = Annotated[str | None, typer.Option("--type", help="imr, xbar_r, p, or thresholds.")]
Baseline = Annotated[int | None, typer.Option(help="Points (subgroups) that the limits are made from.")]
Rebase = Annotated[int | None, typer.Option("--rebase", help="Points after which they are made anew.")]
Rules = Annotated[str | None, typer.Option(help="Numbers of rules, as 1,2,5,6.")]
Subgroup = Annotated[int | None, typer.Option(help="Values that make one point.")]
Levels = Annotated[str | None, typer.Option(help="Of thresholds, rising, as 0.1,0.16,0.2.")]


def register(_app: typer.Typer) -> None:
    """Add the commands of this module to `qt spc`."""
    for command in (add, edit, remove, rebase):
        spc_app.command()(command)


def add(
    name: Name,
    reason: Reason,
    type_: Type = None,
    baseline: Baseline = None,
    rebase_after: Rebase = None,
    rules: Rules = None,
    subgroup: Subgroup = None,
    levels: Levels = None,
    user: User = ME,
    run: Run = None,
    config: ConfigDirectory = None,
) -> None:
    """A new chart, from the next session on."""
    folder = unfinished(run, config)
    if name in _known(folder):
        raise Failed(f"{name}: the name is taken in {folder.path}; choose another, or qt spc edit that one")
    settings = _settings(name, type_, baseline, rebase_after, rules, subgroup, levels)
    _check(name, settings)
    _ask(folder, "add", name, user, reason, settings, "added")


def edit(
    name: Name,
    reason: Reason,
    type_: Type = None,
    baseline: Baseline = None,
    rebase_after: Rebase = None,
    rules: Rules = None,
    subgroup: Subgroup = None,
    levels: Levels = None,
    user: User = ME,
    run: Run = None,
    config: ConfigDirectory = None,
) -> None:
    """Other settings for a chart; those left out stay. With other rules it goes on, with anything else it begins anew."""
    folder = unfinished(run, config)
    before = _one_of(folder, name)
    settings = _settings(name, type_, baseline, rebase_after, rules, subgroup, levels)
    if not settings:
        raise Failed(f"{name}: nothing to change; give --rules, --baseline or another setting")
    _check(name, before | settings)
    _ask(folder, "edit", name, user, reason, settings, "edited")


def remove(name: Name, reason: Reason, user: User = ME, run: Run = None, config: ConfigDirectory = None) -> None:
    """Watch it no more."""
    folder = unfinished(run, config)
    _one_of(folder, name)
    _ask(folder, "remove", name, user, reason, {}, "removed")


def rebase(name: Name, reason: Reason, user: User = ME, run: Run = None, config: ConfigDirectory = None) -> None:
    """New limits for a chart, from its newest points."""
    folder = unfinished(run, config)
    _one_of(folder, name)
    _ask(folder, "rebase", name, user, reason, {}, "given new limits")


def _known(folder: RunFolder) -> dict[str, dict[str, Any]]:
    """The settings of every chart, after what waits in the inbox is done."""
    known = Archive(folder.path).characteristics()
    for waiting in Inbox(folder.commands).waiting():
        if isinstance(waiting, CharacteristicRequestedEvent):
            if waiting.action == "remove":
                known.pop(waiting.name, None)
            else:
                known.setdefault(waiting.name, {}).update(waiting.settings)
    return known


def _one_of(folder: RunFolder, name: str) -> dict[str, Any]:
    known = _known(folder)
    if name not in known:
        raise Failed(f"{name}: there is no chart of that name in {folder.path}; known are {', '.join(known) or 'none'}")
    return known[name]


def _settings(
    name: str,
    type_: str | None,
    baseline: int | None,
    rebase_after: int | None,
    rules: str | None,
    subgroup: int | None,
    levels: str | None,
) -> dict[str, Any]:
    """What was given, in the form of the configuration."""
    try:
        given = {
            "type": type_,
            "baseline": baseline,
            "rebase": rebase_after,
            "rules": rules and [int(number) for number in rules.split(",")],
            "subgroup": subgroup,
            "levels": levels and [float(level) for level in levels.split(",")],
        }
    except ValueError as cause:
        raise Failed(f"{name}: {cause}; write numbers with commas between, as 1,2") from cause
    return {key: value for key, value in given.items() if value is not None}


def _check(name: str, settings: dict[str, Any]) -> None:
    try:
        chart_spec(name, settings)
    except UnusableCharacteristic as cause:
        raise Failed(f"{cause}; see qt spc add --help") from cause


def _ask(
    folder: RunFolder,
    action: Literal["add", "edit", "remove", "rebase"],
    name: str,
    user: str,
    reason: str,
    settings: dict[str, Any],
    done: str,
) -> None:
    command = CharacteristicRequestedEvent(
        action=action, name=name, user=user, reason=reason, settings=settings, source=OPERATOR
    )
    ask(folder, command, f"chart {name} is {done}")
