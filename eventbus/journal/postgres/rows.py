"""Rows: how values become columns of `schema.sql`, and come back. Text is kept without NUL, which PostgreSQL cannot keep."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any

from eventbus.journal.remote.integrity import checksum
from eventbus.journal.values import Append, Record

Columns = dict[str, str]
"""Names of columns, with their types."""

RECORD: Columns = {
    '"offset"': "bigint", "event_id": "text", "type": "text", "version": "bigint", "kind": "text", "key": "text",
    "time_ns": "bigint", "correlation_id": "text", "causation_id": "text", "body": "bytea", "crc": "bigint",
}  # fmt: skip
NEW_RECORD: Columns = {name: type_ for name, type_ in RECORD.items() if name != '"offset"'}
RETAINED: Columns = {"name": "text", "value": "bytea"}
LEASE: Columns = {"name": "text", "token": "bigint"}
CURSOR: Columns = {
    "name": "text", "revision": "bigint", "floor": "bigint", "settled": "text", "attempts": "text", "totals": "text"
}  # fmt: skip
OUTCOME: Columns = {
    "name": "text", '"offset"': "bigint", "status": "text", "attempts": "bigint", "queued_ns": "bigint", "ran_ns": "bigint"
}  # fmt: skip
OUTCOMES: Columns = {
    "name": "text", "offsets": "text", "status": "text", "attempts": "bigint", "queued_ns": "bigint", "ran_ns": "bigint"
}  # fmt: skip
LETTER: Columns = {
    "subscription": "text", "event_id": "text", "type": "text", '"offset"': "bigint", "reason": "text", "error": "text",
    "attempts": "bigint", "first_failed_ns": "bigint", "last_failed_ns": "bigint", "body": "bytea",
}  # fmt: skip
ITEM: Columns = {'"offset"': "bigint", "reason": "text", "time_ns": "bigint", "raw": "bytea"}


def names(columns: Columns, table: str = "") -> str:
    """`a, b`, or `t.a, t.b`."""
    return ", ".join(f"{table}.{name}" if table else name for name in columns)


def table_of(columns: Columns, first: int, name: str, *, with_place: bool = False) -> str:
    """Parameters from `$first` on, an array for each column, as a table; `place` counts its rows from 1."""
    arrays = ", ".join(f"${place}::{type_}[]" for place, type_ in enumerate(columns.values(), first))
    place = (" WITH ORDINALITY", ", place") if with_place else ("", "")
    return f"unnest({arrays}){place[0]} AS {name}({names(columns)}{place[1]})"


def turned(rows: Collection[Sequence[Any]], columns: Columns) -> list[Sequence[Any]]:
    """Rows as the arrays that `table_of` takes, one for each column."""
    arrays = [*zip(*rows, strict=True)] or [()] * len(columns)
    return [
        [storable(text) for text in array] if type_ == "text" else array
        for array, type_ in zip(arrays, columns.values(), strict=True)
    ]


def storable(text: str | None) -> str | None:
    """A text as PostgreSQL can keep it: NUL is written as a backslash and 0, a backslash as two of them."""
    if text is None or ("\0" not in text and "\\" not in text):
        return text
    return text.replace("\\", "\\\\").replace("\0", "\\0")


def given(value: Any) -> Any:
    """The text that was kept; anything else as it is."""
    if type(value) is not str or "\\" not in value:
        return value
    return re.sub(r"\\(.)", lambda found: "\0" if found[1] == "0" else "\\", value)


def as_rows(batch: Sequence[Append]) -> list[tuple[Any, ...]]:
    """Rows of `NEW_RECORD`."""
    return [(*item[:9], checksum(item)) for item in batch]


def as_record(row: Any) -> Record:
    """The record of a row of `RECORD`."""
    values = row[:-1]
    if "\\" in f"{values[1]}{values[2]}{values[4]}{values[5]}{values[7]}{values[8]}":  # the texts: hardly any holds one
        values = map(given, values)
    return Record._make(values)
