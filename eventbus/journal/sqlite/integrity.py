"""Checksums: what every stored row carries so that damage is named, never read as truth.

A record has two CRCs, over its labels and over its body, each with its offset. Each transaction that adds records leaves
a *seal*: a digest chained over all records so far. Rows of small tables carry a CRC each, and the seal their sum, so that a
vanished row is missed too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from itertools import chain as flat
from typing import Any, NamedTuple, TypeAlias
from zlib import crc32

from pydantic_core import from_json, to_json

from eventbus.journal.values import Append, Record

GENESIS = hashlib.sha256(b"eventbus journal").digest()
"""The digest of a journal without records."""

Column: TypeAlias = int | str | bytes | None


class Seal(NamedTuple):
    """The state of the journal after one transaction.

    `last` is the newest offset, `commits` the number of transactions so far, `digest` the chain over all records,
    `ledger` the XOR of the CRCs of all rows in the small tables.
    """

    last: int
    commits: int
    digest: bytes
    ledger: int

    @property
    def crc(self) -> int:
        """The checksum kept beside the seal."""
        return row_crc("seals", self)


class Packed(NamedTuple):
    """A batch made ready: flat parameters for an INSERT of many rows, the digest after it, its size in bytes."""

    parameters: list[Column]
    digest: bytes
    size: int


def pack(batch: Sequence[Append], first: int, digest: bytes) -> Packed:
    """Number a batch from `first`, checksum each record, and chain the digest over it in one pass."""
    offsets = range(first, first + len(batch))
    ids = [item[0] for item in batch]
    labels = [to_json(item[1:8]).decode() for item in batch]
    bodies = [item[8] for item in batch]
    heads = [f"{offset}\0{id_}\0{text}".encode() for offset, id_, text in zip(offsets, ids, labels, strict=True)]
    rows = zip(offsets, ids, labels, map(crc32, heads), bodies, map(crc32, bodies, offsets), strict=True)
    content = b"".join((digest, *flat.from_iterable(zip(heads, bodies, strict=True))))
    return Packed(list(flat.from_iterable(rows)), hashlib.sha256(content).digest(), len(content))


def sound_parts(rows: Iterable[Sequence[Any]]) -> list[bytes]:
    """What `pack()` chained for these rows, two parts for each; it ends before the first that is not as it was written."""
    parts: list[bytes] = []
    try:
        for offset, event_id, labels, crc, body, body_crc in rows:
            head = f"{offset}\0{event_id}\0{labels}".encode()
            if crc32(head) != crc or crc32(body, offset) != body_crc:
                break
            parts += (head, body)
    except TypeError:  # damage turned the body into a value of another type
        pass
    return parts


def sound_bodies(rows: Iterable[Sequence[Any]]) -> list[tuple[int, bytes]]:
    """Offset and body of rows that are these and the CRC of the body; it ends before the first that is not as it was written."""
    bodies: list[tuple[int, bytes]] = []
    try:
        for offset, body, crc in rows:
            if crc32(body, offset) != crc:
                break
            bodies.append((offset, body))
    except TypeError:  # as above
        pass
    return bodies


def unpack(row: Sequence[Any]) -> Record:
    """The record of a sound row."""
    offset, event_id, labels, _, body, _ = row
    return tuple.__new__(Record, (offset, event_id, *from_json(labels, cache_strings="none"), body))


def chain(digest: bytes, parts: Iterable[bytes]) -> bytes:
    """The digest after more parts."""
    return hashlib.sha256(b"".join((digest, *parts))).digest()


def row_crc(table: str, columns: Sequence[Column]) -> int:
    """The checksum of a row of a small table. The type of each column counts, so 1, '1' and b'1' differ."""
    return crc32(repr((table, *columns)).encode("utf-8", "surrogatepass"))
