"""Backends: the journal that a URL or a file stands for, to be opened and written. Each is loaded when it is first asked for.

`reader` is the same for looking only. Nobody else knows which backends there are.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from eventbus.errors import UnknownBackend
from eventbus.settings import Text, refuse_unknown, typed, types_of
from eventbus.url import Url, parse_url

if TYPE_CHECKING:
    from eventbus.journal.protocol import Journal

# What a URL may say besides, to the bus that writes there; who only opens the journal has no use for it.
_OF_THE_BUS = {
    *("lease", "parts", "on_data_loss", "forget_after", "journal_quotes", "retention_s", "retention_bytes"),
    *("write_behind", "batch", "delay", "max_queue_size"),
}


class _Backend(NamedTuple):
    """A class of journals, what it calls the place where it is, and how that is told from a URL."""

    journal: type[Any]
    place: str
    placed: Callable[[Url], Any]


def journal_at(source: str | os.PathLike[str] | Url, **settings: Any) -> Journal:
    """The journal at a URL (`sqlite:///run.db`) or in a file, not opened yet, with the settings of its backend.

    Raises `UnknownBackend`, `MissingDriver`, and `PolicyConflict` for a URL or a setting that it does not have.
    """
    url = source if isinstance(source, Url) else url_of(source)
    asked = {key: Text(value) for key, value in url.query.items() if key not in _OF_THE_BUS}
    return journal_of(url, asked | settings)


def journal_of(url: Url, settings: Mapping[str, Any], *, besides: Iterable[str] = _OF_THE_BUS) -> Journal:
    """The same; for an unknown setting it is said that there are those `besides`, too."""
    load = _BACKENDS.get(url.scheme)
    if load is None:
        raise UnknownBackend(url.scheme, _BACKENDS)
    backend = load()
    known = types_of(backend.journal, without=(backend.place,))
    refuse_unknown(url.scheme, settings, [*known, *besides])
    journal: Journal = backend.journal(backend.placed(url), **typed(settings, known))
    return journal


def url_of(source: str | os.PathLike[str]) -> Url:
    """A URL as it is, or that of a file. Raises `PolicyConflict` for one that cannot be told."""
    is_url = isinstance(source, str) and "://" in source
    return parse_url(str(source)) if is_url else Url("sqlite", path=source)


def _sqlite() -> _Backend:
    from eventbus.journal.sqlite import SqliteJournal  # only who uses it pays for it

    return _Backend(SqliteJournal, "path", Url.file)


def _postgres() -> _Backend:
    from eventbus.journal.postgres import PostgresJournal  # it has a driver of its own

    return _Backend(PostgresJournal, "url", lambda url: url)


def _nats() -> _Backend:
    from eventbus.journal.nats import NatsJournal  # it has a driver of its own

    return _Backend(NatsJournal, "url", lambda url: url)


def _redis() -> _Backend:
    from eventbus.journal.redis import RedisJournal  # it has a driver of its own

    return _Backend(RedisJournal, "url", lambda url: url)


_BACKENDS: Mapping[str, Callable[[], _Backend]] = {
    "nats": _nats,
    "sqlite": _sqlite,
    "postgres": _postgres,
    "postgresql": _postgres,
    "redis": _redis,
    "rediss": _redis,
}
