"""House: the stations of a bus know each other, and what cannot be is refused before any of them is there."""

from __future__ import annotations

from typing import Any

import pytest

from eventbus import InMemoryEventBus, PolicyConflict
from eventbus.testing import Recorder

pytestmark = pytest.mark.virtual_time


@pytest.mark.parametrize(
    "option",
    [
        {"max_queue_size": 0},
        {"max_workers": 1.5},
        {"max_bytes": -1},
        {"reserve": -1},
        {"history": None},
        {"grace": -0.1},
        {"seed": "one"},
        {"clock": object()},
        {"pool": object()},
        {"identify": 3},
        {"name": ""},
    ],
    ids=lambda option: next(iter(option)),
)
def test_what_cannot_be_is_refused_by_its_name(option: dict[str, Any]) -> None:
    with pytest.raises(PolicyConflict, match=next(iter(option))):
        InMemoryEventBus(**option)


def test_a_bus_without_a_name_gets_one_that_no_other_has() -> None:
    assert len({InMemoryEventBus().name for _ in range(3)}) == 3
    assert InMemoryEventBus(name="risk").name == "risk"


async def test_an_event_goes_through_all_of_it() -> None:
    heard = Recorder()
    async with InMemoryEventBus() as bus:
        bus.subscribe("house.*", heard)
        assert await bus.publish_and_wait("house.event") == []
    assert len(heard) == 1
    assert bus.stats().succeeded == 1
