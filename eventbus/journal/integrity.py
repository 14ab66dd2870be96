"""Checksums: what every stored row carries so that damage is named, never read as truth.

A record has a CRC over its labels and body. Each transaction that adds records leaves a *seal*: a digest chained over
all records so far. Rows of small tables carry a CRC each, and the seal their sum, so that a vanished row is missed too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias
from zlib import crc32

from eventbus.journal.base import Append, Record

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


def pack(batch: Iterable[Append], first: int, digest: bytes) -> Packed:
    """Number a batch from `first`, checksum each record, and chain the digest over it in one pass."""
    parameters: list[Column] = []
    chained = [digest]
    offset = first
    for event_id, type_, version, kind, key, time_ns, correlation, causation, body, _ in batch:
        head = _head(offset, event_id, type_, version, kind, key, time_ns, correlation, causation)
        crc = crc32(body, crc32(head))
        parameters += (offset, event_id, type_, version, kind, key, time_ns, correlation, causation, crc, body)
        chained += (head, body)
        offset += 1
    content = b"".join(chained)
    return Packed(parameters, hashlib.sha256(content).digest(), len(content))


class Chain:
    """Follows stored records and tells whether they are what was written."""

    def __init__(self, digest: bytes) -> None:
        self._parts = [digest]

    def add(self, record: Record, crc: int) -> bool:
        """Take the next record; False if it is not the one that was written."""
        self._parts += (_head(*record[:9]), record.body)
        return is_sound(record, crc)

    def digest(self) -> bytes:
        """The digest up to here; the next record continues from it."""
        digest = hashlib.sha256(b"".join(self._parts)).digest()
        self._parts = [digest]
        return digest


def is_sound(record: Record, crc: int) -> bool:
    """Whether a record that was read is the one that was written."""
    try:
        return crc32(record.body, crc32(_head(*record[:9]))) == crc
    except TypeError:  # damage turned the body into a value of another type
        return False


def row_crc(table: str, columns: Sequence[Column]) -> int:
    """The checksum of a row of a small table. The type of each column counts, so 1, '1' and b'1' differ."""
    return crc32(repr((table, *columns)).encode("utf-8", "surrogatepass"))


def _head(
    offset: int,
    event_id: str,
    type_: str,
    version: int,
    kind: str,
    key: str | None,
    time_ns: int,
    correlation: str | None,
    causation: str | None,
) -> bytes:
    return f"{offset}\0{event_id}\0{type_}\0{version}\0{kind}\0{key}\0{time_ns}\0{correlation}\0{causation}".encode()
