"""The writer thread of a journal file: the only one that touches its connection.

Jobs come in by a queue; whatever waits is one transaction, one commit, one answer to the loop. Knows nothing of SQL or
of what a job is about.
"""

from __future__ import annotations

import sqlite3
import threading
from asyncio import AbstractEventLoop, Future
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, TypeAlias

from eventbus.errors import JournalError, JournalUnavailable, OutcomeUnknown
from eventbus.journal.sqlite.file import LOOK_INTERVAL_S, Fate, JournalFile
from eventbus.journal.sqlite.reads import Reads
from eventbus.journal.sqlite.schema import is_refusal
from eventbus.journal.sqlite.store import Store

MAX_JOBS = 1_024
MAX_RECORDS = 10_000
"""How much one commit takes together. More would only make the first wait for the last."""

Job: TypeAlias = "tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]"
Answer: TypeAlias = "tuple[Future[Any], Any, BaseException | None]"

# Jobs that need no transaction: questions, and what SQLite does in one of its own.
_ALONE: frozenset[Callable[..., Any]] = frozenset(
    {getattr(Reads, name) for name in vars(Reads) if not name.startswith("_")}
    | {Store.committed, Store.overtaken, Store.plan_trim, Store.compact}
)
_CAREFUL: dict[Callable[..., Any], Callable[..., Any]] = {Store.append: Store.append_carefully}


class Writer:
    """Runs jobs against a `Store`, in a thread of its own, until it is told to end."""

    def __init__(self, file: JournalFile, loop: AbstractEventLoop, deliver: Callable[[list[Answer]], None]) -> None:
        self._file = file
        self._loop = loop
        self._deliver = deliver
        self._queue: SimpleQueue[Job | None] = SimpleQueue()

    # --- from the loop ----------------------------------------------------------------------------------------------

    def start(self, opened: Future[None], closed: Future[None]) -> None:
        """Open the file in the thread. One future learns whether that went well, one when the file is free again.

        Raises `JournalUnavailable` when the system gives no thread.
        """
        name = f"journal {self._file.path.name}"
        try:
            threading.Thread(target=self._run, args=(opened, closed), name=name, daemon=True).start()
        except RuntimeError as error:
            raise JournalUnavailable(str(self._file.path), f"its writer could not be started ({error})") from error

    def submit(self, job: Job) -> None:
        """Queue a job: a future, a function of `Store`, its arguments."""
        self._queue.put(job)

    def end(self) -> None:
        """Finish what was queued so far, then close."""
        self._queue.put(None)

    # --- the thread -------------------------------------------------------------------------------------------------

    def _run(self, opened: Future[None], closed: Future[None]) -> None:
        try:
            self._file.open()
        except Exception as error:  # noqa: BLE001 - whoever opens waits for an answer
            self._file.close()
            self._answer([(opened, None, error), (closed, None, None)])
            return
        self._answer([(opened, None, None)])
        going = True
        while going:
            jobs, going = self._take()
            try:
                self._run_jobs(jobs)
                self._file.tend()
            except Exception as error:  # noqa: BLE001 - a dead thread would leave everybody waiting
                reason = self._file.give_up(JournalUnavailable(str(self._file.path), f"its writer failed ({error!r})"))
                self._answer([(future, None, reason) for future, _, _ in jobs])
        self._file.close()
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
            if call is Store.compact:
                return future, self._file.compact(), None
            return future, call(self._file.readable(), *arguments), None
        except sqlite3.Error as error:
            return future, None, self._file.explain(error)
        except Exception as error:  # noqa: BLE001 - it belongs to whoever asked
            return future, None, error

    def _change(self, jobs: list[Job]) -> list[Answer]:
        """All of the jobs in one transaction; should one of them be refused, the others go on without it."""
        answers: list[Answer] = []
        try:
            store = self._file.begin()
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
            self._file.commit(store)
        except sqlite3.Error as error:
            return self._after_failure(jobs, answers, error)
        except JournalError as error:
            return [(future, None, error) for future, _, _ in jobs]
        return answers

    def _after_failure(self, jobs: list[Job], answers: list[Answer], error: sqlite3.Error) -> list[Answer]:
        """Nothing is answered before it is known what became of the transaction, or that this cannot be known."""
        match self._file.after_failure(error):
            case Fate.COMMITTED, _ if answers:
                return answers
            case Fate.UNKNOWN, reason:
                return [(job[0], None, _unknown(job, reason)) for job in jobs]
            case _, reason:
                return [(future, None, reason) for future, _, _ in jobs]

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
