"""Registry reads: looking up what the registry holds, beside the run that writes it or long after."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

STRATEGY: Final = "STRATEGY"
MODEL: Final = "MODEL"
POLICY: Final = "POLICY"
LIMITS: Final = "LIMITS"

_SELECT: Final = """
SELECT v.version, v.payload_json, v.sha256, v.created_session,
       (SELECT stage FROM stages s WHERE s.kind = v.kind AND s.id = v.id AND s.version = v.version
        ORDER BY number DESC LIMIT 1)
FROM versions v WHERE v.kind = ? AND v.id = ?
"""


class NotRegistered(LookupError):
    """There is no such version. The message names kind, id and version; register it first."""

    def __init__(self, kind: str, id_: str, version: int | None) -> None:
        wanted = "any version" if version is None else f"version {version}"
        super().__init__(f"{kind} {id_}: {wanted} is not registered; register it first")


class UnreadableRegistry(Exception):
    """There is no readable registry in that file. Remove it: it is made again from the journal of the run."""

    def __init__(self, path: str | Path) -> None:
        super().__init__(f"{path}: no readable registry; remove it, and qt resume makes it again from the journal")
        self.path = path


@dataclass(frozen=True, slots=True)
class Entry:
    """One version. `payload` is plain JSON, `sha256` its digest, `stage` the last one recorded, "" if none was."""

    kind: str
    id: str
    version: int
    payload: Mapping[str, Any]
    sha256: str
    created_session: int
    stage: str


class RegistryReads:
    """What can be asked of a registry. A context manager that closes its file."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; nothing can be read or written after."""
        self._db.close()

    def get(self, kind: str, id_: str, version: int | None = None) -> Entry:
        """One version, the newest when none is named. Raises NotRegistered."""
        wanted = version if version is not None else self.latest_version(kind, id_)
        if not wanted:
            raise NotRegistered(kind, id_, version)
        return self._read(kind, id_, wanted)

    def latest_version(self, kind: str, id_: str) -> int:
        """Number of the newest version, 0 when there is none."""
        found = self._db.execute("SELECT max(version) FROM versions WHERE kind = ? AND id = ?", (kind, id_)).fetchone()
        return int(found[0] or 0)

    def ids(self, kind: str) -> tuple[str, ...]:
        """Everything registered of a kind, sorted."""
        rows = self._db.execute("SELECT DISTINCT id FROM versions WHERE kind = ? ORDER BY id", (kind,))
        return tuple(row[0] for row in rows)

    def stages(self, kind: str, id_: str) -> tuple[tuple[int, str, int], ...]:
        """The history of an id's stages as (version, stage, session), oldest first."""
        rows = self._db.execute(
            "SELECT version, stage, session FROM stages WHERE kind = ? AND id = ? ORDER BY number", (kind, id_)
        )
        return tuple((row[0], row[1], row[2]) for row in rows)

    def history(self, kind: str, id_: str) -> tuple[Entry, ...]:
        """Every version of an id, oldest first."""
        return tuple(self._read(kind, id_, version) for version in range(1, self.latest_version(kind, id_) + 1))

    def _read(self, kind: str, id_: str, version: int) -> Entry:
        row = self._db.execute(f"{_SELECT} AND v.version = ?", (kind, id_, version)).fetchone()
        if row is None:
            raise NotRegistered(kind, id_, version)
        return Entry(kind, id_, row[0], json.loads(row[1]), row[2], row[3], row[4] or "")


@contextmanager
def registry_view(path: Path) -> Iterator[RegistryReads]:
    """The registry in a file, to look at. Raises `UnreadableRegistry`, also when the damage is met later."""
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as db:
            db.execute("SELECT count(*) FROM versions, stages")
            yield RegistryReads(db)
    except (sqlite3.Error, ValueError) as cause:  # a ValueError: what should be text or JSON is none
        raise UnreadableRegistry(path) from cause
