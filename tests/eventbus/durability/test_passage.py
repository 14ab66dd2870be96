"""A group is told of every delivery of a run exactly once, whatever became of it: seen in what its journal says."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from eventbus import Event, Kind, Reject, RetryLater, create_event_bus
from eventbus.testing import Recorder

COUNT = 60


class Urgent(Event, type="test.passage.urgent", kind=Kind.CONTROL):
    """It overtakes."""

    n: int = 0


def moody() -> Any:
    """Most succeed; some answer, fail, wait or are retried."""
    taken: set[int] = set()

    async def handle(event: Event) -> int | None:
        is_first = event["n"] not in taken
        taken.add(event["n"])
        mood = event["n"] % 7
        if mood == 1:
            await asyncio.sleep(0)
        if mood == 2:
            raise Reject("never")
        if mood == 3 and is_first:
            raise RetryLater(after=0)
        return event["n"] if mood == 4 else None

    return handle


@pytest.mark.parametrize(
    "policy",
    [
        {},
        {"concurrency": 4},
        {"isolation": "task"},
        {"key": "n", "concurrency": 3},
        {"where": lambda event: event["n"] % 5},
        {"timeout": 60},
    ],
    ids=lambda policy: "-".join(policy) or "plain",
)
async def test_each_delivery_is_settled_once_by_what_became_of_it(tmp_path: Path, policy: dict[str, Any]) -> None:
    wanted = [n for n in range(COUNT) if "where" not in policy or n % 5]
    async with create_event_bus(f"sqlite:///{tmp_path}/run.db") as bus:
        bus.subscribe("t.*", moody(), group="moody", **policy)
        receipts = await bus.publish_many([Event("t.x", payload={"n": n}) for n in range(COUNT)])
        assert await bus.drain(60)
        outcomes = [await receipt for receipt in receipts]
        cursor = await bus.journal.committed("moody")
        stale = bus.journal.stats().stale_acks
        kept = await bus.journal.outcomes([receipt.offset or 0 for receipt in receipts])
    rejected = [n for n in wanted if n % 7 == 2]
    assert [len(each) for each in outcomes] == [int(n in wanted) for n in range(COUNT)]
    assert [outcomes[n][0].result for n in wanted] == [n if n % 7 == 4 else None for n in wanted]
    assert cursor is not None
    assert (cursor.floor, dict(cursor.attempts)) == (COUNT, {})
    assert dict(cursor.totals) == {"succeeded": len(wanted) - len(rejected), "dead_lettered": len(rejected)}
    assert sorted(each.offset - 1 for each in kept) == wanted
    assert stale == 0, "told twice"
    assert {each.offset - 1: each.attempts for each in kept} == {n: 2 if n % 7 == 3 else 1 for n in wanted}
    assert all(each.ran_ns is not None and each.queued_ns is not None for each in kept)


async def test_control_overtakes_what_the_group_has_read(tmp_path: Path) -> None:
    seen = Recorder()
    async with create_event_bus(f"sqlite:///{tmp_path}/run.db") as bus:
        held = bus.subscribe("*", seen, group="all")
        held.pause()
        await bus.publish_many([Event("t.x", payload={"n": n}) for n in range(3)])
        await bus.publish(Urgent(n=9))
        while held.stats().pending < 4:
            await bus.journal.read(0, 1)
        held.resume()
        assert await bus.drain(60)
    assert seen.values("n") == [9, 0, 1, 2]
