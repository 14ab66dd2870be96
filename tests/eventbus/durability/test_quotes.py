"""Quotes that are not journalled reach other processes all the same, and leave nothing in the log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from eventbus import Event, InMemoryEventBus, Kind
from eventbus.testing import Recorder, SharedMemoryLog

pytestmark = pytest.mark.virtual_time
Make = Callable[..., InMemoryEventBus]


class Ticked(Event, type="test.quotes.ticked", kind=Kind.QUOTE, key="symbol", retain=True):
    """A price."""

    symbol: str
    price: float


async def test_quotes_are_told_and_not_written(make: Make, log: SharedMemoryLog) -> None:
    first, second = make(journal_quotes=False), make(journal_quotes=False)
    heard = Recorder(), Recorder()
    await first.connect()
    await second.connect()
    for bus, recorder in zip((first, second), heard, strict=True):
        bus.subscribe(Ticked, recorder)
    for price in range(3):
        await first.publish(Ticked(symbol="AAPL", price=price))
        await asyncio.sleep(0.1)
    await first.publish("t.x")
    await asyncio.sleep(2)
    assert heard[0].values("price") == heard[1].values("price") == [0, 1, 2]
    assert log.last == 1
    last = second.last(Ticked, "AAPL")
    assert last is not None
    assert last.price == 2


async def test_a_lost_hint_loses_a_quote_and_nothing_else(make: Make, log: SharedMemoryLog) -> None:
    first, second, heard = make(journal_quotes=False), make(journal_quotes=False), Recorder()
    await first.connect()
    await second.connect()
    second.subscribe("*", heard)
    log.hints = False
    await first.publish(Ticked(symbol="AAPL", price=1))
    await first.publish("t.x", {"n": 1})
    await asyncio.sleep(3)
    assert [event.type for event in heard.events] == ["t.x"]
