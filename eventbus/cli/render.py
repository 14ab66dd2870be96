"""Render: what commands print: tables and trees for people, one JSON value per line for programs."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import typer
from pydantic_core import to_json
from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from eventbus.causality import Explanation, Handled
from eventbus.codec import decode
from eventbus.errors import CodecError
from eventbus.event import Event
from eventbus.journal.base import Record

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def out() -> Console:
    """Where tables go; as wide as it takes when nobody looks at it on a screen."""
    return Console() if sys.stdout.isatty() else Console(width=200)


def clean(text: str) -> str:
    """The text on one line, with everything that a terminal would act on, or could not show, escaped."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def say(text: str) -> None:
    """One plain line."""
    typer.echo(clean(text))


def complain(text: str) -> None:
    """One line on stderr: what is wrong, and what to do."""
    typer.echo(f"eventbus: {clean(' '.join(text.split()))}", err=True)


def emit(value: Any) -> None:
    """One JSON value on one line."""
    typer.echo(to_json(value).decode())


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """A table; columns that end in # are numbers. Without rows a sentence says so."""
    table = Table(box=None, pad_edge=False, header_style="bold", show_header=any(columns))
    for column in columns:
        if column.endswith("#"):
            table.add_column(column[:-1], justify="right", no_wrap=True)
        elif column == "payload":
            table.add_column(column, overflow="ellipsis", no_wrap=True, ratio=1)
        else:
            table.add_column(column, no_wrap=True)
    for row in rows:
        table.add_row(*("" if cell is None else Text(str(cell)) for cell in row))
    if table.row_count:
        out().print(table)
    else:
        say(empty)


def readable(record: Record) -> Event | None:
    """The event of a record; None when it cannot be read."""
    try:
        return decode(record.body)
    except CodecError:
        return None


def as_dict(record: Record) -> dict[str, Any]:
    """A record for programs. `payload` is None and `unreadable` says why for what cannot be read."""
    row = record._asdict()
    row["time"] = datetime.fromtimestamp(row.pop("time_ns") / 1e9, UTC)
    body = row.pop("body")
    try:
        event = decode(body)
    except CodecError as error:
        return row | {"payload": None, "unreadable": str(error)}
    return row | {"source": event.source, "metadata": dict(event.metadata), "payload": event.payload}


EVENT_COLUMNS = ("offset#", "time", "type", "key", "event", "payload")


def event_row(record: Record) -> tuple[object, ...]:
    """A record as a row of `EVENT_COLUMNS`."""
    event = readable(record)
    payload = "(cannot be read)" if event is None else brief(event.payload)
    return record.offset, moment(record.time_ns), record.type, record.key, record.event_id, payload


def brief(payload: dict[str, Any]) -> str:
    """A payload on one line."""
    return " ".join(
        f"{name}={value if isinstance(value, str) else to_json(value).decode()}" for name, value in payload.items()
    )


def draw(explanation: Explanation) -> Tree:
    """The causal tree, root on top; the event that was asked for stands out."""
    branches: list[Tree] = []
    for depth, event in explanation.walk():
        label = _leaf(explanation, event)
        branch = branches[depth - 1].add(label) if depth else Tree(label, guide_style="dim")
        branches[depth:] = [branch]
    return branches[0]


def _leaf(explanation: Explanation, event: Event) -> Text:
    label = Text(event.type, style="bold reverse" if event is explanation.event else "bold")
    label.append(f"  {event.event_id}", style="not bold not reverse dim")
    after = explanation.after_cause_s(event)
    label.append(
        f"  {moment_of(event.timestamp)}" if after is None else f"  +{duration(after)}", style="not bold not reverse"
    )
    text = brief(event.payload)
    label.append(f"  {text[:100]}{'…' if len(text) > 100 else ''}", style="not bold not reverse")
    for handled in explanation.handled.get(event.event_id, ()):
        style = "green" if handled.status == "succeeded" else "red"
        label.append(f"\n{_words(handled)}", style=f"not bold not reverse {style}")
    return label


def _words(handled: Handled) -> str:
    words = f"  {handled.subscription}: {handled.status}"
    if handled.attempts != 1:
        words += f", {handled.attempts} attempts"
    if handled.queued_s is not None and handled.ran_s is not None:
        words += f", waited {duration(handled.queued_s)}, ran {duration(handled.ran_s)}"
    return words


def duration(seconds: float) -> str:
    """A duration for people."""
    for unit, size in (("d", 86_400.0), ("h", 3_600.0), ("s", 1.0), ("ms", 1e-3)):
        if abs(seconds) >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.0f} us"


def size(count: float) -> str:
    """Bytes for people."""
    for unit in ("bytes", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def moment(time_ns: int) -> str:
    """A label of the wall clock."""
    return moment_of(datetime.fromtimestamp(time_ns / 1e9, UTC))


def moment_of(time: datetime) -> str:
    """A time in UTC, to the millisecond."""
    return time.astimezone(UTC).isoformat(" ", "milliseconds").replace("+00:00", "Z")


def place(text: str | None, now: datetime) -> int | datetime | None:
    """An offset (`120`), a time (`2026-03-01`, `2026-03-01T09:30Z`), or an age (`15m`, `2h`, `3d`). Raises `BadParameter`."""
    if text is None:
        return None
    if text.isdecimal():
        return int(text)
    if text[:-1].isdecimal() and text[-1] in _UNITS:
        return now - timedelta(**{_UNITS[text[-1]]: int(text[:-1])})
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is no offset, no time such as 2026-03-01T09:30, and no age such as 15m"
        ) from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
