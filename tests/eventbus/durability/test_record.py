"""An event as a journal keeps it: its labels beside its body, and what retains it."""

from __future__ import annotations

from datetime import UTC, datetime

from eventbus import Event
from eventbus.codec import decode
from eventbus.durability.record import as_record


class Kept(Event, type="test.record.kept", version=2, key="symbol", retain=True):
    """It is retained by its symbol."""

    symbol: str


def test_labels_are_those_of_the_event_and_the_body_is_all_of_it() -> None:
    event = Kept(symbol="AAPL", timestamp=datetime(2030, 1, 1, tzinfo=UTC))
    record = as_record(event)
    assert (record.event_id, record.type, record.version, record.key) == (event.event_id, "test.record.kept", 2, "AAPL")
    assert record.time_ns == 1_893_456_000 * 10**9
    assert record.retain == "test.record.kept AAPL"
    assert decode(record.body) == event
    assert as_record(Event("t.x")).retain is None
