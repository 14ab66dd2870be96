"""The journal that buses in one process share keeps the whole contract of a journal, and that of a shared one."""

from __future__ import annotations

import pytest

from eventbus.testing import SharedMemoryJournal, SharedMemoryLog, VirtualClock
from eventbus.testing.journal_contract import JournalContract, Make
from eventbus.testing.shared_contract import MakeShared
from eventbus.testing.shared_contract.cursors import CursorContract
from eventbus.testing.shared_contract.leases import LeaseContract
from eventbus.testing.shared_contract.records import SharedRecordContract


class TestSharedMemoryJournal(JournalContract):
    """As a journal."""

    @pytest.fixture
    def make(self) -> Make:
        log = SharedMemoryLog()
        return lambda: SharedMemoryJournal(log)


class TestSharedBetweenProcesses(SharedRecordContract, LeaseContract, CursorContract):
    """As a shared one. It has no network that could fail: that half of the contract is for servers."""

    @pytest.fixture
    async def log(self, virtual_clock: VirtualClock) -> SharedMemoryLog:
        return SharedMemoryLog(virtual_clock)

    @pytest.fixture
    def make(self, log: SharedMemoryLog) -> MakeShared:
        return lambda: SharedMemoryJournal(log, latency=0.002)
