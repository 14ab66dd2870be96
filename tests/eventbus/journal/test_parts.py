"""Parts: what they are called, and which of them an event is in."""

from __future__ import annotations

from zlib import crc32

import pytest

from eventbus.journal.parts import part_name, part_of, split_part


@pytest.mark.parametrize(("group", "part"), [("ledger", 0), ("ledger", 15), ("desk/1", 2), ("a b:c", 3)])
def test_the_name_of_a_part_tells_group_and_part(group: str, part: int) -> None:
    assert split_part(part_name(group, part)) == (group, part)


@pytest.mark.parametrize("name", ["trim", "halt", "ledger/", "/x", "ledger/-1", "ledger/1.5"])
def test_other_names_are_of_no_part(name: str) -> None:
    assert split_part(name) is None


def test_an_event_is_in_the_part_of_its_key() -> None:
    assert part_of("ACME", "id", 16) == crc32(b"ACME") % 16
    assert part_of("é", "id", 16) == crc32("é".encode()) % 16
    assert part_of("", "id", 16) == 0  # an empty key is one
    assert part_of(None, "id", 16) == crc32(b"id") % 16
    assert {part_of(str(number), "", 16) for number in range(500)} == set(range(16))
    assert part_of("ACME", "id", 1) == 0
