"""Faults of the disk, the file and the owner: what cannot be done is said, and nothing is half done."""

from __future__ import annotations

import asyncio
import os
import resource
import sqlite3
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from itertools import count
from pathlib import Path

import apsw
import pytest

from eventbus.errors import JournalDamaged, JournalInUse, JournalUnavailable, OutcomeUnknown, WrongLoop
from eventbus.journal.sqlite import SqliteJournal, SqliteReader
from eventbus.journal.sqlite import file as sqlite_file
from eventbus.journal.sqlite.place import mark_file
from eventbus.journal.sqlite.schema import APPLICATION_ID, MIGRATIONS, PAGE_BYTES, Database, connect
from eventbus.journal.values import Appended, Durability, Settled
from eventbus.testing.crash_disk import CrashDisk
from eventbus.testing.journal_contract import item, items, offsets

_numbers = count()


class Failing:
    """A gate that lets `spare` operations pass, fails the next `times`, and then is well again."""

    def __init__(self, operation: str, suffix: str, code: int, *, spare: int = 0, times: int = 1) -> None:
        self._operation = operation
        self._suffix = suffix
        self._code = code
        self._spare = spare
        self._times = times

    def __call__(self, operation: str, file: str) -> None:
        if operation != self._operation or not file.endswith(self._suffix) or not self._times:
            return
        if self._spare:
            self._spare -= 1
            return
        self._times -= 1
        raise apsw.exception_for(self._code)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.db"


@pytest.fixture
def disk() -> CrashDisk:
    return CrashDisk(f"faulty-{next(_numbers)}")


@pytest.fixture
async def journal(path: Path, disk: CrashDisk) -> AsyncIterator[SqliteJournal]:
    """A journal with three records, on a disk that can be made to fail."""
    journal = SqliteJournal(path, connect=disk.connect)
    await journal.open()
    await journal.append(items(1, 3))
    yield journal
    await journal.close()


# --- the disk --------------------------------------------------------------------------------------------------------


async def test_a_full_disk_refuses_until_there_is_room(path: Path) -> None:
    connections: list[Database] = []
    most_pages = 1 << 30

    def remember(path: Path, read_only: bool) -> Database:
        connections.append(connect(path, read_only))
        return connections[-1]

    def limit(point: str) -> None:
        if point == "beginning":
            connections[-1].execute(f"PRAGMA max_page_count = {most_pages}")

    journal = SqliteJournal(path, connect=remember, probe=limit)
    await journal.open()
    await journal.append([item(1)])
    await journal.open_group("g", "beginning")
    most_pages = 1
    large = [item(number, body=bytes(9_000)) for number in range(2, 20)]
    with pytest.raises(JournalUnavailable, match="the disk is full"):
        await journal.append(large)
    assert "full" in str(journal.failure)
    assert offsets(await journal.read(0)) == [1]
    assert await journal.commit("g", [Settled(1)]) == 1  # needs no new page, so what was accepted goes on
    most_pages = 1 << 30
    assert (await journal.append(large))[0] == Appended(2)
    assert journal.failure is None
    await journal.verify()
    await journal.close()


async def test_what_was_accepted_can_be_read_on_a_full_disk(path: Path, disk: CrashDisk) -> None:
    async with SqliteJournal(path) as journal:
        await journal.append(items(1, 3))
    disk.gate = Failing("write", "", apsw.SQLITE_FULL, times=10_000)
    journal = SqliteJournal(path, connect=disk.connect)
    await journal.open()
    assert offsets(await journal.read(0)) == [1, 2, 3]
    with pytest.raises(JournalUnavailable, match="the disk is full"):
        await journal.append([item(4)])
    disk.gate = Failing("none", "", apsw.SQLITE_FULL)
    assert await journal.append([item(4)]) == [Appended(4)]
    await journal.close()


@pytest.mark.parametrize("spare", range(6))
async def test_a_full_log_leaves_no_part_of_a_batch(journal: SqliteJournal, disk: CrashDisk, spare: int) -> None:
    disk.gate = Failing("write", "-wal", apsw.SQLITE_FULL, spare=spare)
    with pytest.raises(JournalUnavailable, match="the disk is full"):
        await journal.append(items(4, 9))
    assert offsets(await journal.read(0)) == [1, 2, 3]
    assert (await journal.append(items(4, 9)))[0] == Appended(4)
    await journal.verify()


@pytest.mark.parametrize("operation", ["sync", "write"])
async def test_a_failed_commit_fails_one_publish_and_the_next_is_accepted(
    journal: SqliteJournal, disk: CrashDisk, operation: str
) -> None:
    disk.gate = Failing(operation, "-wal", apsw.SQLITE_IOERR_FSYNC)
    with pytest.raises(JournalUnavailable, match="the disk failed"):
        await journal.append([item(4)])
    assert offsets(await journal.read(0)) == [1, 2, 3]
    assert await journal.append([item(5)]) == [Appended(4)]
    assert journal.failure is None


