"""Looking: the commands that only read a journal file. They may run beside its writer, and after it died."""

from __future__ import annotations

import base64
import math
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from itertools import zip_longest
from typing import Annotated, Any

import typer

from eventbus.cli import render
from eventbus.clock import SystemClock
from eventbus.durability.reading import explanation
from eventbus.errors import JournalDamaged
from eventbus.event import event_class
from eventbus.journal.reader import JournalReader, open_reader
from eventbus.journal.values import Record

app = typer.Typer()

_PAGE = 1_000
_MANY = 1_000_000_000
_LONGEST_S = 86_400.0  # that a replay waits between two events
_LOOK_S = 0.1  # how often `tail --follow` looks for more

Journal = Annotated[
    str,
    typer.Argument(
        help="A journal file such as run.db, or a URL: sqlite:///run.db, postgresql://..., redis://..., nats://...",
        show_default=False,
    ),
]
EventId = Annotated[
    str, typer.Argument(help="The id of an event, the beginning of one, or an offset.", callback=render.text_only)
]
Json = Annotated[bool, typer.Option("--json", help="One JSON value per line.")]
Types = Annotated[
    list[str] | None,
    typer.Option("--type", "-t", help="A type or a wildcard; may be repeated.", callback=render.text_only),
]
Since = Annotated[
    str | None, typer.Option(help="An offset, a time, or an age such as 15m; inclusive.", callback=render.text_only)
]
Until = Annotated[str | None, typer.Option(help="The same, at the other end; inclusive.", callback=render.text_only)]


@app.command()
def events(
    journal: Journal,
    types: Types = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=_MANY, help="At most so many.")] = 1_000,
    json: Json = False,
) -> None:
    """List events, oldest first."""
    with open_reader(journal) as reader:
        found: list[Record] = []
        for record in chosen(reader, types, since, until):
            if json:
                render.emit(render.as_dict(record))
            found.append(record)
            if len(found) == limit:
                break
    if not json:
        render.show_table(render.EVENT_COLUMNS, map(render.event_row, found), empty="no such events")


@app.command()
def tail(
    journal: Journal,
    types: Types = None,
    count: Annotated[int, typer.Option("--lines", "-n", min=0, max=_MANY, help="So many of the newest first.")] = 10,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes.")] = False,
    json: Json = False,
) -> None:
    """Show the newest events; with --follow, each new one as it comes."""
    with open_reader(journal) as reader:
        last = reader.last()
        newest: list[Record] = []
        at = last
        while at >= reader.first() and len(newest) < count:
            before = max(reader.first() - 1, at - _PAGE)
            newest = [*reader.read(before, _PAGE, types, at), *newest]
            at = before
        newest = newest[-count:] if count else []
        if not follow and not json:
            render.show_table(render.EVENT_COLUMNS, map(render.event_row, newest), empty="no such events")
            return
        for record in newest:
            _line(record, json)
        while follow:
            last = max(last, reader.first() - 1)
            until = reader.last()
            page = reader.read(last, _PAGE, types, until)
            for record in page:
                _line(record, json)
                last = record.offset
            if len(page) < _PAGE:  # there was nothing more of these types
                last = max(last, until)
                time.sleep(_LOOK_S)


@app.command()
def replay(
    journal: Journal,
    types: Types = None,
    since: Since = None,
    until: Until = None,
    speed: Annotated[
        float, typer.Option(min=0, help="1 keeps the pace of the past, 10 is ten times that, 0 at once.")
    ] = 0,
    json: Json = False,
) -> None:
    """Print events one by one, at the pace of the past if told so."""
    if not math.isfinite(speed):
        raise typer.BadParameter(f"--speed {speed} is no pace")
    previous: int | None = None
    with open_reader(journal) as reader:
        for record in chosen(reader, types, since, until):
            if speed and previous is not None:
                time.sleep(min(max(0, record.time_ns - previous) / 1e9 / speed, _LONGEST_S))
            previous = record.time_ns
            _line(record, json)


@app.command()
def explain(journal: Journal, event: EventId, json: Json = False) -> None:
    """Tell everything about one event: header, payload, what was made of it, its cause and its effects."""
    with open_reader(journal) as reader:
        record = find(reader, event)
        row = render.as_dict(record)
        family = reader.related(record.correlation_id or record.event_id, 10_000)
        row["cause"] = next((each.event_id for each in family if each.event_id == record.causation_id), None)
        row["effects"] = [each.event_id for each in family if each.causation_id == record.event_id]
        row["handled"] = [
            {"group": group, "status": status, "attempts": attempts, "queued_ns": queued_ns, "ran_ns": ran_ns}
            for group, _, status, attempts, queued_ns, ran_ns in reader.outcomes([record.offset])
        ]
    if json:
        render.emit(row)
        return
    types = {each.event_id: each.type for each in family}
    payload, handled = row.pop("payload"), row.pop("handled")
    row["cause"] = row["cause"] and f"{row['cause']} ({types[row['cause']]})"
    row["effects"] = ", ".join(f"{id_} ({types[id_]})" for id_ in row["effects"])
    rows = [(name, value) for name, value in row.items() if value not in (None, "", {})]
    rows += [(f"payload.{name}", render.brief({"": value})[1:]) for name, value in (payload or {}).items()]
    rows += [(f"handled by {made['group']}", _handling(made)) for made in handled]
    render.show_table(("", ""), rows, empty="")


