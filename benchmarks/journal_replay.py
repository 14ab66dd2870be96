"""Reading a journal back: every record whole, checked and decoded, against a bare cursor over the bodies and `json`.

What a typed event costs beyond its JSON is the bus's to measure.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic_core import from_json

from benchmarks.journal_raw import record
from eventbus.journal.sqlite import SqliteJournal

RECORDS = 100_000
ROUNDS = 3


def run() -> dict[str, Any]:
    """Records per second of both, and their ratio."""
    with TemporaryDirectory() as folder:
        return asyncio.run(_compare(Path(folder, "run.db")))


async def _compare(path: Path) -> dict[str, Any]:
    ours = bare = 0.0
    async with SqliteJournal(path) as journal:
        for first in range(0, RECORDS, 5_000):
            await journal.append([record(number) for number in range(first, first + 5_000)])
        for _ in range(ROUNDS):
            bare = max(bare, RECORDS / _bare(path))
            ours = max(ours, RECORDS / await _ours(journal))
    return {"records_per_s": ours, "bare_records_per_s": bare, "ratio": ours / bare, "reach": 0.5}


async def _ours(journal: SqliteJournal) -> float:
    began = time.perf_counter()
    after = 0
    while records := await journal.read(after, 1_000):
        for each in records:
            from_json(each.body)
        after = records[-1].offset
    return time.perf_counter() - began


def _bare(path: Path) -> float:
    db = sqlite3.connect(path)
    began = time.perf_counter()
    for (body,) in db.execute("SELECT body FROM records ORDER BY offset"):
        json.loads(body)
    elapsed = time.perf_counter() - began
    db.close()
    return elapsed
