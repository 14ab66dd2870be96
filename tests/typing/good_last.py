"""`last` gives what it was asked for, or nothing."""

from typing import assert_type

from eventbus import Event, InMemoryEventBus


class Fill(Event, type="typing.fill", retain=True):
    symbol: str


def use(bus: InMemoryEventBus) -> None:
    assert_type(bus.last(Fill), Fill | None)
    assert_type(bus.last("typing.fill", key="AAPL"), Event | None)
