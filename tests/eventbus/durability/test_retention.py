"""How much is kept: bounds that are none are refused, and a bus keeps its journal within them while it runs."""

from __future__ import annotations

import asyncio
import math
import random

import pytest

from eventbus import JournalUnavailable, PolicyConflict, Retention
from eventbus.durability.retention import retain
from eventbus.durability.trouble import Trouble
from eventbus.journal.values import Trimmed
from eventbus.road.lifetime import Lifetime
from eventbus.testing import VirtualClock


class Trimming:
    """A journal of which nothing but `trim` is asked; it fails when told so."""

    def __init__(self) -> None:
        self.asked: list[tuple[int | None, int | None]] = []
        self.fails = False

    async def trim(self, *, before_ns: int | None = None, max_bytes: int | None = None) -> Trimmed:
        self.asked.append((before_ns, max_bytes))
        if self.fails:
            raise JournalUnavailable("run.db", "the disk is full")
        return Trimmed(1, 2)


@pytest.mark.parametrize(
    "bounds",
    [
        *({"max_age": value} for value in (0, True, "1d", math.nan, math.inf, 10**30)),
        *({"max_bytes": value} for value in (-1, 0, 1.5, math.nan, math.inf)),
        *({"every": value} for value in (0, "60", None, math.nan, math.inf)),
    ],
)
def test_bounds_that_are_none_are_refused_by_name(bounds: dict[str, object]) -> None:
    with pytest.raises(PolicyConflict, match=f"retention.{next(iter(bounds))}"):
        Retention(**bounds)  # type: ignore[arg-type] # that is the point


async def test_it_looks_at_once_and_then_every_so_often_and_goes_on_when_it_failed(
    virtual_clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    journal, wanted = Trimming(), [True]
    lifetime = Lifetime(name="bus", clock=virtual_clock, rng=random.Random(1), grace=1.0)
    lifetime.crew.bind(asyncio.get_running_loop())
    bounds = Retention(max_age=100, max_bytes=5, every=10)
    now_ns = int(virtual_clock.now().timestamp() * 1e9)
    retaining = asyncio.create_task(
        retain(journal, bounds, virtual_clock, Trouble(lifetime), lambda: wanted[0])  # type: ignore[arg-type] # as much of one as it needs
    )
    await asyncio.sleep(0)
    ((before_ns, most_bytes),) = journal.asked
    assert before_ns == pytest.approx(now_ns - 100 * 10**9, abs=10**9)
    assert most_bytes == 5
    journal.fails = True
    await virtual_clock.advance(10)
    journal.fails = False
    await virtual_clock.advance(10)
    assert len(journal.asked) == 3
    assert sum("retention" in message for message in caplog.messages) == 1
    wanted[0] = False
    await virtual_clock.advance(10)
    assert retaining.done()
