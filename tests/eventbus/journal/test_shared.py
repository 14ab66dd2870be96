"""Leases and parts: what they are called, how long they are counted on, and which part an event is in."""

from __future__ import annotations

from zlib import crc32

import pytest

import eventbus
from eventbus.journal.shared import Lease, Part, part_name, part_of, split_part


def test_an_owner_counts_on_less_than_the_server_grants() -> None:
    assert Lease("ledger/3", 7, 10.0).local_ttl == 8.0


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


def test_a_part_of_a_commit_says_nothing_it_was_not_told() -> None:
    assert Part(Lease("g/0", 1, 1.0))[1:] == ((), (), (), ())


def test_the_errors_name_what_happened_and_the_remedy() -> None:
    lost = eventbus.LeaseLost("ledger/3", 7)
    assert (lost.name, lost.token) == ("ledger/3", 7)
    assert "acquire it again" in str(lost)
    changed = eventbus.ValueChanged("latch", "halt", 1, 3, b"x")
    assert (changed.space, changed.name, changed.expected, changed.version, changed.value) == (
        "latch",
        "halt",
        1,
        3,
        b"x",
    )
    unsafe = eventbus.BackendUnsafe("postgres", "fsync is off", "set fsync = on")
    assert str(unsafe) == "postgres refused: fsync is off; set fsync = on"
    loss = eventbus.BackendDataLoss("offset 5", "offset 3")
    assert (loss.expected, loss.found) == ("offset 5", "offset 3")
    assert "accept_data_loss()" in str(loss)
    assert all(issubclass(type(error), eventbus.JournalError) for error in (lost, changed, unsafe, loss))
