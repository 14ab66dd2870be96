"""A `qt` command to be killed. Arguments: the point to die at, how often to pass it first, then those of the command.

Points: `decided` (a decision event was dispatched), `interrupted` (the same, but the signal is that of Ctrl-C), `filled`
(between a fill and the ledger), `drafted` and `renamed` (inside the writing of a checkpoint, around its rename), and those of
the journal's writer, such as `committing` and `committed`.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import Callable
from functools import partialmethod
from typing import Any
from unittest.mock import patch

from eventbus.journal.sqlite import SqliteJournal
from quantum_trader.cli import main
from quantum_trader.execution.ledger import PortfolioLedger
from quantum_trader.monitoring.digest import ReplayDigest


class Death:
    """Comes the next time after so many passes by its point."""

    def __init__(self, point: str, passes: int) -> None:
        self._point = point
        self._left = passes

    def passed(self, point: str) -> None:
        if point == self._point:
            self._left -= 1
            if self._left == -1:
                os.kill(os.getpid(), signal.SIGINT if point == "interrupted" else signal.SIGKILL)


def lay_in_wait(death: Death) -> None:
    """Have every point say that it is passed."""
    _before(ReplayDigest, "on_event", lambda: death.passed("decided"))
    _before(ReplayDigest, "on_event", lambda: death.passed("interrupted"))
    _before(PortfolioLedger, "on_trade_executed", lambda: death.passed("filled"))
    patch.object(SqliteJournal, "__init__", partialmethod(SqliteJournal.__init__, probe=death.passed)).start()
    sync, calls = os.fsync, itertools.count()

    def fsync(file: int) -> None:
        death.passed("renamed" if next(calls) % 2 else "drafted")  # a file and then its directory, each time
        sync(file)

    patch.object(os, "fsync", fsync).start()


def _before(cls: type, name: str, say: Callable[[], None]) -> None:
    method = getattr(cls, name)

    async def wrapped(self: Any, event: Any) -> None:
        say()
        await method(self, event)

    patch.object(cls, name, wrapped).start()


if __name__ == "__main__":
    lay_in_wait(Death(sys.argv[1], int(sys.argv[2])))
    main(sys.argv[3:])