async def test_a_disk_that_stays_broken_leaves_the_outcome_unknown_until_it_is_well(
    journal: SqliteJournal, disk: CrashDisk
) -> None:
    disk.gate = Failing("sync", "", apsw.SQLITE_IOERR_FSYNC, times=1_000)
    with pytest.raises(OutcomeUnknown) as unknown:
        await journal.append([item(4)])
    assert unknown.value.event_id == "event-000004"
    with pytest.raises(JournalUnavailable):
        await journal.append([item(5)])
    disk.gate = Failing("none", "", apsw.SQLITE_IOERR_FSYNC)
    (answer,) = await journal.append([item(4)])
    assert answer.offset == 4
    assert offsets(await journal.read(0)) == [1, 2, 3, 4]


async def test_a_file_that_can_only_be_read_is_refused_at_the_start(path: Path) -> None:
    async with SqliteJournal(path) as journal:
        await journal.append(items(1, 3))
    reading = SqliteJournal(path, connect=lambda path, read_only: connect(path, True))
    with pytest.raises(JournalUnavailable, match="can only be read"):
        await reading.open()
    async with SqliteJournal(path) as again:
        assert again.last == 3


async def test_a_journal_without_a_thread_says_so_and_opens_when_there_is_one(path: Path) -> None:
    journal = SqliteJournal(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Thread, "start", _no_thread)
        with pytest.raises(JournalUnavailable, match="could not be started"):
            await journal.open()
        await journal.close()
    async with journal:
        assert (await journal.append([item(1)]))[0].offset == 1


