"""Starting again with 100,000 deliveries pending: open, check everything, and have the first records in hand."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.journal_raw import record
from eventbus.journal.sqlite import SqliteJournal

PENDING = 100_000


def run() -> dict[str, Any]:
    """Seconds until the journal is open, and until the first pending records were read."""
    with TemporaryDirectory() as folder:
        return asyncio.run(_recover(Path(folder, "run.db")))


async def _recover(path: Path) -> dict[str, Any]:
    async with SqliteJournal(path) as journal:
        await journal.open_group("g", "beginning")
        for first in range(0, PENDING, 5_000):
            await journal.append([record(number) for number in range(first, first + 5_000)])
    began = time.perf_counter()
    journal = SqliteJournal(path)
    await journal.open()
    opened = time.perf_counter() - began
    cursor = await journal.open_group("g")
    await journal.read(cursor.floor, 1_000)
    first_read = time.perf_counter() - began
    await journal.close()
    return {"open_s": opened, "first_records_s": first_read, "reach": {"open_s": 5.0, "first_records_s": 2.0}}
