"""Power cuts: a journal is written on a recording disk, and opened from what a cut at any moment may leave.

With synchronous FULL nothing acknowledged is lost. NORMAL and OFF do lose, which shows that the test bites; and where
a disk lied about its syncs, the loss is named.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Literal

import pytest

from eventbus.errors import JournalDamaged
from eventbus.journal.sqlite import SqliteJournal, SqliteReader
from eventbus.journal.sqlite import file as sqlite_file
from eventbus.journal.sqlite.check import check_file
from eventbus.journal.sqlite.guard import read_mark
from eventbus.journal.sqlite.place import mark_file
from eventbus.journal.sqlite.schema import Synchronous, connect
from eventbus.journal.values import Append, Settled
from eventbus.testing.crash_disk import CrashDisk

COMMITS = 40
_numbers = count()

Witness = Literal["none", "any", "newest"]


@dataclass
class Recording:
    """One run of a journal: what its disk saw, and after how many operations what was acknowledged."""

    disk: CrashDisk
    sent: dict[str, bytes] = field(default_factory=dict)
    acknowledged: list[tuple[int, int, int]] = field(default_factory=list)  # (operations, newest offset, floor)
    marks: list[tuple[int, bytes]] = field(default_factory=list)

    def promised(self, until: int) -> tuple[int, int]:
        """The newest offset and the floor that had been acknowledged by then."""
        at = bisect_right(self.acknowledged, until, key=lambda entry: entry[0])
        return self.acknowledged[at - 1][1:] if at else (0, 0)

    def mark(self, until: int, chance: random.Random, witness: Witness) -> bytes | None:
        """The mark that a cut may leave, or must have left if the disk kept it and nothing else."""
        at = bisect_right(self.marks, until, key=lambda entry: entry[0])
        if not at or witness == "none":
            return None
        return self.marks[at - 1 if witness == "newest" else chance.randrange(at)][1]


async def record(folder: Path, synchronous: Synchronous, chance: random.Random) -> Recording:
    """Run a journal: batches of all sizes, a group that follows, checkpoints now and then."""
    path = folder / "run.db"
    recording = Recording(CrashDisk(f"crash-{next(_numbers)}"))
    operations = recording.disk.operations

    def probe(point: str) -> None:
        if point == "marked":
            recording.marks.append((len(operations), mark_file(path).read_bytes()))

    journal = SqliteJournal(path, synchronous=synchronous, connect=recording.disk.connect, probe=probe)
    await journal.open()
    recording.marks.append((0, mark_file(path).read_bytes()))  # it was on the disk before the file was made
    await journal.open_group("g", "beginning")
    for commit in range(COMMITS):
        batch = [
            Append(f"{commit}-{place}", "t", 1, "event", None, 0, None, None, chance.randbytes(chance.randrange(6_000)))
            for place in range(chance.choice((1, 1, 1, 3, 12)))
        ]
        recording.sent.update((item.event_id, item.body) for item in batch)
        await journal.append(batch)
        floor = await journal.commit("g", [Settled(journal.last)], skip=[(1, chance.randrange(1, journal.last + 1))])
        recording.acknowledged.append((len(operations), journal.last, floor))
    await journal.close()
    return recording


def cut(recording: Recording, folder: Path, chance: random.Random, witness: Witness) -> str:
    """Leave an image of a cut at a random moment, open it, and say what became of what was promised."""
    until = chance.randrange(len(recording.disk.operations) + 1)
    path = folder / "run.db"
    for old in folder.iterdir():
        old.unlink()
    recording.disk.image(until, chance, folder)
    mark = recording.mark(until, chance, witness)
    if mark is not None:
        mark_file(path).write_bytes(mark)
    try:
        verified = check_file(path, connect, read_mark(path))
    except JournalDamaged:
        return "named"
    reached = (0, 0)
    if verified.last:
        with SqliteReader(path) as reader:
            found = reader.read(0, 10_000)
            progress = reader.groups().get("g")
            reached = (len(found), progress.floor if progress else 0)
        assert all(recording.sent[each.event_id] == each.body for each in found), "a record was invented"
    newest, floor = recording.promised(until)
    return "kept" if reached[0] >= newest and reached[1] >= floor else "lost"


async def fates(tmp_path: Path, synchronous: Synchronous, images: int, witness: Witness) -> Counter[str]:
    """Cut often, over several recordings; gives how often what became of the journal."""
    found: Counter[str] = Counter()
    for seed in range(max(2, images // 1_000)):
        chance = random.Random(seed)
        live, image = tmp_path / f"live-{seed}", tmp_path / f"image-{seed}"
        live.mkdir()
        image.mkdir()
        recording = await record(live, synchronous, chance)
        found.update(cut(recording, image, chance, witness) for _ in range(images // max(2, images // 1_000)))
    return found


@pytest.fixture(autouse=True)
def _frequent_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_file, "CHECKPOINT_PAGES", 30)


@pytest.mark.long
async def test_full_loses_nothing_acknowledged(tmp_path: Path) -> None:
    assert set(await fates(tmp_path, Synchronous.FULL, 2_000, "any")) == {"kept"}


@pytest.mark.torture
async def test_full_loses_nothing_acknowledged_in_100_000_cuts(tmp_path: Path) -> None:
    assert set(await fates(tmp_path, Synchronous.FULL, 100_000, "any")) == {"kept"}


@pytest.mark.parametrize("synchronous", [Synchronous.NORMAL, Synchronous.OFF])
async def test_less_than_full_loses(tmp_path: Path, synchronous: Synchronous) -> None:
    found = await fates(tmp_path, synchronous, 200, "none")
    assert found["lost"] + found["named"] > 20


@pytest.mark.parametrize("synchronous", [Synchronous.NORMAL, Synchronous.OFF])
async def test_a_loss_is_named_when_the_mark_is_left(tmp_path: Path, synchronous: Synchronous) -> None:
    found = await fates(tmp_path, synchronous, 200, "newest")
    assert found["lost"] == 0
    assert found["named"] > 20
