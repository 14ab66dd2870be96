"""Integrity: the checksum that each record has, so that no altered one is taken for what was appended."""

from __future__ import annotations

from zlib import crc32

from eventbus.journal.values import Append, Record


def checksum(record: Append | Record) -> int:
    """Of what makes a record: id, type, key and body."""
    return crc32(record.body, crc32(f"{record.event_id}\n{record.type}\n{record.key}".encode()))
