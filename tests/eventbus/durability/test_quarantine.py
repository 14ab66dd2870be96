"""Bytes that nobody can read are set aside once, with the reason, whoever meets them and however often."""

from __future__ import annotations

from pathlib import Path

import pytest

from eventbus import Event
from eventbus.durability.quarantine import Quarantine
from eventbus.durability.record import as_record
from eventbus.journal.sqlite import SqliteJournal
from eventbus.journal.values import Append

BAD = Append("bad-1", "t.bad", 1, "event", None, 5, None, None, b"\xff\x00")


async def test_a_record_that_can_be_read_is_an_event_and_nothing_is_kept(tmp_path: Path) -> None:
    event = Event("t.good", payload={"n": 1})
    async with SqliteJournal(tmp_path / "run.db") as journal:
        await journal.append([as_record(event)])
        quarantine = Quarantine(journal)
        (record,) = await journal.read(0)
        assert quarantine.try_to_read(record) == (event, None)
        assert await quarantine.read(record) == event
        assert (quarantine.count, await journal.quarantined()) == (0, [])


async def test_one_that_cannot_be_read_is_kept_once_and_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with SqliteJournal(tmp_path / "run.db") as journal:
        await journal.append([BAD])
        (record,) = await journal.read(0)
        quarantine = Quarantine(journal)
        for _ in range(3):
            assert await quarantine.read(record) is None
        (item,) = await journal.quarantined()
        assert (item.offset, item.raw, item.time_ns) == (1, BAD.body, 5)
        assert item.reason
        assert quarantine.count == 1
        later = Quarantine(journal)
        await later.load()
        assert later.try_to_read(record) == (None, None)
        assert later.count == 0
    assert [message for message in caplog.messages if "quarantined" in message] == [
        f"record quarantined: 1 of type t.bad: {item.reason}"
    ]
