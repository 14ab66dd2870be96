"""Render: what commands print: tables and trees for people, one JSON value per line for programs.

A terminal is written nothing that it would act on, and what is piped is neither cut nor wrapped.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import typer
from pydantic_core import to_json
from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from eventbus.causality import Explanation, Handled
from eventbus.codec import decode
from eventbus.errors import CodecError
from eventbus.event import Event
from eventbus.journal.values import Record
from eventbus.wording import capped

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_UNWRAPPED = 1_000_000
_LEAST = 12  # characters of a payload that are shown however narrow the terminal is
_COMPLAINT = 1_000
_LAST_OFFSET = 2**63 - 1


def out() -> Console:
    """Where trees go; as wide as it takes when nobody looks at it on a screen."""
    return Console() if sys.stdout.isatty() else Console(width=_UNWRAPPED)


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
    typer.echo(f"eventbus: {clean(capped(' '.join(text.split()), _COMPLAINT))}", err=True)


def emit(value: Any) -> None:
    """One JSON value on one line."""
    text = _json(value)
    if not text.isprintable():
        text = "".join(each if each.isprintable() else _escaped(each) for each in text)
    typer.echo(text)


def _json(value: Any) -> str:
    return to_json(value, bytes_mode="base64", inf_nan_mode="strings", fallback=str).decode()


def _escaped(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """A table, a line for each row. Without rows a sentence says so.

    Columns that end in # are numbers. The last column, if it ends in ~, gives way when a terminal is too narrow for it.
    """
    cells = [["" if cell is None else clean(str(cell)) for cell in row] for row in rows]
    if not cells:
        say(empty)
        return
    titles = [column.rstrip("#~") for column in columns]
    lines = [titles, *cells] if any(titles) else cells
    widths = [max(len(line[at]) if at < len(line) else 0 for line in lines) for at in range(len(columns))]
    for number, line in enumerate(lines):
        padded = [
            text.rjust(widths[at]) if columns[at].endswith("#") else text.ljust(widths[at])
            for at, text in enumerate(line)
        ]
        *before, last = padded
        text = "  ".join(
            [*before, giving_way(last.rstrip(), sum(map(len, before)) + 2 * len(before))]
            if columns[-1].endswith("~")
            else padded
        )
        is_heading = number == 0 and any(titles) and os.environ.get("TERM") != "dumb"  # that one would show the codes
        typer.echo(typer.style(text.rstrip(), bold=True) if is_heading else text.rstrip())


def giving_way(text: str, used: int) -> str:
    """As much of the text as a terminal has room for on a line of which so much is used; all of it where there is none."""
    if not sys.stdout.isatty():
        return text
    room = max(shutil.get_terminal_size().columns - used, _LEAST)
    return text if len(text) <= room else f"{text[: room - 1]}…"


def readable(record: Record) -> Event | None:
    """The event of a record; None when it cannot be read."""
    try:
        return decode(record.body)
    except CodecError:
        return None


def as_dict(record: Record) -> dict[str, Any]:
    """A record for programs. `payload` is None and `unreadable` says why for what cannot be read."""
    row = record._asdict()
    row["time"] = moment(row.pop("time_ns"))
    body = row.pop("body")
    try:
        event = decode(body)
    except CodecError as error:
        return row | {"payload": None, "unreadable": str(error)}
    return row | {"source": event.source, "metadata": dict(event.metadata), "payload": event.payload}


EVENT_COLUMNS = ("offset#", "time", "type", "key", "event", "payload~")


def event_row(record: Record) -> tuple[object, ...]:
    """A record as a row of `EVENT_COLUMNS`."""
    event = readable(record)
    payload = "(cannot be read)" if event is None else brief(event.payload)
    return record.offset, moment(record.time_ns), record.type, record.key, record.event_id, payload


def brief(payload: dict[str, Any]) -> str:
    """A payload on one line."""
    return " ".join(f"{name}={value if isinstance(value, str) else _json(value)}" for name, value in payload.items())


def draw(explanation: Explanation) -> Tree:
    """The causal tree, root on top; the event that was asked for stands out."""
    branches: list[Tree] = []
    for depth, event in explanation.walk():
        label = _leaf(explanation, event, depth)
        branch = branches[depth - 1].add(label) if depth else Tree(label, guide_style="dim")
        branches[depth:] = [branch]
    return branches[0]


def _leaf(explanation: Explanation, event: Event, depth: int) -> Text:
    label = Text(clean(event.type), style="bold reverse" if event is explanation.event else "bold")
    label.append(f"  {clean(event.event_id)}", style="not bold not reverse dim")
    after = explanation.after_cause_s(event)
    label.append(
        f"  {moment_of(event.timestamp)}" if after is None else f"  +{duration(after)}", style="not bold not reverse"
    )
    text = giving_way(clean(brief(event.payload)), 4 * depth + len(label) + 2)
    label.append(f"  {text}", style="not bold not reverse")
    for handled in explanation.handled.get(event.event_id, ()):
        style = "green" if handled.status == "succeeded" else "red"
        label.append(f"\n{_words(handled)}", style=f"not bold not reverse {style}")
    return label


def _words(handled: Handled) -> str:
    words = f"  {clean(handled.subscription)}: {clean(handled.status)}"
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
    """A label of the wall clock; as it is, if it is beyond the calendar."""
    try:
        return moment_of(datetime.fromtimestamp(time_ns / 1e9, UTC))
    except (ValueError, OverflowError, OSError):
        return f"{time_ns} ns"


def moment_of(time: datetime) -> str:
    """A time in UTC, to the millisecond; as it is, if there it is beyond the calendar."""
    with contextlib.suppress(OverflowError):
        time = time.astimezone(UTC)
    return time.isoformat(" ", "milliseconds").replace("+00:00", "Z")


def place(text: str | None, now: datetime) -> int | datetime | None:
    """An offset (`120`), a time (`2026-03-01`, `2026-03-01T09:30Z`), or an age (`15m`, `2h`, `3d`). Raises `BadParameter`."""
    if text is None:
        return None
    try:
        if is_number(text):
            return int(text)
        if is_number(text[:-1]) and text[-1] in _UNITS:
            return now - timedelta(**{_UNITS[text[-1]]: int(text[:-1])})
        time = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"{clean(text)!r} is no offset, no time such as 2026-03-01T09:30, and no age such as 15m"
        ) from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def is_number(text: str) -> bool:
    """Whether the text is a number that an offset can be: ASCII digits, and not too many."""
    return text.isascii() and text.isdecimal() and len(text) < 20 and int(text) <= _LAST_OFFSET


def nanoseconds(time: datetime) -> int:
    """The label of a time, as near as a label comes to it."""
    return min(max(int(time.timestamp() * 1e9), -_LAST_OFFSET), _LAST_OFFSET)


def text_only(value: Any) -> Any:
    """The callback of an argument that is text: bytes that are none are refused. Raises `BadParameter`."""
    for each in value if isinstance(value, list) else [value]:
        try:
            if isinstance(each, str):
                each.encode()
        except UnicodeEncodeError:
            raise typer.BadParameter(f"{clean(each)!r} is no text: it holds bytes that are no UTF-8") from None
    return value
