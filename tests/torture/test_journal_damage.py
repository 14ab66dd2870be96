"""Damage: one cut, flipped bit, hole, lost file or garbage in the files that a killed process leaves.

Every case is named, or changes nothing that can be read: no silent loss, no invented record.
"""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eventbus.errors import JournalDamaged, JournalUnavailable
from eventbus.journal.sqlite import SqliteJournal, SqliteReader
from eventbus.journal.sqlite.check import check_file
from eventbus.journal.sqlite.guard import read_mark
from eventbus.journal.sqlite.repair import LOST_TYPE
from eventbus.journal.sqlite.schema import connect
from eventbus.journal.values import Append, NewDeadLetter, NewQuarantined, Settled, Status

PARTS = ("run.db", "run.db-wal", "run.db-mark")
RECORDS = 400

Damage = Callable[[bytearray, random.Random], None]


def flip_a_bit(content: bytearray, chance: random.Random) -> None:
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)


def cut_the_end(content: bytearray, chance: random.Random) -> None:
    del content[chance.randrange(len(content)) :]


def zero_a_sector(content: bytearray, chance: random.Random) -> None:
    at = 512 * chance.randrange(-(-len(content) // 512))
    content[at : at + 512] = bytes(len(content[at : at + 512]))


def zero_the_header(content: bytearray, chance: random.Random) -> None:
    content[:100] = bytes(len(content[:100]))


def overwrite_a_page(content: bytearray, chance: random.Random) -> None:
    """A page in the place of another: each is sound in itself."""
    pages = len(content) // 4096
    source, target = (4096 * chance.randrange(pages) for _ in range(2)) if pages else (0, 0)
    content[target : target + 4096] = content[source : source + 4096]


def append_garbage(content: bytearray, chance: random.Random) -> None:
    content += chance.randbytes(chance.randrange(1, 9_000))


DAMAGES: tuple[Damage, ...] = (
    flip_a_bit,
    flip_a_bit,
    flip_a_bit,
    cut_the_end,
    zero_a_sector,
    zero_the_header,
    overwrite_a_page,
    append_garbage,
)


@pytest.fixture
async def killed(tmp_path: Path) -> Path:
    """The files of a process that was killed: half of it checkpointed, half of it in the log."""
    folder = tmp_path / "killed"
    folder.mkdir()
    chance = random.Random(1)
    journal = SqliteJournal(tmp_path / "run.db")
    await journal.open()
    await journal.open_group("g", "beginning")
    for number in range(RECORDS // 4):
        if number == RECORDS // 8:
            await journal.compact()
        await journal.append(
            [
                Append(f"event-{name}", "t", 1, "event", str(name), 0, None, None, chance.randbytes(size))
                for name, size in enumerate(chance.choices((20, 200, 9_000), (1, 2, 1), k=4), start=4 * number)
            ]
        )
        await journal.record_attempts("g", [journal.last])
        await journal.commit("g", [Settled(journal.last - 2, Status.SUCCEEDED)], skip=[(1, number + 1)])
        await journal.set_values("latch", {f"name-{number % 9}": chance.randbytes(40)})
    await journal.add_dead_letters([NewDeadLetter("s", "e", "t", None, "r", "x" * 500, 1, 0, 0, b"b")] * 20)
    await journal.add_quarantined([NewQuarantined(None, "r", 0, b"q" * 300)] * 20)
    for part in PARTS:
        shutil.copyfile(tmp_path / part, folder / part)
    await journal.close()
    return folder


def everything(path: Path) -> tuple[Any, ...]:
    """All that a reader can learn from a journal."""
    with SqliteReader(path) as reader:
        groups = {name: progress.cursor() for name, progress in reader.groups().items()}
        records = reader.read(0, 10_000)
        found = [reader.find(record.event_id) for record in records]
        return (
            records,
            found,
            groups,
            reader.values("latch"),
            reader.dead_letters(0, 99, None, True),
            reader.quarantined(0, 99),
        )


def damaged_copy(killed: Path, case: Path, chance: random.Random) -> None:
    shutil.rmtree(case, ignore_errors=True)
    shutil.copytree(killed, case)
    part = case / chance.choices(PARTS, (6, 5, 1))[0]
    if chance.random() < 0.02:
        part.unlink()
        return
    content = bytearray(part.read_bytes())
    chance.choice(DAMAGES)(content, chance)
    part.write_bytes(content)


def fate(case: Path, truth: tuple[Any, ...]) -> str:
    path = case / "run.db"
    try:
        check_file(path, connect, read_mark(path))
    except (JournalDamaged, JournalUnavailable):
        return "named"
    return "harmless" if everything(path) == truth else "silent"


@pytest.mark.parametrize(
    "cases", [200, pytest.param(400, marks=pytest.mark.long), pytest.param(10_000, marks=pytest.mark.torture)]
)
async def test_damage_is_named_or_harmless(killed: Path, tmp_path: Path, cases: int) -> None:
    shutil.copytree(killed, tmp_path / "truth")
    truth = everything(tmp_path / "truth" / "run.db")
    fates: Counter[str] = Counter()
    for seed in range(cases):
        damaged_copy(killed, tmp_path / "case", random.Random(seed))
        what = fate(tmp_path / "case", truth)
        assert what != "silent", f"seed {seed}"
        fates[what] += 1
    assert min(fates["named"], fates["harmless"]) > cases // 20  # both kinds occurred, so the test can tell them apart


@pytest.mark.parametrize("seeds", [range(30), pytest.param(range(30, 1_000), marks=pytest.mark.torture)])
async def test_a_damaged_journal_opens_on_request_with_what_is_sound(
    killed: Path, tmp_path: Path, seeds: range
) -> None:
    shutil.copytree(killed, tmp_path / "truth")
    written, *_ = everything(tmp_path / "truth" / "run.db")
    by_offset = {record.offset: record for record in written}
    case = tmp_path / "case"
    for seed in seeds:
        damaged_copy(killed, case, random.Random(seed))
        try:
            check_file(case / "run.db", connect, read_mark(case / "run.db"))
            continue
        except JournalUnavailable:
            continue
        except JournalDamaged as damage:
            before = {part: (case / part).read_bytes() for part in PARTS if (case / part).exists()}
            expected = damage.expected
        journal = SqliteJournal(case / "run.db", allow_damaged=True)
        await journal.open()
        assert journal.damage is not None
        assert journal.last >= expected
        records = await journal.read(journal.first - 1, 10_000)
        assert all(record == by_offset[record.offset] for record in records if record.type != LOST_TYPE)
        await journal.append([Append("later", "t", 1, "event", None, 0, None, None, b"")])
        await journal.verify()
        await journal.close()
        for part, content in before.items():
            assert (case / part.replace("run.db", "run.db.damaged-1")).read_bytes() == content
        again = SqliteJournal(case / "run.db")
        await again.open()
        assert again.damage is None
        await again.close()
