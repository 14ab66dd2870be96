"""Backends: the journal that a URL or a file stands for, to be opened and written. Each is loaded when it is first asked for.

`reader` is the same for looking only. Nobody else knows which backends there are.
"""

from __future__ import annotations

import os
from typing import Any

from eventbus.errors import PolicyConflict, UnknownBackend
from eventbus.journal.protocol import Journal
from eventbus.url import Url, parse_url


def journal_at(source: str | os.PathLike[str] | Url, **settings: Any) -> Journal:
    """The journal at a URL (`sqlite:///run.db`) or in a file, not opened yet, with the settings of its backend.

    Raises `UnknownBackend`, and `PolicyConflict` for a URL or a setting that it does not have.
    """
    if not isinstance(source, Url):
        is_url = isinstance(source, str) and "://" in source
        source = parse_url(str(source)) if is_url else Url("sqlite", path=source)
    if source.scheme != "sqlite":
        raise UnknownBackend(source.scheme, ["sqlite"])
    from eventbus.journal.sqlite import SqliteJournal  # only who uses it pays for it

    try:
        return SqliteJournal(source.file(), **settings)
    except TypeError as error:
        raise PolicyConflict("sqlite journal", str(error)) from error
