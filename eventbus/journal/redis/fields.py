"""Fields: how values become the words of entries and rows of `bus.lua`, and come back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from eventbus.journal.remote.cursors import Row, Write
from eventbus.journal.remote.integrity import checksum
from eventbus.journal.shared import split_part
from eventbus.journal.values import (
    Append,
    DeadLetterRecord,
    NewDeadLetter,
    NewQuarantined,
    Quarantined,
    Record,
    SettledDelivery,
)

_NONE = b"-"


def words_of(record: Append) -> list[Any]:
    """A record for `append`: how many words its entry has, what it is retained as, and the words. What is None is left out."""
    words: list[Any] = ["id", record.event_id, "type", record.type, "body", record.body]
    words += ["version", record.version, "kind", record.kind, "time_ns", record.time_ns, "crc", checksum(record)]
    for name in ("key", "correlation_id", "causation_id"):
        if (value := getattr(record, name)) is not None:
            words += [name, value]
    return [len(words), maybe(record.retain), *words]


def as_record(entry: Any) -> Record | None:
    """A record as it was appended; None for an entry that was altered."""
    it = _fields(entry)
    optional = (it.get(b"key"), it.get(b"correlation_id"), it.get(b"causation_id"))
    try:
        key, correlation, causation = (None if value is None else value.decode() for value in optional)
        record = Record(
            offset_of(entry),
            it[b"id"].decode(),
            it[b"type"].decode(),
            int(it[b"version"]),
            it[b"kind"].decode(),
            key,
            int(it[b"time_ns"]),
            correlation,
            causation,
            it[b"body"],
        )
        return record if checksum(record) == int(it[b"crc"]) else None
    except (KeyError, ValueError):
        return None


def offset_of(entry: Any) -> int:
    """The offset of an entry of the log, or the id of one of another stream."""
    return int(entry[0].partition(b"-")[0])


def body_of(entry: Any) -> bytes:
    """The body of a record alone: where `words_of` put it."""
    body: bytes = entry[1][5]
    return body


def as_row(name: str, text: bytes) -> Row:
    """A cursor, from `revision floor|settled|attempts|totals`."""
    numbers, settled, attempts, totals = text.decode().split("|")
    revision, floor = numbers.split()
    return Row(name, int(revision), int(floor), settled, attempts, totals)


def words_of_write(write: Write) -> Iterable[Any]:
    """A cursor for `write`, with everything that belongs to it."""
    row = write.row
    text = "|".join((str(row.floor), row.settled, row.attempts, row.totals))
    yield from (row.name, write.token, row.revision, text, (split_part(row.name) or row)[0], len(write.outcomes))
    for offset, status, attempts, *times in write.outcomes:
        yield from (offset, " ".join((status, str(attempts), *("-" if time is None else str(time) for time in times))))
    for items in (write.dead, write.quarantined):
        yield len(items)
        for item in items:
            yield from words_of_item(item)


def as_outcome(found: Any) -> SettledDelivery:
    """How one delivery ended."""
    group, offset, text = found
    status, attempts, *times = text.split()
    queued, ran = (None if time == _NONE else int(time) for time in times)
    return SettledDelivery(group.decode(), offset, status.decode(), int(attempts), queued, ran)


def words_of_item(item: NewDeadLetter | NewQuarantined) -> list[Any]:
    """A dead letter, or what is quarantined: how many words its entry has, and the words."""
    words = [word for name, value in item._asdict().items() if value is not None for word in (name, value)]
    return [len(words), *words]


def as_letter(entry: Any, redriven: int) -> DeadLetterRecord:
    """A dead letter."""
    letter = NewDeadLetter(*_typed(entry, NewDeadLetter))
    return DeadLetterRecord(offset_of(entry), *letter, redriven=bool(redriven))


def as_quarantined(entry: Any) -> Quarantined:
    """What is quarantined."""
    return Quarantined(offset_of(entry), *_typed(entry, NewQuarantined))


def maybe(value: str | bytes | None) -> bytes:
    """A value that may be none."""
    if value is None:
        return b""
    return b"=" + (value.encode() if isinstance(value, str) else value)


def _fields(entry: Any) -> dict[bytes, bytes]:
    words: Sequence[bytes] = entry[1]
    return dict(zip(words[::2], words[1::2], strict=True))


_NUMBERS = {"offset", "attempts", "first_failed_ns", "last_failed_ns", "time_ns"}
_BYTES = {"body", "raw"}


def _typed(entry: Any, kind: type[NewDeadLetter] | type[NewQuarantined]) -> Iterable[Any]:
    fields = _fields(entry)
    for name in kind._fields:
        value = fields.get(name.encode())
        yield int(value) if name in _NUMBERS and value else value if name in _BYTES or value is None else value.decode()