@app.command()
def why(journal: Journal, event: EventId, json: Json = False) -> None:
    """Draw the causal tree of an event: how it came about, and what came of it."""
    with open_reader(journal) as reader:
        record = find(reader, event)
        family = reader.related(record.correlation_id or record.event_id, 10_000)
        known = [(each, found) for each in family if (found := render.readable(each)) is not None]
        outcomes = reader.outcomes([each.offset for each in family])
    told = explanation(record.event_id, known, outcomes)
    if not json:
        render.out().print(render.draw(told))
        return
    for depth, each in told.walk():
        handled = [made._asdict() for made in told.handled.get(each.event_id, ())]
        render.emit(
            {
                "depth": depth,
                "event_id": each.event_id,
                "type": each.type,
                "timestamp": each.timestamp,
                "after_cause_s": told.after_cause_s(each),
                "payload": each.payload,
                "handled": handled,
                "asked": each.event_id == record.event_id,
            }
        )


@app.command()
def verify(journal: Journal, json: Json = False) -> None:
    """Read everything and check it. Exit code 1 if anything is missing or altered."""
    try:
        with open_reader(journal) as reader:
            sound = reader.verify()
    except JournalDamaged as damage:
        if json:
            render.emit({"sound": False, **vars(damage), "path": render.clean(damage.path)})
        raise
    if json:
        render.emit({"sound": True, **sound._asdict()})
    else:
        render.say(f"sound: {sound.records} records, offsets {sound.first} to {sound.last}, digest {sound.digest}")


@app.command()
def stats(journal: Journal, json: Json = False) -> None:
    """Sizes, groups and how far they are behind, dead letters, quarantine."""
    now = SystemClock().now()
    with open_reader(journal) as reader:
        last, first = reader.last(), reader.first()
        ends = [*reader.read(first - 1, 1), *(reader.read(last - 1, 1) if last >= first else ())]
        found: dict[str, Any] = {
            "first": first,
            "last": last,
            "records": last - first + 1,
            "oldest": render.moment(ends[0].time_ns) if ends else None,
            "newest": render.moment(ends[-1].time_ns) if ends else None,
            "file_bytes": reader.file_bytes(),
            "log_bytes": reader.log_bytes(),
            "dead_letters": reader.count_dead_letters(None, False),
            "quarantined": reader.count_quarantined(),
            "halted": "halt" in reader.values("latch"),
            "groups": [
                {"group": c.group, "floor": c.floor, "behind": last - c.floor, "in_flight": len(c.attempts)}
                | {"totals": dict(c.totals)}
                for c in reader.cursors()
            ],
        }
    if json:
        render.emit(found)
        return
    found |= {name: render.size(found[name]) for name in ("file_bytes", "log_bytes")}
    if ends:
        found["newest"] += f" ({render.duration((now.timestamp() * 1e9 - ends[-1].time_ns) / 1e9)} ago)"
    rows = found.pop("groups")
    render.show_table(("", ""), list(found.items()), empty="")
    render.say("")
    render.show_table(
        ("group", "floor#", "behind#", "in flight#", "outcomes"),
        [(r["group"], r["floor"], r["behind"], r["in_flight"], render.brief(r["totals"])) for r in rows],
        empty="no groups",
    )


@app.command()
def quarantine(journal: Journal, json: Json = False) -> None:
    """List what could not be read as an event, with its bytes."""
    with open_reader(journal) as reader:
        found = reader.quarantined(0, _MANY)
    if json:
        for item in found:
            raw = base64.b64encode(item.raw).decode()
            render.emit(
                {"id": item.id, "offset": item.offset, "time": render.moment(item.time_ns)}
                | {"reason": item.reason, "raw_base64": raw}
            )
        return
    render.show_table(
        ("id#", "offset#", "time", "bytes#", "reason~"),
        [(item.id, item.offset, render.moment(item.time_ns), len(item.raw), item.reason) for item in found],
        empty="nothing is quarantined",
    )


