"""A store is asked by one bus alone."""

from __future__ import annotations

import pytest

from eventbus import InMemoryEventBus, PolicyConflict
from eventbus.durability.memory_store import MemoryStore


def test_a_store_belongs_to_one_bus() -> None:
    store = MemoryStore()
    InMemoryEventBus(store=store)
    with pytest.raises(PolicyConflict, match="another bus"):
        InMemoryEventBus(store=store)
