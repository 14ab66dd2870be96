"""The file under the writer: opened after a check, committed to, looked after, and taken up again when the disk failed.

Owns the connection, the lock and the mark. Called by the writer thread only; knows nothing of jobs or loops.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import sqlite3
import time
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

from eventbus.errors import JournalDamaged, JournalError, JournalInUse, JournalUnavailable
from eventbus.journal.sqlite.check import check_file
from eventbus.journal.sqlite.guard import NEW, Guard, Mark, Meddling
from eventbus.journal.sqlite.integrity import GENESIS, Seal
from eventbus.journal.sqlite.place import refuse_what_is_no_file
from eventbus.journal.sqlite.repair import repair
from eventbus.journal.sqlite.schema import (
    PAGE_BYTES,
    Connect,
    Database,
    Probe,
    Synchronous,
    is_damage,
    is_full,
    is_passing,
    migrate,
    prepare,
    unavailable,
)
from eventbus.journal.sqlite.store import Counters, Store

log = logging.getLogger("eventbus")

CHECKPOINT_PAGES = 1_000  # estimated pages in the log before they are moved into the file
PAGES_PER_COMMIT = 4  # records, their index, seals, groups: a page of each is written anew
BYTES_PER_PAGE = 5_000  # of records, as a page is seldom full
LOG_CEILING_PAGES = 3_000  # beyond this the readers are waited for, briefly, so that the log can begin anew
READERS_MS = 50  # how long; a reader that stays is asked again every time the file is looked after, without waiting
LOOK_INTERVAL_S = 1.0  # how often an idle journal looks whether its file is still there

OLDEST_SQLITE = (3, 37, 0)  # strict tables; RETURNING is older
# From which version to which two connections that write or checkpoint at once can damage a file; ours is only ever one.
WAL_RESET_BUG = ((3, 7, 0), (3, 51, 3))


@dataclass(frozen=True, slots=True)
class Settings:
    """How a journal file is opened and kept."""

    path: Path
    synchronous: Synchronous
    allow_damaged: bool
    accept_end: bool
    keep_outcomes: bool
    connect: Connect
    probe: Probe


class Fate(Enum):
    """What became of a transaction that failed."""

    UNDONE = auto()
    COMMITTED = auto()
    UNKNOWN = auto()


class JournalFile:
    """One journal file, held for writing. `failure` says why it cannot be written now, None while it can."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.path = settings.path
        self._guard = Guard(settings.path)
        self._token = secrets.token_hex(8)
        self._db: Database | None = None
        self._store: Store | None = None  # None while the disk fails
        self._lost: JournalError | None = None  # the file is not ours any more; only a new journal can mend that
        self._in_commit = False
        self._next_look = 0.0
        self._tended_pages = 0
        self._is_blocked = False  # by a reader whose transaction does not end: then the log cannot begin anew
        self.counters = Counters()
        self.head: Seal | None = None  # the newest that was acknowledged
        self.first = 1
        self.failure: JournalError | None = None
        self.damage: JournalDamaged | None = None

    # --- opening and closing ----------------------------------------------------------------------------------------

    def open(self) -> None:
        """Take the file. Raises `JournalInUse`, `JournalDamaged`, `JournalUnavailable`."""
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            oldest = ".".join(map(str, OLDEST_SQLITE))
            raise JournalUnavailable(str(self.path), f"SQLite {sqlite3.sqlite_version} is too old: {oldest} is needed")
        refuse_what_is_no_file(self.path)
        mark = self._guard.acquire(_process_name())
        try:
            self._open(mark)
        except BaseException:
            self._drop_connection()
            self._guard.withdraw()
            raise
        if WAL_RESET_BUG[0] <= sqlite3.sqlite_version_info < WAL_RESET_BUG[1]:
            log.info("sqlite is safe with one writer only", extra={"version": sqlite3.sqlite_version})

    def readable(self) -> Store:
        """The store, opened again if the disk failed before. Raises why that is not possible."""
        return self._store or self._reopen()

    def writable(self) -> Store:
        """The store, signed by this writer. Raises why nothing can be written."""
        if self._lost is not None:
            raise self._lost
        store = self.readable()
        if not store.is_claimed:
            store.claim(_process_name())
        return store

    def close(self) -> None:
        """Bring everything into the file and let go of it."""
        if self._store is not None and self._lost is None:
            with suppress(sqlite3.Error, JournalError):
                self._refuse_meddling()
                self._checkpoint("TRUNCATE", READERS_MS)
        self._drop_connection()
        with suppress(OSError):
            self._guard.sync()
        self._guard.release()

    def compact(self) -> int:
        """See `Journal.compact`."""
        store = self.readable()
        self._refuse_meddling()
        try:
            return store.compact()
        finally:
            self._guard.watch()

    def give_up(self, reason: JournalError) -> JournalError:
        """Write nothing any more; gives the reason back."""
        self._lost = self.failure = reason
        return reason

    # --- transactions -----------------------------------------------------------------------------------------------

    def begin(self) -> Store:
        """Begin a transaction."""
        self._in_commit = False
        try:
            store = self.writable()
        except JournalError as error:
            self.failure = error
            raise
        self._settings.probe("beginning")
        is_meddled = self._guard.meddling() is not None
        try:
            store.begin()
        except JournalInUse as error:
            raise self.give_up(error) from error
        except sqlite3.Error:
            if not is_meddled:
                raise
        if is_meddled:
            store.abandon()
            self._refuse_meddling()
        return store

    def commit(self, store: Store) -> None:
        """Make the changes true and known to the mark. Raises `JournalError` if somebody else was at the files by then."""
        probe = self._settings.probe
        probe("writing")
        if not store.write():
            store.abandon()
            return
        probe("committing")
        self._in_commit = True
        seal = store.commit_written()
        probe("committed")
        self._acknowledge(seal)
        probe("marked")
        self._refuse_meddling()
        self._guard.watch_log()

    def after_failure(self, error: sqlite3.Error) -> tuple[Fate, JournalError]:
        """Take the file up again, so that it is known what became of the transaction; and why it failed."""
        before = self.head
        reason = self.failure = self.explain(error)
        try:
            store = self._recover(error)
        except JournalError as trouble:
            self.failure = trouble
            return Fate.UNKNOWN if self._in_commit else Fate.UNDONE, reason
        if before is not None and store.head.commits > before.commits:
            self._acknowledge(store.head)
            return Fate.COMMITTED, reason
        return Fate.UNDONE, reason

    def explain(self, error: sqlite3.Error) -> JournalError:
        """The error of SQLite, said in our words."""
        if not is_damage(error):
            return unavailable(self.path, error)
        last = self.head.last if self.head else 0
        return JournalDamaged(str(self.path), first_bad=None, last_good=0, expected=last, reason=str(error))

    def _acknowledge(self, seal: Seal) -> None:
        self.head = seal
        self.first = self._store.first if self._store else self.first
        self.failure = None
        try:
            self._guard.note(seal)
        except OSError as error:  # the commit stands; only the witness is missing, which has to be known
            self.failure = JournalUnavailable(str(self.path), f"its mark cannot be written ({error})")

    def _recover(self, error: sqlite3.Error) -> Store:
        if is_passing(error) and self._store is not None:
            try:
                self._store.abandon()
                self._store.reload()
                return self._store
            except sqlite3.Error:
                pass
        return self._reopen()

    # --- the connection ---------------------------------------------------------------------------------------------

    def _open(self, mark: Mark | None, *, again: bool = False) -> Store:
        """Check the file with a reader, so that a damaged one stays as it is; then take it."""
        settings = self._settings
        try:
            try:
                check_file(self.path, settings.connect, mark)
            except JournalDamaged as damage:
                if again:
                    raise
                self._go_on(damage, mark)
                self.damage = damage
            else:
                if mark is None:
                    self._begin_mark(Seal(0, 0, GENESIS, 0))  # from now on, a journal without a mark has lost it
            self._db = db = settings.connect(self.path, False)
            prepare(db, settings.synchronous)
            migrate(db, self.path, settings.probe)
            store = Store(db, self.path, self._token, self.counters, keep_outcomes=settings.keep_outcomes)
            self._checkpoint_and_sign(db, store, again)
        except sqlite3.Error as error:
            raise self.explain(error) from error
        if self.damage is not None and not again:
            self._begin_mark(store.head)  # what was found or made is the true journal from now on
        self._guard.watch()
        self._store, self.head, self.first = store, store.head, store.first
        return store

    def _begin_mark(self, seal: Seal) -> None:
        try:
            self._guard.begin(seal)
        except OSError as error:
            raise JournalUnavailable(str(self.path), f"its mark cannot be written ({error})") from error

    def _go_on(self, damage: JournalDamaged, mark: Mark | None) -> None:
        """Go on with what is there, or what can be saved, as far as that was asked for. Raises what it was not asked for."""
        settings = self._settings
        about: dict[str, object] = {"journal": str(self.path), "damage": damage.reason}
        if settings.accept_end and damage.is_end:
            try:
                check_file(self.path, settings.connect, NEW)
            except JournalDamaged as other:
                damage = other
            else:
                about |= {"last": damage.last_good, "expected": damage.expected}
                log.warning("the end of a journal is accepted as it is: %s", damage, extra=about)
                return
        if not settings.allow_damaged:
            raise damage
        copy = repair(self.path, settings.connect, mark or NEW)
        log.error(
            "damaged journal repaired, what was there is in %s: %s", copy, damage, extra=about | {"copy": str(copy)}
        )

    def _checkpoint_and_sign(self, db: Database, store: Store, again: bool) -> None:
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
        head = self.head
        assert head is not None  # nothing is reopened that was not open
        return self._open(Mark(head.commits, head.last, head.digest), again=True)

    def _drop_connection(self) -> None:
        if self._db is not None:
            with suppress(sqlite3.Error):
                self._db.close()
        self._db = self._store = None

    # --- upkeep -----------------------------------------------------------------------------------------------------

    def tend(self) -> None:
        """Look whether the file is still there, and move the log into it when it has grown."""
        now = time.monotonic()
        is_look = now >= self._next_look
        if is_look:
            self._next_look = now + LOOK_INTERVAL_S
            with suppress(JournalError):
                self._refuse_meddling()
        if self._store is None or self._lost is not None:
            return
        pages = PAGES_PER_COMMIT * self.counters.commits + self.counters.bytes // BYTES_PER_PAGE
        if pages - self._tended_pages < CHECKPOINT_PAGES and not (is_look and self._is_blocked):
            return
        self._tended_pages = pages
        try:
            self._move_log()
        except JournalError:  # whoever asks next is told
            return
        except sqlite3.Error as error:
            self.failure = self.explain(error)
            if not is_passing(error):
                self._drop_connection()

    def _move_log(self) -> None:
        """Move the log into the file, and begin it anew if it is long. A reader in the way is left in peace, and named."""
        self._refuse_meddling()
        was_blocked = self._is_blocked
        pages = self._checkpoint("PASSIVE")
        if pages > LOG_CEILING_PAGES:
            pages = self._checkpoint("TRUNCATE", 0 if was_blocked else READERS_MS)
        self._is_blocked = pages > LOG_CEILING_PAGES
        self.counters.blocked(self._is_blocked)
        if self._is_blocked and not was_blocked:
            log.warning(
                "a reader holds back the log of %s: end its transaction, or it grows without bound",
                self.path,
                extra={"journal": str(self.path), "log_bytes": pages * PAGE_BYTES},
            )

    def _checkpoint(self, mode: str, wait_ms: int = 1000) -> int:
        """Move the log into the file; gives the pages that are in the log, 0 after a TRUNCATE that nobody hindered."""
        assert self._db is not None
        self._settings.probe("checkpointing")
        self._db.execute(f"PRAGMA busy_timeout = {wait_ms}").fetchall()
        try:
            row = self._db.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
        finally:
            self._guard.watch()
        self._db.execute("PRAGMA busy_timeout = 1000").fetchall()
        self._settings.probe("checkpointed")
        self.counters.checkpointed()
        return int(row[1])

    def _refuse_meddling(self) -> None:
        """Raise, and write nothing any more, if somebody else removed, replaced, cut or changed the files."""
        if self._lost is not None or (meddling := self._guard.meddling()) is None:
            return
        if meddling is Meddling.GONE:
            raise self.give_up(JournalUnavailable(str(self.path), meddling))
        last = self.head.last if self.head else 0
        raise self.give_up(JournalDamaged(str(self.path), first_bad=None, last_good=0, expected=last, reason=meddling))


def _process_name() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"
