"""What `create_event_bus` gives is known: a bus in memory for memory, the protocol for the rest."""

from collections.abc import Mapping
from typing import assert_type

from eventbus import EventBus, InMemoryEventBus, create_event_bus

assert_type(create_event_bus(), InMemoryEventBus)
assert_type(create_event_bus("memory://"), InMemoryEventBus)
assert_type(create_event_bus("sqlite:///run.db"), EventBus)


def configured(url: str, settings: Mapping[str, object]) -> EventBus:
    assert_type(create_event_bus(url), EventBus)
    return create_event_bus(settings)


in_memory: EventBus = InMemoryEventBus()
