"""Table: every row, by subject, in the order in which it is read."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks import (
    churn,
    handlers,
    journal,
    memory,
    nats,
    postgres,
    publishing,
    redis,
    routes,
    stats,
    trading,
    waiting,
    wrapped,
)
from benchmarks.rows import Row

TABLE: dict[str, tuple[Row, ...]] = {
    module.__name__.rpartition(".")[2]: module.ROWS
    for module in (
        handlers,
        publishing,
        routes,
        waiting,
        churn,
        memory,
        stats,
        wrapped,
        journal,
        nats,
        postgres,
        redis,
        trading,
    )
}
ROWS: tuple[Row, ...] = tuple(row for rows in TABLE.values() for row in rows)


def row_named(name: str) -> Row:
    return next(row for row in ROWS if row.name == name)


def selected(words: Iterable[str]) -> list[Row]:
    """Rows of a subject, or with that word in their names; all without any. Raises `LookupError` for a word that nothing has."""
    wanted = list(words)
    if not wanted:
        return list(ROWS)
    chosen: set[str] = set()
    for word in wanted:
        found = TABLE.get(word) or [row for row in ROWS if word.lower() in row.name.lower()]
        if not found:
            raise LookupError(word)
        chosen.update(row.name for row in found)
    return [row for row in ROWS if row.name in chosen]
