"""SIGKILL of a whole bus: what was acknowledged is there, what was handled stays handled, what was not is handled in the end.

The outside log of the victims is held against the journal after every death, and once more when all is handled.
"""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from eventbus.codec import decode
from eventbus.journal.sqlite import SqliteJournal
from eventbus.journal.values import Cursor, Record

POINTS = ("beginning", "writing", "committing", "committed", "marked", "checkpointing", "checkpointed")
VICTIM = Path(__file__).with_name("bus_victim.py")
CONCURRENCY = 4
DEADLY = 17
PROMISES = 30  # that a victim gives before its time begins to run, however long it takes to begin
PATIENCE_S = 120.0
REPEATED = 256  # what may have begun and not be committed: attempts in flight, and outcomes that wait for one commit


class Ledger:
    """What the victims said, over all their lives."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.kept: dict[str, int] = {}
        self.handled: Counter[str] = Counter()
        self.began: Counter[str] = Counter()
        self.order: list[str] = []
        self.lives = 0
        self.most_repeated = 0  # deliveries of one group repeated because of one death

    def written(self) -> str:
        """What the last victim wrote and was not taken in."""
        return self.path.read_text() if self.path.exists() else ""

    def read(self) -> None:
        """Take in what the last victim wrote."""
        text = self.written()
        self.path.unlink(missing_ok=True)
        repeated = 0
        for line in text.splitlines():
            match line.split():
                case ["kept", offset, event_id]:
                    assert self.kept.setdefault(event_id, int(offset)) == int(offset), "an event got a second offset"
                case ["handled", event_id]:
                    self.handled[event_id] += 1
                case ["began", event_id]:
                    self.began[event_id] += 1
                case ["ordered", event_id]:
                    repeated += event_id in self.order[-2_000:]
                    self.order.append(event_id)
        self.most_repeated = max(self.most_repeated, repeated)


def live(path: Path, ledger: Ledger, seed: int, point: str, passes: int, seconds: float | None = None) -> int:
    """One life of a victim: it dies at its point, or so many seconds after it promised something; gives how it ended."""
    arguments = (path, ledger.path, seed, point, passes)
    with subprocess.Popen([sys.executable, str(VICTIM), *map(str, arguments)]) as victim:
        deadline = time.monotonic() + (PATIENCE_S if seconds else 0)
        while victim.poll() is None and ledger.written().count("kept") < PROMISES and time.monotonic() < deadline:
            time.sleep(0.01)
        try:
            victim.wait(PATIENCE_S if seconds is None else seconds)
        except subprocess.TimeoutExpired:
            victim.kill()
    ledger.lives += 1
    ledger.read()
    assert victim.returncode is not None
    return victim.returncode


async def compare(path: Path, ledger: Ledger, *, is_end: bool = False) -> None:
    """Open what the victim left, and hold it against the ledger."""
    async with SqliteJournal(path) as journal:
        records: list[Record] = []
        while batch := await journal.read(len(records), 10_000):
            records += batch
        cursors = {group: await journal.committed(group) for group in ("several", "ordered")}
        letters = await journal.dead_letters(limit=1_000_000)
        await journal.verify()
    found = {record.event_id: record.offset for record in records}
    assert len(found) == len(records), "an event is there twice"
    assert {id_: found.get(id_) for id_ in ledger.kept} == ledger.kept, "an acknowledged event was lost"
    told = {record.event_id: decode(record.body)["n"] for record in records if record.type == "told.once"}
    settled = {group: settled_ids(cursor, told, found) for group, cursor in cursors.items() if cursor}
    deadly = {event_id for event_id, n in told.items() if n % DEADLY == 0}
    dead = [letter.event_id for letter in letters]
    for event_id in settled.get("several", ()):
        assert ledger.handled[event_id] or event_id in deadly, "a delivery was forgotten before it was handled"
        assert event_id in deadly or f"echo-{event_id}" in found, "what followed from it was lost"
    assert settled.get("ordered", set()) <= set(ledger.order), "a delivery was forgotten before it was handled"
    assert sorted(dead) == sorted(deadly & settled.get("several", set())), "a dead letter is missing or doubled"
    first_seen = list(dict.fromkeys(ledger.order))
    assert first_seen == sorted(first_seen, key=found.__getitem__), "first attempts were out of order"
    repeated = sum(count - 1 for count in ledger.handled.values())
    assert repeated <= ledger.lives * REPEATED, "more was repeated than was in flight"
    assert ledger.most_repeated <= REPEATED, "more was repeated than was in flight"
    if is_end:
        assert all(group == told.keys() for group in settled.values()), "something is left"
        assert len(settled) == 2
        assert all(ledger.handled[event_id] for event_id in told.keys() - deadly)


def settled_ids(cursor: Cursor, told: dict[str, int], found: dict[str, int]) -> set[str]:
    return {event_id for event_id in told if cursor.is_settled(found[event_id])}


async def cycles(tmp_path: Path, journals: int, lives: int) -> int:
    """So many journals, each run by so many processes in turn, and by one more that may finish. Gives the deaths."""
    chance = random.Random(journals)
    deaths = 0
    for number in range(journals):
        path, ledger = tmp_path / f"{number}.db", Ledger(tmp_path / f"{number}.log")
        for life in range(lives):
            point = chance.choice(("", *POINTS)) if life else ""
            code = await asyncio.to_thread(
                live, path, ledger, life, point, chance.randrange(60), 0.2 + 0.7 * chance.random()
            )
            assert code == -signal.SIGKILL
            deaths += 1
            if path.exists():
                await compare(path, ledger)
        assert await asyncio.to_thread(live, path, ledger, lives, "drain", 0) == 0
        await compare(path, ledger, is_end=True)
        assert len(ledger.kept) >= PROMISES
    return deaths


@pytest.mark.long  # `make test` tries the two points around the commit
async def test_a_killed_bus_loses_nothing_and_forgets_nothing(tmp_path: Path) -> None:
    assert await cycles(tmp_path, 1, 4) == 4


@pytest.mark.parametrize("point", ["committing", "committed"])
async def test_a_bus_that_dies_around_its_commit_loses_nothing(tmp_path: Path, point: str) -> None:
    path, ledger = tmp_path / "run.db", Ledger(tmp_path / "log")
    assert await asyncio.to_thread(live, path, ledger, 1, point, 20) == -signal.SIGKILL
    await compare(path, ledger)
    assert await asyncio.to_thread(live, path, ledger, 2, "drain", 0) == 0
    await compare(path, ledger, is_end=True)


@pytest.mark.torture
async def test_a_bus_killed_a_thousand_times_loses_nothing_and_forgets_nothing(tmp_path: Path) -> None:
    assert await cycles(tmp_path, 50, 20) == 1_000
