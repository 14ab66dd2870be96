"""Code against the protocol runs on every bus."""

from collections.abc import Sequence
from typing import assert_type

from eventbus import DeadLetter, Event, EventBus, Explanation, create_event_bus


async def use(bus: EventBus, cause: Event) -> None:
    assert_type(await bus.explain(cause.event_id), Explanation)
    assert_type(await bus.dead_letters.list(), list[DeadLetter])
    assert_type(await bus.dead_letters.redrive(where=lambda letter: letter.attempts > 1), int)
    assert_type(await bus.dead_letters.purge(), int)
    await bus.rearm(bus.halt("drawdown"))
    await bus.publish("typing.effect", cause=cause)
    async for event in bus.replay(since=1, types="typing.*"):
        assert_type(event, Event)


def look(events: Sequence[Event], offset: int | None) -> None: ...


create_event_bus().tap(look).cancel()
