"""The contract of a journal, as tests that any backend inherits.

    class TestMyJournal(JournalContract):
        @pytest.fixture
        def make(self, tmp_path):
            return lambda: MyJournal(tmp_path / "run")

`make` gives a journal that is not open yet; called again, another one over the same storage.
"""

from eventbus.testing.journal_contract.items import item, items, letter, offsets
from eventbus.testing.journal_contract.opened import Make
from eventbus.testing.journal_contract.progress import ProgressContract
from eventbus.testing.journal_contract.records import RecordContract


class JournalContract(RecordContract, ProgressContract):
    """What every journal keeps."""


__all__ = ["JournalContract", "Make", "item", "items", "letter", "offsets"]
