"""A handler that raises on one event in a hundred, against the same bus with one that never does."""

from __future__ import annotations

import logging
import statistics
from functools import partial
from typing import Any

from benchmarks.compare import Now, Settings, Side, in_turns, ratios
from benchmarks.sides import Counted, Witness, counted, through_bus
from eventbus import InMemoryEventBus

EVENTS = 20_000
ONE_IN, NEVER = 100, 10**9


async def bus(count: int, now: Now, *, fails_one_in: int = ONE_IN) -> float:
    events, bus = counted(count), InMemoryEventBus()
    witness = Witness()
    append = witness.seen.append

    async def on_event(event: Any) -> None:
        append(event)
        if not (event.n + 1) % fails_one_in:
            raise ValueError(event.n)

    bus.subscribe(Counted, on_event)
    seconds = await through_bus(bus, events, now)
    witness.check(events)
    failed = [event for event in events if not (event["n"] + 1) % fails_one_in]
    if [letter.event for letter in bus.dead_letters] != failed:
        raise AssertionError("a failed delivery is no dead letter, or they are out of order")
    return seconds


def run(settings: Settings) -> dict[str, Any]:
    logging.getLogger("eventbus").setLevel(logging.ERROR)  # its one warning is expected here
    taken = in_turns(
        settings, {"none fails": Side(partial(bus, fails_one_in=NEVER), EVENTS), "one in 100 fails": Side(bus, EVENTS)}
    )
    each = ratios(taken["one in 100 fails"], taken["none fails"])
    return {
        "none_fails_ns": statistics.median(taken["none fails"]),
        "some_fail_ns": statistics.median(taken["one in 100 fails"]),
        "times_as_long": statistics.median(each),
        "reach": {"times_as_long": 1.15},
    }
