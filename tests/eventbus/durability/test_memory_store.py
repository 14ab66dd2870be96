"""What a bus in memory answers where only a journal could: a refusal that names it, at the call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from eventbus import InMemoryEventBus, PolicyConflict


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("replay", lambda bus: bus.replay()),
        ("replay", lambda bus: bus.replay_to(print)),
        ("flush", lambda bus: bus.flush()),
        ("trim", lambda bus: bus.trim(before=1)),
        ("journal", lambda bus: bus.journal),
    ],
)
def test_what_needs_a_journal_is_refused_at_the_call(name: str, call: Callable[[InMemoryEventBus], Any]) -> None:
    with pytest.raises(PolicyConflict, match="sqlite") as refused:
        call(InMemoryEventBus())
    assert refused.value.argument == name


async def test_what_happens_is_noted_nowhere_and_everything_else_works() -> None:
    async with InMemoryEventBus() as bus:

        async def fail(_event: object) -> None:
            raise ValueError

        bus.subscribe("t.x", fail)
        token = bus.halt("drill")
        receipt = await bus.publish("t.x")
        assert await bus.drain(60)
        await bus.rearm(token)
        assert await bus.dead_letters.redrive() == 1
        assert await bus.drain(60)
        assert await bus.dead_letters.purge() == 1
        assert (await bus.explain(receipt.event_id)).handled[receipt.event_id][0].status == "dead_lettered"
