"""Faults: what a user did or has that cannot work, as one line and an exit code. Anything else is a bug and shows itself."""

from __future__ import annotations

import sqlite3
from typing import Final

from eventbus import CodecError, GatewayError, IdConflict, JournalDamaged, JournalError
from eventbus.observability import MetricsPortUnavailable
from quantum_trader.config import ConfigError
from quantum_trader.control.policy_store import PolicyStoreError
from quantum_trader.feeds.paper import FeedBroken
from quantum_trader.learning.registry_reads import UnreadableRegistry
from quantum_trader.market.errors import DataError
from quantum_trader.monitoring.analytics import NoRun
from quantum_trader.own.loading import OwnCodeError
from quantum_trader.own.plain import NotPlain
from quantum_trader.runs.durable import RunDiffers
from quantum_trader.runs.folder import RunUnfinished
from quantum_trader.runs.story import NoOrder

CHECK_FAILED: Final = 1
USAGE: Final = 2
DATA: Final = 3
HALTED: Final = 4
INTERRUPTED: Final = 130  # as a shell says it


class Failed(Exception):
    """A command that ends with a message and an exit code of its own."""

    def __init__(self, message: str, code: int = CHECK_FAILED) -> None:
        super().__init__(message)
        self.code = code


EXPECTED: Final = (
    Failed,
    ConfigError,
    OwnCodeError,
    FeedBroken,
    NotPlain,
    DataError,
    NoRun,
    NoOrder,
    PolicyStoreError,
    UnreadableRegistry,
    RunDiffers,
    RunUnfinished,
    JournalError,
    CodecError,
    GatewayError,
    MetricsPortUnavailable,
    sqlite3.DatabaseError,
)


def exit_code(error: BaseException) -> int:
    """The exit code of an expected fault."""
    match error:
        case Failed():
            return error.code
        case IdConflict() | NoOrder():
            return CHECK_FAILED
        case DataError() | NoRun() | PolicyStoreError() | UnreadableRegistry() | RunDiffers() | JournalError():
            return DATA
        case CodecError() | sqlite3.DatabaseError():
            return DATA
        case _:
            return USAGE


def remedied(error: BaseException) -> str:
    """The message of an expected fault, with the remedy that a run has."""
    if isinstance(error, JournalDamaged):  # a better one than that of any other journal
        return f"{str(error).partition(';')[0]}; restore a copy, or start the run anew: it decides the same"
    if isinstance(error, CodecError | sqlite3.DatabaseError):
        return f"a file of the run is damaged ({error}); restore a copy, or start the run anew: it decides the same"
    if isinstance(error, IdConflict):
        return (
            f"event {error.event_id}: what is done again comes out differently; "
            "restore the program that the run was started with, or start the run anew"
        )
    return str(error)
