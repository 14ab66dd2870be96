"""Checksums notice every change of a row, and reading follows what writing chained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic_core import PydanticSerializationError

from eventbus.journal.sqlite.integrity import GENESIS, Seal, chain, pack, row_crc, sound_bodies, sound_parts
from eventbus.testing.journal_contract import item, items

WIDTH = 6


def stored(first: int, last: int) -> list[list[Any]]:
    """Rows as they come back from the file."""
    flat = pack(items(first, last), first, GENESIS).parameters
    return [flat[at : at + WIDTH] for at in range(0, len(flat), WIDTH)]


def test_the_digest_of_reading_is_that_of_writing() -> None:
    assert chain(GENESIS, sound_parts(stored(1, 5))) == pack(items(1, 5), 1, GENESIS).digest


def test_the_digest_depends_on_everything_before() -> None:
    before = pack(items(1, 2), 1, GENESIS).digest
    assert pack(items(3, 3), 3, before).digest != pack(items(3, 3), 3, GENESIS).digest


CHANGES: list[Callable[[Any], Any]] = [lambda value: None, lambda value: "other", lambda value: 7]


@pytest.mark.parametrize("column", range(WIDTH))
@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_column_is_noticed(column: int, change: Callable[[Any], Any]) -> None:
    rows = stored(1, 3)
    before = rows[1][column]
    rows[1][column] = change(before)
    assert len(sound_parts(rows)) == (2 if rows[1][column] != before else 6)


def test_a_row_in_the_place_of_another_is_noticed() -> None:
    first, second = stored(1, 2)
    assert len(sound_parts([[1, *second[1:]], first])) == 0


@pytest.mark.parametrize("column", range(3))
@pytest.mark.parametrize("change", CHANGES)
def test_a_body_is_read_as_it_was_written_or_not_at_all(column: int, change: Callable[[Any], Any]) -> None:
    rows = [[offset, body, crc] for offset, _, _, _, body, crc in stored(1, 3)]
    whole = [(offset, body) for offset, body, _ in rows]
    assert sound_bodies(rows) == whole
    rows[1][column] = change(rows[1][column])
    assert sound_bodies(rows) == whole[:1]


def test_a_body_in_the_place_of_another_is_noticed() -> None:
    *_, body, crc = stored(1, 1)[0]
    assert sound_bodies([[2, body, crc]]) == []


def test_the_type_of_a_column_counts() -> None:
    assert len({row_crc("t", [value]) for value in (1, "1", b"1", None, "None")}) == 5
    assert row_crc("t", [1]) != row_crc("u", [1])


def test_a_seal_covers_each_of_its_fields() -> None:
    seal = Seal(1, 2, GENESIS, 4)
    others = [seal._replace(last=9), seal._replace(commits=9), seal._replace(digest=b""), seal._replace(ledger=9)]
    assert seal.crc not in {other.crc for other in others}


def test_an_event_that_is_no_text_is_refused() -> None:
    with pytest.raises(PydanticSerializationError):
        pack([item(1)._replace(key="\ud800")], 1, GENESIS)