@app.command()
def types(journal: Journal, json: Json = False) -> None:
    """Which types of events there are, and how many of each."""
    counts: Counter[str] = Counter()
    seen: dict[str, dict[str, Any]] = {}
    with open_reader(journal) as reader:
        for record in chosen(reader, None, None, None):
            counts[record.type] += 1
            row = seen.setdefault(record.type, {"kind": record.kind, "versions": set(), "first": record.offset})
            row["versions"].add(record.version)
            row["last"] = record.offset
    rows = [
        {"type": name, "count": count, "kind": row["kind"], "versions": sorted(row["versions"])}
        | {"first": row["first"], "last": row["last"], "class": _title(name)}
        for name, count in sorted(counts.items())
        for row in [seen[name]]
    ]
    if json:
        for row in rows:
            render.emit(row)
        return
    render.show_table(
        ("type", "count#", "kind", "versions", "first#", "last#", "class"),
        [
            (r["type"], r["count"], r["kind"], " ".join(map(str, r["versions"])), r["first"], r["last"], r["class"])
            for r in rows
        ],
        empty="no events",
    )


@app.command()
def diff(
    one: Annotated[str, typer.Argument(help="A journal file, or its URL.")],
    other: Annotated[str, typer.Argument(help="Another one.")],
    payload: Annotated[
        bool, typer.Option("--payload", help="Compare type and payload only, not ids and times.")
    ] = False,
    json: Json = False,
) -> None:
    """Name the first event where two journals part. Exit code 1 if they do."""
    with open_reader(one) as left, open_reader(other) as right:
        pairs = zip_longest(chosen(left, None, None, None), chosen(right, None, None, None))
        same = 0
        for a, b in pairs:
            if a is None or b is None or _essence(a, payload) != _essence(b, payload):
                _report_parting(one, a, other, b, same, json=json)
                raise typer.Exit(1)
            same += 1
    if json:
        render.emit({"same": True, "events": same})
    else:
        render.say(f"the same: {same} events")


def chosen(reader: JournalReader, types: list[str] | None, since: str | None, until: str | None) -> Iterator[Record]:
    """The records that were asked for, oldest first, as of now."""
    now = SystemClock().now()
    start, end = render.place(since, now), render.place(until, now)
    last = min(reader.last(), end) if isinstance(end, int) else reader.last()
    after = reader.first() - 1
    if isinstance(start, int):
        after = start - 1 if start else after
    elif start is not None:
        after = reader.seek(render.nanoseconds(start))
    earliest = render.nanoseconds(start) if isinstance(start, datetime) else None
    latest = render.nanoseconds(end) if isinstance(end, datetime) else None
    while records := reader.read(after, _PAGE, types, last):
        for record in records:
            if (earliest is None or record.time_ns >= earliest) and (latest is None or record.time_ns <= latest):
                yield record
        after = records[-1].offset


def find(reader: JournalReader, text: str) -> Record:
    """The record with this id, or the only one whose id begins so, or at this offset. Raises `LookupError`."""
    record = reader.find(text)
    if record is not None:
        return record
    if render.is_number(text):
        at = int(text)
        records = reader.read(at - 1, 1, None, at) if reader.first() <= at <= reader.last() else []
    else:
        records = [each for each in chosen(reader, None, None, None) if each.event_id.startswith(text)]
    if len(records) == 1:
        return records[0]
    if records:
        raise LookupError(f"{len(records)} events begin with {text!r}: give more of the id")
    raise LookupError(f"no event {text!r} in this journal: 'eventbus events' lists them")


def _line(record: Record, json: bool) -> None:
    if json:
        render.emit(render.as_dict(record))
    else:
        offset, when, type_, _key, id_, text = render.event_row(record)
        before = render.clean(f"{offset:>8}  {when}  {type_}  {id_}  ")
        render.say(before + render.giving_way(render.clean(str(text)), len(before)))


def _handling(made: dict[str, Any]) -> str:
    words = f"{made['status']}, {made['attempts']} attempt{'s' * (made['attempts'] != 1)}"
    if made["ran_ns"] is not None:
        words += f", waited {render.duration(made['queued_ns'] / 1e9)}, ran {render.duration(made['ran_ns'] / 1e9)}"
    return words


def _title(type_name: str) -> str | None:
    cls = event_class(type_name)
    return None if cls is None else f"{cls.__module__}.{cls.__qualname__}"


def _essence(record: Record, payload: bool) -> object:
    event = render.readable(record) if payload else None
    return (record.type, record.body) if event is None else (record.type, event.payload)


def _report_parting(one: str, a: Record | None, other: str, b: Record | None, same: int, *, json: bool) -> None:
    if json:
        sides = {"a": a and render.as_dict(a), "b": b and render.as_dict(b)}
        render.emit({"same": False, "events": same, **sides})
        return
    render.say(f"they part after {same} equal events:")
    rows = [
        (path, *(render.event_row(record) if record else ("ends here",))) for path, record in ((one, a), (other, b))
    ]
    render.show_table(("journal", *render.EVENT_COLUMNS), rows, empty="")
