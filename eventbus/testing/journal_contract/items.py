"""Records and letters made from a number: what the contract of a journal, and tests of one backend, append."""

from __future__ import annotations

from collections.abc import Sequence

from eventbus.journal.values import (
    Append,
    Appended,
    NewDeadLetter,
    Record,
)


def item(
    number: int,
    *,
    body: bytes | None = None,
    type: str = "trade.executed",
    time_ns: int | None = None,
    root: int | None = None,
    retain: str | None = None,
) -> Append:
    """A record to append; its id and body follow from the number."""
    return Append(
        event_id=f"event-{number:06}",
        type=type,
        version=1,
        kind="event",
        key=f"key-{number % 3}" if number % 5 else None,
        time_ns=number * 1_000 if time_ns is None else time_ns,
        correlation_id=None if root is None else f"event-{root:06}",
        causation_id=None if root is None else f"event-{number - 1:06}",
        body=f"body-{number}".encode() if body is None else body,
        retain=retain,
    )


def items(first: int, last: int) -> list[Append]:
    """Records numbered `first` to `last`, both included."""
    return [item(number) for number in range(first, last + 1)]


def letter(offset: int | None, *, subscription: str = "ledger", error: str = "boom") -> NewDeadLetter:
    """A dead letter of this offset."""
    return NewDeadLetter(
        subscription, f"event-{offset}", "trade.executed", offset, "gave up", error, 3, 1_000, 2_000, b"body"
    )


def offsets(records: Sequence[Record | Appended]) -> list[int]:
    """The offsets alone."""
    return [record.offset for record in records]
