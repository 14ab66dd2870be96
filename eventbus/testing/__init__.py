"""Testing: what a test of code on the bus needs: a started bus, a recorder, virtual time, handlers that misbehave.

The pytest plugin is loaded by itself; see `eventbus.testing.plugin` for its fixtures and markers. Who writes a backend finds its
contract in `journal_contract` and `shared_contract`, and private servers in `servers`.
"""

from eventbus.testing.recorder import Recorder
from eventbus.testing.shared_log import SharedMemoryLog
from eventbus.testing.shared_memory import SharedMemoryJournal
from eventbus.testing.virtual import Gate, VirtualClock, VirtualLoop, VirtualPool, VirtualTimeStuck, errors_of, settle

__all__ = [
    "Gate",
    "Recorder",
    "SharedMemoryJournal",
    "SharedMemoryLog",
    "VirtualClock",
    "VirtualLoop",
    "VirtualPool",
    "VirtualTimeStuck",
    "errors_of",
    "settle",
]
