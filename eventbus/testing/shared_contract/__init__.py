"""The contract of a journal that several processes share, as tests that any backend inherits, beside those of `JournalContract`.

    class TestMyJournal(SharedJournalContract):
        @pytest.fixture
        def make(self, server):
            return lambda: MyJournal("127.0.0.1", server.port)

        @pytest.fixture
        def port(self, server):
            return server.port

        @pytest.fixture
        def make_at(self, server):
            return lambda port: MyJournal("127.0.0.1", port)

`make` gives a journal that is not open yet, over the same storage each time; `make_at` the same journal, reached through another
port of the loopback, where a proxy stands that forwards to `port`. Each journal here stands for a process.
"""

from eventbus.testing.shared_contract.cursors import CursorContract
from eventbus.testing.shared_contract.faults import FaultContract
from eventbus.testing.shared_contract.leases import LeaseContract
from eventbus.testing.shared_contract.opened import MakeAt, MakeShared
from eventbus.testing.shared_contract.records import SharedRecordContract


class SharedJournalContract(SharedRecordContract, LeaseContract, CursorContract, FaultContract):
    """What every shared journal keeps."""


__all__ = ["MakeAt", "MakeShared", "SharedJournalContract"]
