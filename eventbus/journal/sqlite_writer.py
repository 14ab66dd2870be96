"""The writer thread of a journal file: the only one that touches its connection.

Jobs come in by a queue; whatever waits is one transaction, one commit, one answer to the loop. When the disk fails, the
file is closed, opened again and checked before anything else is accepted. Knows nothing of events.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import sqlite3
import threading
import time
from asyncio import AbstractEventLoop, Future
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeAlias

from eventbus.errors import JournalDamaged, JournalError, JournalInUse, JournalUnavailable, OutcomeUnknown
from eventbus.journal.integrity import Seal
from eventbus.journal.sqlite_check import check_file
from eventbus.journal.sqlite_guard import Guard, Mark
from eventbus.journal.sqlite_reads import Reads
from eventbus.journal.sqlite_repair import repair
from eventbus.journal.sqlite_schema import (
    Connect,
    Database,
    Probe,
    Synchronous,
    is_damage,
    is_full,
    is_passing,
    is_refusal,
    migrate,
    prepare,
    unavailable,
)
from eventbus.journal.sqlite_store import Counters, Store

log = logging.getLogger("eventbus")

MAX_JOBS = 1_024
MAX_RECORDS = 10_000
"""How much one commit takes together. More would only make the first wait for the last."""

CHECKPOINT_PAGES = 2_000  # estimated pages in the log before they are moved into the file
PAGES_PER_COMMIT = 4  # records, their index, seals, groups: a page of each is written anew
BYTES_PER_PAGE = 2_500  # of records, as a page is seldom full
LOG_CEILING_PAGES = 6_000  # beyond this the readers are waited for, briefly, so that the log can begin anew
# From which version to which two connections that write or checkpoint at once can damage a file; ours is only ever one.
WAL_RESET_BUG = ((3, 7, 0), (3, 51, 3))
LOOK_INTERVAL_S = 1.0  # how often an idle journal looks whether its file is still there

Job: TypeAlias = "tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]"
Answer: TypeAlias = "tuple[Future[Any], Any, BaseException | None]"

# Jobs that need no transaction: questions, and what SQLite does in one of its own.
_ALONE: frozenset[Callable[..., Any]] = frozenset(
    {getattr(Reads, name) for name in vars(Reads) if not name.startswith("_")}
    | {Store.committed, Store.overtaken, Store.plan_trim, Store.compact}
)
_CAREFUL: dict[Callable[..., Any], Callable[..., Any]] = {Store.append: Store.append_carefully}


@dataclass(frozen=True, slots=True)
class Settings:
    """How a journal file is opened and kept."""

    path: Path
    synchronous: Synchronous
    allow_damaged: bool
    keep_outcomes: bool
    connect: Connect
    probe: Probe


class Writer:
    """Runs jobs against a `Store`, in a thread of its own, until it is told to end."""

    def __init__(self, settings: Settings, loop: AbstractEventLoop, deliver: Callable[[list[Answer]], None]) -> None:
        self._settings = settings
        self._path = settings.path
        self._loop = loop
        self._deliver = deliver
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._guard = Guard(settings.path)
        self._token = secrets.token_hex(8)
        self._db: Database | None = None
        self._store: Store | None = None  # None while the disk fails
        self._lost: JournalError | None = None  # the file is not ours any more; only a new journal can mend that
        self._known: Mark | None = None
        self._in_commit = False
        self._next_look = 0.0
        self._tended_pages = 0
        self.counters = Counters()
        self.head: Seal | None = None
        self.first = 1
        self.failure: JournalError | None = None
        self.damage: JournalDamaged | None = None

    # --- from the loop ----------------------------------------------------------------------------------------------

    def start(self, opened: Future[None], closed: Future[None]) -> None:
        """Open the file in the thread. One future learns whether that went well, one when the file is free again."""
        name = f"journal {self._path.name}"
        threading.Thread(target=self._run, args=(opened, closed), name=name, daemon=True).start()

    def submit(self, job: Job) -> None:
        """Queue a job: a future, a function of `Store`, its arguments."""
        self._queue.put(job)

    def end(self) -> None:
        """Finish what was queued so far, then close."""
        self._queue.put(None)

    # --- the thread -------------------------------------------------------------------------------------------------

    def _run(self, opened: Future[None], closed: Future[None]) -> None:
        try:
            self._open(self._guard.acquire(_process_name()))
        except Exception as error:  # noqa: BLE001 - whoever opens waits for an answer
            self._close()
            self._answer([(opened, None, error), (closed, None, None)])
            return
        if WAL_RESET_BUG[0] <= sqlite3.sqlite_version_info < WAL_RESET_BUG[1]:
            log.info("sqlite is safe with one writer only", extra={"version": sqlite3.sqlite_version})
        self._answer([(opened, None, None)])
        going = True
        while going:
            jobs, going = self._take()
            try:
                self._run_jobs(jobs)
                self._tend()
            except Exception as error:  # noqa: BLE001 - a dead thread would leave everybody waiting
                self._lost = self.failure = JournalUnavailable(str(self._path), f"its writer failed ({error!r})")
                self._answer([(future, None, self._lost) for future, _, _ in jobs])
        self._close()
        self._answer([(closed, None, None)])

    def _take(self) -> tuple[list[Job], bool]:
        """Wait for a job, then take what else is there. False after the last."""
        jobs: list[Job] = []
        records = 0
        try:
            job = self._queue.get(timeout=LOOK_INTERVAL_S)
            while job is not None:
                jobs.append(job)
                if job[1] is Store.append:
                    records += len(job[2][0])
                if len(jobs) >= MAX_JOBS or records >= MAX_RECORDS:
                    return jobs, True
                job = self._queue.get_nowait()
        except Empty:
            return jobs, True
        return jobs, False

    def _run_jobs(self, jobs: list[Job]) -> None:
        """Jobs in their order; changes that follow each other share a transaction."""
        answers: list[Answer] = []
        changes: list[Job] = []
        for job in jobs:
            if job[1] not in _ALONE:
                changes.append(job)
                continue
            if changes:
                answers += self._change(changes)
                changes = []
            answers.append(self._do_alone(job))
        if changes:
            answers += self._change(changes)
        if answers:
            self._answer(answers)

    def _do_alone(self, job: Job) -> Answer:
        future, call, arguments = job
        try:
            return future, call(self._store or self._reopen(), *arguments), None
        except sqlite3.Error as error:
            return future, None, self._explain(error)
        except Exception as error:  # noqa: BLE001 - it belongs to whoever asked
            return future, None, error

    def _change(self, jobs: list[Job]) -> list[Answer]:
        """All of the jobs in one transaction; should one of them be refused, the others go on without it."""
        answers: list[Answer] = []
        self._in_commit = False
        try:
            store = self._writable()
            self._settings.probe("beginning")
            store.begin()
            try:
                answers = [(future, call(store, *arguments), None) for future, call, arguments in jobs]
                store.flush()
            except Exception as error:
                if not is_refusal(error):
                    raise
                store.abandon()
                store.reload()
                store.begin()
                answers = [_change_alone(store, job) for job in jobs]
            self._commit(store)
        except sqlite3.Error as error:
            return self._after_failure(jobs, answers, error)
        except JournalError as error:
            self.failure = error
            if isinstance(error, JournalInUse):
                self._lost = error
            return [(future, None, error) for future, _, _ in jobs]
        return answers

    def _commit(self, store: Store) -> None:
        probe = self._settings.probe
        probe("writing")
        if not store.write():
            store.abandon()
            return
        probe("committing")
        self._in_commit = True
        seal = store.commit_written()
        probe("committed")
        self._note(seal)
        probe("marked")
        if not self._guard.is_same_file():
            self._lose_file()

    def _note(self, seal: Seal) -> None:
        self.head, self._known = seal, Mark(seal.commits, seal.last, seal.digest)
        self.first = self._store.first if self._store else self.first
        self.failure = None
        try:
            self._guard.note(seal)
        except OSError as error:  # the commit stands; only the witness is missing, which has to be known
            self.failure = JournalUnavailable(str(self._path), f"its side file cannot be written ({error})")

    def _after_failure(self, jobs: list[Job], answers: list[Answer], error: sqlite3.Error) -> list[Answer]:
        """Nothing is answered before it is known what became of the transaction."""
        commits = self._known.commits if self._known else 0
        reason = self.failure = self._explain(error)
        try:
            store = self._recover(error)
        except JournalError as trouble:
            self.failure = trouble
            if not self._in_commit:
                return [(future, None, reason) for future, _, _ in jobs]
            return [(job[0], None, _unknown(job, reason)) for job in jobs]
        if store.head.commits > commits and answers:
            self._note(store.head)  # it was committed after all
            return answers
        return [(future, None, reason) for future, _, _ in jobs]

    def _recover(self, error: sqlite3.Error) -> Store:
        if is_passing(error) and self._store is not None:
            try:
                self._store.abandon()
                self._store.reload()
                return self._store
            except sqlite3.Error:
                pass
        return self._reopen()

    # --- opening and closing ----------------------------------------------------------------------------------------

    def _writable(self) -> Store:
        if self._lost is not None:
            raise self._lost
        store = self._store or self._reopen()
        if not store.is_claimed:
            store.claim(_process_name())
        return store

    def _open(self, mark: Mark, *, again: bool = False) -> Store:
        """Check the file with a reader, so that a damaged one stays as it is; then take it."""
        settings = self._settings
        try:
            try:
                check_file(self._path, settings.connect, mark)
            except JournalDamaged as damage:
                if again or not settings.allow_damaged:
                    raise
                kept = repair(self._path, settings.connect, mark)
                self.damage = damage
                log.error("damaged journal repaired", extra={"journal": str(self._path), "copy": str(kept)})
            self._db = db = settings.connect(self._path, False)
            prepare(db, settings.synchronous)
            migrate(db, self._path, settings.probe)
            store = Store(db, self._path, self._token, self.counters, keep_outcomes=settings.keep_outcomes)
            self._settle_in(db, store, again)
        except sqlite3.Error as error:
            raise self._explain(error) from error
        self._guard.watch()
        if self.damage is not None:
            self._guard.note(store.head)  # the repaired file is the true one from now on
        self._store, self.head, self.first = store, store.head, store.first
        self._known = Mark(store.head.commits, store.head.last, store.head.digest)
        return store

    def _settle_in(self, db: Database, store: Store, again: bool) -> None:
        """Bring the log into the file and to the disk, and sign the file."""
        try:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            store.claim(_process_name())
        except sqlite3.Error as error:
            # On a full disk what was accepted can still be delivered; the next change signs. After a failure, though,
            # what the log holds counts only once it is known to be on the disk.
            if again or not is_full(error):
                raise

    def _reopen(self) -> Store:
        """Close, check everything against what was acknowledged, open again. Raises why that is not possible."""
        if self._lost is not None:
            raise self._lost
        self._drop_connection()
        known = self._known
        assert known is not None
        return self._open(known, again=True)

    def _drop_connection(self) -> None:
        if self._db is not None:
            with suppress(sqlite3.Error):
                self._db.close()
        self._db = self._store = None

    def _close(self) -> None:
        if self._store is not None and self._lost is None:
            with suppress(sqlite3.Error):
                self._checkpoint("TRUNCATE")
        self._drop_connection()
        with suppress(OSError):
            self._guard.sync()
        self._guard.release()

    # --- upkeep -----------------------------------------------------------------------------------------------------

    def _tend(self) -> None:
        """After the answers are out: look after the file, and move the log into it when it has grown."""
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + LOOK_INTERVAL_S
            if self._lost is None and not self._guard.is_same_file():
                with suppress(JournalUnavailable):
                    self._lose_file()
        if self._store is None or self._lost is not None:
            return
        pages = PAGES_PER_COMMIT * self.counters.commits + self.counters.bytes // BYTES_PER_PAGE
        if pages - self._tended_pages < CHECKPOINT_PAGES:
            return
        try:
            if self._checkpoint("PASSIVE") > LOG_CEILING_PAGES:
                self._checkpoint("TRUNCATE")
        except sqlite3.Error as error:
            self.failure = self._explain(error)
            if not is_passing(error):
                self._drop_connection()
        self._tended_pages = pages

    def _checkpoint(self, mode: str) -> int:
        """Move the log into the file; gives the pages that were in the log. A reader in the way is left in peace."""
        assert self._db is not None
        self._settings.probe("checkpointing")
        self._db.execute(f"PRAGMA busy_timeout = {50 if mode == 'TRUNCATE' else 1000}").fetchall()
        row = self._db.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
        self._db.execute("PRAGMA busy_timeout = 1000").fetchall()
        self._settings.probe("checkpointed")
        self.counters.checkpoints += 1
        return int(row[1])

    def _lose_file(self) -> None:
        self._lost = self.failure = JournalUnavailable(str(self._path), "its file was removed or replaced")
        raise self._lost

    def _explain(self, error: sqlite3.Error) -> JournalError:
        if not is_damage(error):
            return unavailable(self._path, error)
        last = self._known.last if self._known else 0
        return JournalDamaged(str(self._path), first_bad=None, last_good=0, expected=last, reason=str(error))

    def _answer(self, answers: list[Answer]) -> None:
        try:
            self._loop.call_soon_threadsafe(self._deliver, answers)
        except RuntimeError:  # the loop is closed, and with it everybody who waited
            pass


def _change_alone(store: Store, job: Job) -> Answer:
    """One of several jobs of a transaction, so that it can be refused without the others."""
    future, call, arguments = job
    store.savepoint()
    try:
        result = _CAREFUL.get(call, call)(store, *arguments)
        store.flush()
    except Exception as error:
        if not is_refusal(error):
            raise
        store.rollback_to_savepoint()
        return future, None, error
    store.release_savepoint()
    return future, result, None


def _unknown(job: Job, reason: JournalError) -> JournalError:
    _, call, arguments = job
    return OutcomeUnknown(arguments[0][0].event_id, str(reason)) if call is Store.append else reason


def _process_name() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"
