"""URLs: what a backend is named by, taken apart exactly as it is written, or refused with what to write instead.

Knows no backend: which parts and which keys one has is its own affair.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes, urlsplit

from eventbus.errors import PolicyConflict

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NO_CODE = re.compile(r"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True)
class Url:
    """The parts of a URL, decoded; None for what is not there."""

    scheme: str
    host: str | None = None
    port: int | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    path: str | os.PathLike[str] | None = None
    query: Mapping[str, str] = field(default_factory=dict)

    def file(self) -> str:
        """The file that this names, for a backend without a server. Raises `PolicyConflict` when there is one, or no file."""
        if self.host is not None:
            meant = f"{self.host}/{self.path}" if self.path else self.host
            raise _refused(
                f"{self.host!r} would be a server, and {self.scheme} has none: write {self.scheme}:///{meant}"
            )
        if (self.user, self.password, self.port) != (None, None, None):
            raise _refused(f"{self.scheme} has no user and no port: write {self.scheme}:///name-of-the-file")
        if not self.path:
            raise _refused(f"{self.scheme} needs a file: write {self.scheme}:///name-of-the-file")
        return os.fspath(self.path)


def parse_url(text: str) -> Url:
    """The parts of `text`. Raises `PolicyConflict` naming what cannot be told, and how it is written.

    The path has no leading slash: `sqlite:///run.db` is relative, `sqlite:////var/run.db` absolute. `?` begins the query; in a
    name, `?`, `#` and `%` are written as %3F, %23 and %25, and anything else may be.
    """
    if control := _CONTROL.search(text):
        raise _refused(f"it holds a control character: write it as %{ord(control[0]):02X}, if it is meant")
    if "#" in text:
        raise _refused("'#' begins a fragment, and no backend has one: write %23 in a name")
    scheme, separator, rest = text.partition("://")
    if not separator:
        name = scheme.partition(":")[0]
        raise _refused(f"it begins with {name}:/// for a file, with {name}:// for a server")
    before, mark, query = rest.partition("?")
    if mark and not query:
        raise _refused("'?' begins a query, and none follows: write %3F in a name")
    try:
        parts = urlsplit(f"{scheme}://{before}")
        port = parts.port
    except ValueError as error:
        raise _refused(str(error)) from error
    return Url(
        scheme,
        host=parts.hostname,
        port=port,
        user=_decoded(parts.username),
        password=_decoded(parts.password),
        path=_decoded(parts.path.removeprefix("/")) or None,
        query=_query(query),
    )


def _query(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for item in text.split("&") if text else ():
        name, separator, value = item.partition("=")
        if not separator or not name:
            raise _refused(f"{item!r} after '?' is no setting such as name=value: in a name, '?' is written as %3F")
        key = _decoded(name) or ""
        if key in found:
            raise _refused(f"{key} is given twice")
        found[key] = _decoded(value) or ""
    return found


def _decoded(text: str | None) -> str | None:
    if text is None or "%" not in text:
        return text
    if wrong := _NO_CODE.search(text):
        raise _refused(f"{text[wrong.start() : wrong.start() + 3]!r} is no code such as %20: write % as %25")
    try:
        decoded = unquote_to_bytes(text).decode()
    except UnicodeDecodeError as error:
        raise _refused(f"%{error.object[error.start]:02X} is no UTF-8") from error
    if "\0" in decoded:
        raise _refused("%00 is no part of any name")
    return decoded


def _refused(reason: str) -> PolicyConflict:
    return PolicyConflict("url", reason)
