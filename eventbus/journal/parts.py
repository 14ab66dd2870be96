"""Parts: a group is cut into parts by key, so that processes can share it. Which one an event is in, and what a part is called."""

from __future__ import annotations

from zlib import crc32


def part_name(group: str, part: int) -> str:
    """The name of the lease, and of the cursor, of one part of a group: `ledger/3`."""
    return f"{group}/{part}"


def split_part(name: str) -> tuple[str, int] | None:
    """Group and part of such a name; None for any other."""
    group, slash, part = name.rpartition("/")
    return (group, int(part)) if slash and part.isdecimal() else None


def group_of(name: str) -> str:
    """The group that a cursor of that name is a part of; or the name, where it is no part."""
    return (split_part(name) or (name,))[0]


def part_of(key: str | None, event_id: str, parts: int) -> int:
    """Which of so many parts an event is in, by its key, or by its id where it has none: the same in every process and language."""
    return crc32((event_id if key is None else key).encode()) % parts
