"""What the journal is measured against: SQLite in one thread, group commit, rows of an id and bytes. Nothing else.

No checksums, no idempotence, no groups: the floor under any durable journal in SQLite.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from queue import Empty, SimpleQueue

from eventbus.journal.base import Append

Row = tuple[str, bytes]
_Job = tuple["asyncio.Future[None]", Sequence[Row]]

BODY = (
    b'{"order_id":"o-1","symbol":"AAPL","side":"buy","size":"100","price":"187.2500","venue":"paper","note":"%s"}'
    % (b"x" * 200)
)


def record(number: int) -> Append:
    """One record of about 300 bytes, with an id that ascends as time-ordered ids do."""
    event_id = f"019a2b3c-{number >> 16 & 0xFFFF:04x}-7{number & 0xFFF:03x}-8000-{number:012x}"
    return Append(event_id, "trade.executed", 1, "execution", "AAPL", 1_700_000_000_000_000_000, event_id, None, BODY)


class RawWriter:
    """One writer thread that commits whatever waits and answers the loop once per commit."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def append(self, rows: Sequence[Row]) -> asyncio.Future[None]:
        """Answered after the commit."""
        future: asyncio.Future[None] = self._loop.create_future()
        self._queue.put((future, rows))
        return future

    def close(self) -> None:
        """Commit what waits, then end."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        db = sqlite3.connect(self._path, isolation_level=None)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("CREATE TABLE events (offset INTEGER PRIMARY KEY, id TEXT, body BLOB)")
        going = True
        while going:
            jobs: list[_Job] = []
            job = self._queue.get()
            while job is not None:
                jobs.append(job)
                try:
                    job = self._queue.get_nowait()
                except Empty:
                    break
            going = job is not None
            db.execute("BEGIN IMMEDIATE")
            db.executemany("INSERT INTO events (id, body) VALUES (?, ?)", [row for _, rows in jobs for row in rows])
            db.execute("COMMIT")
            self._loop.call_soon_threadsafe(self._answer, [future for future, _ in jobs])
        db.close()

    @staticmethod
    def _answer(futures: list[asyncio.Future[None]]) -> None:
        for future in futures:
            future.set_result(None)