def _no_thread(_self: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


async def test_a_process_out_of_file_descriptors_is_refused_and_changes_nothing(path: Path) -> None:
    async with SqliteJournal(path) as journal:
        await journal.append(items(1, 3))
    before = path.read_bytes()
    usual = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = [os.open(os.devnull, os.O_RDONLY)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (held[0] + 50, usual[1]))
    try:
        with suppress(OSError):
            while True:
                held.append(os.open(os.devnull, os.O_RDONLY))
        for _spare in range(2):
            with pytest.raises(JournalUnavailable):
                await SqliteJournal(path).open()
            os.close(held.pop())
    finally:
        for each in held:
            os.close(each)
        resource.setrlimit(resource.RLIMIT_NOFILE, usual)
    assert path.read_bytes() == before
    async with SqliteJournal(path) as journal:
        assert journal.last == 3


async def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(JournalUnavailable, match=r"its folder .*nowhere is not there"):
        await SqliteJournal(tmp_path / "nowhere" / "run.db").open()


# --- the file --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("act", ["remove", "replace"])
async def test_a_file_that_is_gone_is_noticed_before_the_next_answer(
    journal: SqliteJournal, path: Path, act: str
) -> None:
    if act == "remove":
        path.unlink()
    else:
        path.with_name("other").write_bytes(b"")
        path.with_name("other").replace(path)
    with pytest.raises(JournalUnavailable, match="removed or replaced"):
        await journal.append([item(4)])
    with pytest.raises(JournalUnavailable, match="removed or replaced"):
        await journal.append([item(4)])


async def test_a_file_that_is_gone_is_noticed_without_a_publish(
    journal: SqliteJournal, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.unlink()
    async with asyncio.timeout(60):
        while journal.failure is None:
            await journal.wait(99, timeout=0.05)
    assert "removed or replaced" in str(journal.failure)


async def test_a_journal_that_was_emptied_is_not_a_new_one(path: Path) -> None:
    async with SqliteJournal(path) as journal:
        await journal.append(items(1, 3))
    path.unlink()
    with pytest.raises(JournalDamaged) as damage:
        await SqliteJournal(path).open()
    assert (damage.value.first_bad, damage.value.last_good, damage.value.expected) == (1, 0, 3)
    assert not path.exists()


async def test_an_older_copy_is_recognised(path: Path) -> None:
    async with SqliteJournal(path) as journal:
        await journal.append(items(1, 3))
    older = path.read_bytes()
    async with SqliteJournal(path) as journal:
        await journal.append(items(4, 9))
    path.write_bytes(older)
    with pytest.raises(JournalDamaged) as damage:
        await SqliteJournal(path).open()
    assert (damage.value.first_bad, damage.value.last_good, damage.value.expected) == (4, 3, 9)


async def test_another_history_of_the_same_length_is_recognised(path: Path, tmp_path: Path) -> None:
    for place, body in ((path, b"one"), (tmp_path / "other.db", b"two")):
        async with SqliteJournal(place) as journal:
            await journal.append([item(1, body=body)])
    (tmp_path / "other.db").replace(path)
    with pytest.raises(JournalDamaged, match="not those of its mark"):
        await SqliteJournal(path).open()


async def test_a_database_of_another_program_is_left_alone(path: Path) -> None:
    with sqlite3.connect(path) as foreign:
        foreign.execute("CREATE TABLE theirs (x)")
    foreign.close()
    before = path.read_bytes()
    with pytest.raises(JournalUnavailable, match="another program"):
        await SqliteJournal(path).open()
    assert path.read_bytes() == before


@pytest.mark.parametrize(("version", "why"), [(1, "before the first release"), (len(MIGRATIONS) + 1, "newer version")])
@pytest.mark.parametrize("allow_damaged", [False, True])
async def test_another_version_is_left_alone(path: Path, version: int, why: str, allow_damaged: bool) -> None:
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE records (x)")
        other.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        other.execute(f"PRAGMA user_version = {version}")
    other.close()
    before = path.read_bytes()
    with pytest.raises(JournalUnavailable, match=why):
        await SqliteJournal(path, allow_damaged=allow_damaged).open()
    assert path.read_bytes() == before


async def test_a_lost_mark_is_damage_until_the_end_is_accepted(path: Path) -> None:
    async with SqliteJournal(path) as journal:
        await journal.append(items(1, 3))
    mark_file(path).unlink()
    with pytest.raises(JournalDamaged, match="cannot tell") as damage:
        await SqliteJournal(path).open()
    assert (damage.value.is_end, damage.value.last_good, damage.value.expected) == (True, 3, 3)
    assert not mark_file(path).exists()
    async with SqliteJournal(path, accept_end=True) as journal:
        assert journal.damage is not None
        await journal.append(items(4, 4))
        assert (await journal.verify()).last == 4
    async with SqliteJournal(path) as journal:
        assert journal.last == 4


# --- the owner -------------------------------------------------------------------------------------------------------


async def test_a_second_writer_is_refused_and_changes_nothing(journal: SqliteJournal, path: Path) -> None:
    before = mark_file(path).read_bytes()
    with pytest.raises(JournalInUse, match=f"process {os.getpid()}"):
        await SqliteJournal(path).open()
    assert mark_file(path).read_bytes() == before
    assert await journal.append([item(4)]) == [Appended(4)]


async def test_a_writer_in_another_process_is_refused(journal: SqliteJournal, path: Path) -> None:
    program = (
        "import asyncio, sys\n"
        "from eventbus.errors import JournalInUse\n"
        "from eventbus.journal.sqlite import SqliteJournal\n"
        "try: asyncio.run(SqliteJournal(sys.argv[1]).open())\n"
        "except JournalInUse: sys.exit(7)\n"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, str(path))
    assert await process.wait() == 7
    assert await journal.append([item(4)]) == [Appended(4)]


async def test_a_writer_that_got_round_the_lock_stops_the_first(path: Path) -> None:
    first = SqliteJournal(path)
    await first.open()
    mark = mark_file(path).read_bytes()
    mark_file(path).unlink()
    mark_file(path).write_bytes(mark)
    async with SqliteJournal(path) as second:
        assert await second.append([item(1)]) == [Appended(1)]
        with pytest.raises(JournalInUse):
            await first.append([item(2)])
        await first.close()
        assert await second.append([item(2)]) == [Appended(2)]


async def test_a_forked_child_is_refused_and_does_not_hold_the_lock(path: Path) -> None:
    journal = SqliteJournal(path)
    await journal.open()
    release, hold = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(hold)
        code = 1
        try:
            journal.append([item(1)])
        except JournalInUse:
            os.read(release, 1)  # outlive the parent's journal
            code = 7
        finally:
            os._exit(code)
    os.close(release)
    assert await journal.append([item(1)]) == [Appended(1)]
    await journal.close()
    async with SqliteJournal(path) as again:
        assert await again.append([item(2)]) == [Appended(2)]
    os.close(hold)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7  # noqa: ASYNC222 - it ends at once


async def test_a_closed_journal_is_free_though_a_child_still_shares_its_handle(path: Path) -> None:
    """As one that was forked and has not come to run yet does."""
    journal = SqliteJournal(path)
    await journal.open()
    handles = [int(name) for name in os.listdir("/proc/self/fd") if name.isdigit()]
    shared = [os.dup(handle) for handle in handles if _name_of(handle).startswith(f"{path}")]
    try:
        await journal.close()
        async with SqliteJournal(path) as again:
            assert await again.append([item(1)]) == [Appended(1)]
    finally:
        for handle in shared:
            os.close(handle)
    assert len(shared) >= 1


def _name_of(handle: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{handle}")
    except FileNotFoundError:
        return ""  # it was the listing's own


async def test_a_journal_belongs_to_the_loop_that_opened_it(journal: SqliteJournal) -> None:
    def elsewhere() -> None:
        async def publish() -> None:
            await journal.append([item(4)])

        asyncio.run(publish())

    with pytest.raises(WrongLoop):
        await asyncio.to_thread(elsewhere)


# --- cancelling ------------------------------------------------------------------------------------------------------


async def test_an_append_cancelled_at_any_tick_is_settled_by_its_id(journal: SqliteJournal) -> None:
    for tick in range(20):
        publisher = asyncio.ensure_future(_publish(journal, tick))
        for _ in range(tick):
            await asyncio.sleep(0)
        publisher.cancel()
        await asyncio.gather(publisher, return_exceptions=True)
        await _publish(journal, tick)
    records = await journal.read(3)
    assert sorted(record.event_id for record in records) == [item(tick + 100).event_id for tick in range(20)]


async def _publish(journal: SqliteJournal, tick: int) -> None:
    await journal.append([item(tick + 100)])


async def test_opening_cancelled_at_any_tick_leaves_the_file_free(path: Path) -> None:
    for tick in range(8):
        journal = SqliteJournal(path)
        opening = asyncio.ensure_future(journal.open())
        for _ in range(tick):
            await asyncio.sleep(0)
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
        await journal.close()
        async with SqliteJournal(path) as again:
            assert again.last == 0


async def test_closing_goes_on_when_its_caller_is_cancelled(path: Path) -> None:
    journal = SqliteJournal(path)
    await journal.open()
    journal_closing = asyncio.ensure_future(journal.close())
    await asyncio.sleep(0)
    journal_closing.cancel()
    await asyncio.gather(journal_closing, return_exceptions=True)
    await journal.close()
    async with SqliteJournal(path) as again:
        assert again.last == 0


# --- levels and readers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("synchronous", "durability"),
    [
        ("full", Durability.POWER_LOSS),
        ("normal", Durability.PROCESS_CRASH),
        ("off", Durability.PROCESS_CRASH),
        ("NORMAL", Durability.PROCESS_CRASH),  # as SQLite writes it
    ],
)
def test_the_level_says_what_is_survived(path: Path, synchronous: str, durability: Durability) -> None:
    assert SqliteJournal(path, synchronous=synchronous).durability is durability


async def test_a_reader_sees_what_was_committed_and_blocks_nobody(journal: SqliteJournal, path: Path) -> None:
    await journal.close()
    async with SqliteJournal(path) as live:
        with SqliteReader(path) as reader:
            assert offsets(reader.read(0, 10)) == [1, 2, 3]
            await live.append([item(4)])
            assert offsets(reader.read(3, 10)) == [4]
            assert reader.verify().last == 4


def test_a_reader_of_nothing_says_so(path: Path) -> None:
    with pytest.raises(JournalUnavailable, match="no such file"):
        SqliteReader(path)
    sqlite3.connect(path).close()
    with pytest.raises(JournalUnavailable, match="no journal yet"):
        SqliteReader(path)


async def test_the_log_stays_small_beside_a_busy_reader(path: Path) -> None:
    async with SqliteJournal(path) as journal:
        with SqliteReader(path) as reader:
            for number in range(0, 24_000, 400):
                await journal.append([item(number + each, body=bytes(1_000)) for each in range(400)])
                reader.read(number, 100)
        stats = journal.stats()
        assert stats.file_bytes > 20 * 1024 * 1024
        assert stats.log_bytes < 64 * 1024 * 1024
        assert stats.checkpoints > 3


async def test_a_reader_that_pins_the_log_is_named_once_and_the_log_shrinks_when_it_is_gone(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "LOG_CEILING_PAGES", 100)
    monkeypatch.setattr(sqlite_file, "CHECKPOINT_PAGES", 50)
    monkeypatch.setattr(sqlite_file, "LOOK_INTERVAL_S", 0.01)
    async with SqliteJournal(path) as journal:
        await journal.append(items(1, 10))
        reader = connect(path, True)
        reader.execute("BEGIN").fetchall()
        reader.execute("SELECT count(*) FROM records").fetchall()
        for number in range(100, 4_000, 100):
            await journal.append([item(number + each, body=bytes(1_000)) for each in range(100)])
        assert journal.stats().blocked_checkpoints > 1
        assert journal.stats().log_bytes > 100 * PAGE_BYTES
        reader.close()
        while journal.stats().log_bytes:
            await journal.values("nothing")
    (warning,) = [record for record in caplog.records if "holds back" in record.message]
    assert warning.levelname == "WARNING"
