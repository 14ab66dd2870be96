"""SIGKILL: a process that journals, handles and checkpoints dies at random moments and at every named point.

What it was promised stands in a log outside of the journal, and is compared after each death.
"""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from eventbus.journal.sqlite import SqliteJournal
from eventbus.journal.values import Record

POINTS = (
    "migrating",
    "beginning",
    "writing",
    "committing",
    "committed",
    "marked",
    "checkpointing",
    "checkpointed",
)
VICTIM = Path(__file__).with_name("journal_victim.py")
GROUP = "handler"
DEADLY = 7  # of so many records the handler gives up one
IN_FLIGHT = 10  # it takes so many at a time, and settles them together


class Ledger:
    """What the victims were promised, over all their lives."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.kept: dict[int, str] = {}
        self.settled: set[int] = set()
        self.handled: Counter[int] = Counter()
        self.lives = 0

    def read(self) -> None:
        """Take in what the last victim wrote."""
        if not self.path.exists():
            return
        for line in self.path.read_text().splitlines():
            match line.split():
                case ["kept", offset, event_id]:
                    assert self.kept.setdefault(int(offset), event_id) == event_id, "an offset was given twice"
                case ["handled", offset]:
                    self.handled[int(offset)] += 1
                case ["settled", offset]:
                    self.settled.add(int(offset))
        self.path.unlink()


def live_and_die(path: Path, ledger: Ledger, seed: int, point: str, passes: int, seconds: float) -> None:
    """Start a victim; it dies at its point, or after so many seconds."""
    arguments = (path, ledger.path, GROUP, DEADLY, IN_FLIGHT, seed, point, passes)
    with subprocess.Popen([sys.executable, str(VICTIM), *map(str, arguments)]) as victim:
        try:
            victim.wait(seconds)
        except subprocess.TimeoutExpired:
            victim.kill()
    assert victim.returncode == -signal.SIGKILL
    ledger.lives += 1
    ledger.read()


async def compare(path: Path, ledger: Ledger) -> None:
    """Open what the victim left, and hold it against the ledger."""
    journal = SqliteJournal(path)
    await journal.open()
    records: list[Record] = []
    while batch := await journal.read(len(records), 10_000):
        records += batch
    found = {record.offset: record.event_id for record in records}
    assert len(set(found.values())) == len(found), "an event is there twice"
    assert all(found.get(offset) == event_id for offset, event_id in ledger.kept.items()), "an event was lost"
    assert all(record.body == record.event_id.encode() * 20 for record in records), "a record was invented"
    cursor = await journal.open_group(GROUP, "beginning")
    assert all(cursor.is_settled(offset) for offset in ledger.settled), "a settled delivery was forgotten"
    done = [offset for offset in found if cursor.is_settled(offset)]
    assert all(ledger.handled[offset] for offset in done), "a delivery was forgotten before it was handled"
    again = {offset: count for offset, count in ledger.handled.items() if count > 1}
    assert sum(again.values()) - len(again) <= IN_FLIGHT * ledger.lives, "more was repeated than was in flight"
    assert all(count <= ledger.handled[offset] + ledger.lives for offset, count in cursor.attempts.items())
    assert all(cursor.attempts.get(offset, 0) >= ledger.handled[offset] for offset in found if offset not in done)
    dead = [letter.offset for letter in await journal.dead_letters(limit=1_000_000)]
    assert dead == [offset for offset in sorted(done) if offset % DEADLY == 0], "a dead letter is missing or doubled"
    await journal.verify()
    await journal.close()


async def cycles(tmp_path: Path, journals: int, lives: int) -> None:
    """So many journals, each written by so many processes in turn."""
    chance = random.Random(journals)
    for number in range(journals):
        path, ledger = tmp_path / f"{number}.db", Ledger(tmp_path / f"{number}.log")
        for life in range(lives):
            point = chance.choice(("", *POINTS)) if life else "migrating"
            passes = chance.randrange(8 if point == "migrating" else 40)
            await asyncio.to_thread(live_and_die, path, ledger, life, point, passes, 0.5 + chance.random())
            await compare(path, ledger)


@pytest.mark.long  # `make test` tries each named point
async def test_a_killed_process_loses_nothing_it_was_promised(tmp_path: Path) -> None:
    await cycles(tmp_path, 2, 5)


@pytest.mark.torture
async def test_a_thousand_killed_processes_lose_nothing_they_were_promised(tmp_path: Path) -> None:
    await cycles(tmp_path, 50, 20)


@pytest.mark.parametrize("point", POINTS)
async def test_every_named_point_is_survived(tmp_path: Path, point: str) -> None:
    ledger = Ledger(tmp_path / "log")
    await asyncio.to_thread(live_and_die, tmp_path / "run.db", ledger, 1, point, 2, 30.0)
    await compare(tmp_path / "run.db", ledger)
