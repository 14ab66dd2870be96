"""`qt verify`, `qt diff`, `qt events`, `qt why`: commands that look into the journal of a run, live or over."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.text import Text
from rich.tree import Tree

from eventbus import Event
from eventbus.cli import render
from eventbus.cli.looking import chosen
from eventbus.codec import decode
from eventbus.journal.values import Record
from quantum_trader.cli import choosing
from quantum_trader.cli.faults import CHECK_FAILED, Failed
from quantum_trader.cli.progress import busy
from quantum_trader.cli.saying import clean, emit, say
from quantum_trader.cli.settings import ConfigDirectory
from quantum_trader.runs.audit import audit
from quantum_trader.runs.comparison import Parting, part
from quantum_trader.runs.history import opened
from quantum_trader.runs.story import Step, tell

_LOOK_S = 0.1  # how often `--follow` looks for more

Run = Annotated[str, typer.Argument(help="Folder or name of a run.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the commands of this module to `qt`."""
    for command in (verify, diff, events, why):
        app.command()(command)


def verify(run: Run, json: choosing.AsJson = False, config: ConfigDirectory = None, bus: choosing.Bus = None) -> None:
    """Compute again what a run claims: the journal's chain, the digest of its decisions, its books."""
    folder = choosing.chosen(run, config, bus)
    with busy(f"verifying {folder.path}"):
        findings = asyncio.run(audit(folder))
    if json:
        emit([asdict(finding) for finding in findings])
    else:
        rows = [(f.check, "ok" if f.is_well else "WRONG", f.detail) for f in findings]
        render.show_table(("", "", ""), rows, empty="")
    wrong = [finding for finding in findings if not finding.is_well]
    if wrong:
        raise Failed(f"{wrong[0].check}: {wrong[0].detail}")


def diff(one: Run, other: Run, json: choosing.AsJson = False, config: ConfigDirectory = None) -> None:
    """Name the first decision where two runs part. Exit code 1 if they do."""
    left, right = choosing.chosen(one, config), choosing.chosen(other, config)
    with busy(f"comparing {left.path} and {right.path}"):
        parting = part(left, right)
    if json:
        emit(_as_dict(parting))
    else:
        for name, (a, b) in parting.configuration.items():
            say(f"{name}: {a} | {b}")
        if parting.is_same:
            say(f"the same: {parting.same:,} decisions")
        else:
            say(f"they part after {parting.same:,} equal decisions, in session {parting.session} ({parting.what}):")
            for run, event in ((one, parting.one), (other, parting.other)):
                say(f"  {run}: {_line(event)}")
    if not parting.is_same:
        raise typer.Exit(CHECK_FAILED)


def events(
    run: Run,
    types: Annotated[
        list[str] | None, typer.Option("--type", "-t", help="A type or a wildcard; may be repeated.")
    ] = None,
    symbol: Annotated[str | None, typer.Option(help="Only what concerns this symbol.")] = None,
    start: Annotated[str | None, typer.Option("--from", help="First date, like 2008-09-15, or an offset.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Last date, or an offset; inclusive.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=1, help="At most so many.")] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what comes, until the run is complete.")
    ] = False,
    json: choosing.AsJson = False,
    config: ConfigDirectory = None,
) -> None:
    """List the events of a run, oldest first; with --json one per line."""
    folder = choosing.chosen(run, config)
    shown = 0
    with opened(folder) as reader:
        since = start
        while True:
            is_over = not follow or folder.is_complete
            for record in chosen(reader, types, since, end):
                since = str(record.offset + 1)
                if symbol is not None and not _concerns(record, symbol):
                    continue
                _show(record, json=json)
                shown += 1
                if shown == limit:
                    return
            if is_over:
                break
            time.sleep(_LOOK_S)
    if not shown and not json:
        say("no such events")


def why(
    order_id: Annotated[str, typer.Argument(help="Id of an order or a fill.", show_default=False)],
    run: choosing.Run = None,
    json: choosing.AsJson = False,
    config: ConfigDirectory = None,
) -> None:
    """Tell why an order came about and what became of it: bar, signal, proposal, size, checks, fills."""
    folder = choosing.chosen(run, config)
    story = tell(folder, order_id)
    if json:
        emit(_told(story))
    else:
        render.out().print(_drawn(story))


def _concerns(record: Record, symbol: str) -> bool:
    """Whether an event is about a symbol: as its key, in a field, or in one of its lines."""
    if record.key == symbol:
        return True
    payload = decode(record.body).payload
    lines = [payload, *(line for line in payload.get("items", ()) if isinstance(line, dict))]
    return any(line.get("symbol") == symbol for line in lines)


def _show(record: Record, *, json: bool) -> None:
    if json:
        render.emit(render.as_dict(record))
    else:
        offset, when, type_, _key, id_, text = render.event_row(record)
        say(f"{offset:>8}  {when}  {type_}  {id_}  {text}")


def _line(event: Event | None) -> str:
    if event is None:
        return "nothing here"
    return f"{event.type} {event.event_id} of {event.source}: {render.brief(event.payload)}"


def _as_dict(parting: Parting) -> dict[str, Any]:
    sides = {
        name: event and {"event_id": event.event_id, "type": event.type, "payload": event.model_dump(mode="json")}
        for name, event in (("one", parting.one), ("other", parting.other))
    }
    return {
        "is_same": parting.is_same,
        "same": parting.same,
        "session": parting.session,
        "what": parting.what,
        "configuration": parting.configuration,
        **sides,
    }


def _told(step: Step) -> dict[str, Any]:
    return {
        "step": step.what,
        "type": step.event.type,
        "event_id": step.event.event_id,
        "time": step.event.timestamp.isoformat(),
        "facts": step.facts,
        "then": [_told(following) for following in step.then],
    }


def _drawn(step: Step) -> Tree:
    label = Text(clean(step.what), style="bold")
    label.append(f"  {step.event.timestamp.date()}", style="not bold")
    label.append(f"  {clean(step.event.event_id)}", style="not bold dim")
    facts = {name: value for name, value in step.facts.items() if value not in (None, "", [], {})}
    label.append(f"\n{clean(_words(facts))}", style="not bold")
    tree = Tree(label, guide_style="dim")
    for following in step.then:
        tree.children.append(_drawn(following))
    return tree


def _words(facts: dict[str, Any]) -> str:
    words = []
    for name, value in facts.items():
        text = f"({_words(value)})" if isinstance(value, dict) else value
        words.append(f"{name} {' '.join(map(str, value)) if isinstance(value, list) else text}")
    return ", ".join(words)
