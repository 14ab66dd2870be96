"""Integrity: the checksum that each record has, so that no altered one is taken for what was appended, and a look at all of them."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING
from zlib import crc32

from eventbus.errors import JournalDamaged
from eventbus.journal.values import Append, Record, Verified

if TYPE_CHECKING:
    from eventbus.journal.remote.storage import Storage

_PAGE = 1_000


def checksum(record: Append | Record) -> int:
    """Of what makes a record: id, type, key and body."""
    return crc32(record.body, crc32(f"{record.event_id}\n{record.type}\n{record.key}".encode()))


async def verified(storage: Storage, first: int, last: int) -> Verified:
    """Every record against its checksum, which reading does, and that none is missing. Raises `JournalDamaged`."""
    at, digest = first - 1, blake2b(digest_size=32)
    while at < last:
        page = await storage.read(at, _PAGE, None, last)
        for record in page:
            if record.offset != at + 1:
                break
            digest.update(b"%d %d\n" % (record.offset, checksum(record)))
            at += 1
        if not page or page[-1].offset != at:
            raise damaged(storage.server.place, at + 1, last, "a record is missing")
    return Verified(first, at, at - first + 1, digest.hexdigest())


def damaged(place: str, first_bad: int, expected: int, reason: str) -> JournalDamaged:
    """The error that names a record."""
    return JournalDamaged(place, first_bad=first_bad, last_good=first_bad - 1, expected=expected, reason=reason)
