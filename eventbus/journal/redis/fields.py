"""Fields: how values become the words of entries and rows of `bus.lua`, and come back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from eventbus.journal.parts import group_of
from eventbus.journal.remote.cursors import Row, Write
from eventbus.journal.remote.integrity import checksum
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
_LABELS = (b"key", b"correlation_id", b"causation_id")  # that a record may be without
_NUMBERS = {"attempts", "first_failed_ns", "last_failed_ns", "offset", "time_ns"}
_BYTES = {"body", "raw"}


def words_of(record: Append) -> list[Any]:
    """A record for `append`: how many words its entry has, what it is retained as, and the words. What is None is left out."""
    id_, type_, version, kind, key, time_ns, correlation, causation, body, retain = record
    words = ["event_id", id_, "type", type_, "body", body, "version", version, "kind", kind, "time_ns", time_ns]
    for name, value in (("key", key), ("correlation_id", correlation), ("causation_id", causation)):
        if value is not None:
            words += name, value
    return [len(words) + 2, maybe(retain), *words, "crc", checksum(record)]


def as_record(entry: Any) -> Record | None:
    """A record as it was appended; None for an entry that was altered."""
    try:
        fields = _fields(entry)
        id_, type_, kind = fields[b"event_id"].decode(), fields[b"type"].decode(), fields[b"kind"].decode()
        key, correlation, causation = (fields[name].decode() if name in fields else None for name in _LABELS)
        version, time_ns = int(fields[b"version"]), int(fields[b"time_ns"])
        causes = correlation, causation
        record = Record(offset_of(entry), id_, type_, version, kind, key, time_ns, *causes, fields[b"body"])
        return record if fields[b"crc"] == b"%d" % checksum(record) else None
    except (KeyError, ValueError):  # a field that is not there, or not what it was
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
    yield from (row.name, write.token, row.revision, text, group_of(row.name), len(write.outcomes))
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
    return DeadLetterRecord._make((offset_of(entry), *_typed(entry, NewDeadLetter._fields), bool(redriven)))


def as_quarantined(entry: Any) -> Quarantined:
    """What is quarantined."""
    return Quarantined(offset_of(entry), *_typed(entry, NewQuarantined._fields))


def maybe(value: str | bytes | None) -> bytes:
    """A value that may be none."""
    if value is None:
        return b""
    return b"=" + (value.encode() if isinstance(value, str) else value)


def _fields(entry: Any) -> dict[bytes, bytes]:
    words: Sequence[bytes] = entry[1]
    return dict(zip(words[::2], words[1::2], strict=True))


def _typed(entry: Any, names: Iterable[str]) -> Iterable[Any]:
    """The values of an entry by their names, each as what it was."""
    fields = _fields(entry)
    for name in names:
        value = fields.get(name.encode())
        if value is None or name in _BYTES:
            yield value
        else:
            yield int(value) if name in _NUMBERS else value.decode()
