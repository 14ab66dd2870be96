"""Leases: how long they are counted on; what a commit says unasked; what the errors of a shared journal name."""

from __future__ import annotations

import eventbus
from eventbus.journal.shared import Lease, Part


def test_an_owner_counts_on_less_than_the_server_grants() -> None:
    assert Lease("ledger/3", 7, 10.0).local_ttl == 8.0


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
