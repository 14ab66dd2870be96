"""Wrapped: every coroutine of the road in a pass-through coroutine, as a tracer would have it. It may cost what it costs, no more.

What is compared is the time with all of them wrapped, less what so many wrappers take, against the time without.
"""

from __future__ import annotations

import functools
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any, cast

import eventbus
from benchmarks.handlers import kept
from benchmarks.rows import Now, Row, Run, times
from benchmarks.sides import Counted, Witness, bus_loop, counted, suspending, timed
from benchmarks.waiting import one_at_a_time, publish_and_wait
from eventbus import InMemoryEventBus

ELSEWHERE = {"cli", "durability", "gateway", "journal", "observability", "testing"}
CALLS = 20_000


class Passed:
    """How often a wrapper was passed."""

    def __init__(self) -> None:
        self.times = 0

    def through(self, inner: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(inner)
        async def outer(*args: Any, **options: Any) -> Any:
            self.times += 1
            return await inner(*args, **options)

        return outer

    @contextmanager
    def on_the_road(self) -> Iterator[None]:
        """Every coroutine function and method of the road is wrapped meanwhile, wherever it is known by name."""
        replaced = [
            (holder, name, function)
            for module in _modules()
            for holder in (module, *(each for each in vars(module).values() if _is_of_road(each, inspect.isclass)))
            for name, function in vars(holder).items()
            if _is_of_road(function, inspect.iscoroutinefunction)
        ]
        outer = {function: self.through(function) for _, _, function in replaced}
        for holder, name, function in replaced:
            setattr(holder, name, outer[function])
        try:
            yield
        finally:
            for holder, name, function in replaced:
                setattr(holder, name, function)


def _modules() -> list[ModuleType]:
    names = [found.name for found in pkgutil.walk_packages(eventbus.__path__, "eventbus.")]
    return [import_module(name) for name in names if _is_road(name)]


def _is_road(module: str) -> bool:
    """The bus and the stations: what an event in memory passes."""
    package, _, room = module.partition(".")
    return package == "eventbus" and room.partition(".")[0] not in ELSEWHERE


def _is_of_road(thing: Any, is_kind: Callable[[Any], bool]) -> bool:
    return is_kind(thing) and _is_road(thing.__module__)


def wrapped(run: Run) -> Run:
    async def less_its_own_cost(count: int, now: Now) -> float:
        passed = Passed()
        with passed.on_the_road():
            taken = await run(count, now)
        if not passed.times:
            raise AssertionError("no coroutine of the road was found")
        return taken - passed.times * await _price(now) / count

    return less_its_own_cost


async def _price(now: Now) -> float:
    """Seconds that one wrapper takes."""

    async def nothing() -> None:
        return

    outer = Passed().through(nothing)
    began = now()
    for _ in range(CALLS):
        await nothing()
    bare = now() - began
    began = now()
    for _ in range(CALLS):
        await outer()
    return (now() - began - bare) / CALLS


def _row(name: str, run: Run, count: int = 20_000) -> Row:
    return Row(
        f"coroutines of the road wrapped, the wrappers' own cost off: {name}",
        times(1.1),
        wrapped(run),
        run,
        against="the row unwrapped",
        count=count,
    )


async def untraced(count: int, now: Now) -> float:
    """The first row through what `traced_bus` gives where no provider is set up."""
    from eventbus.observability.tracing import traced_bus  # of an extra

    events, witness = counted(count), Witness()
    bus = InMemoryEventBus()
    given = traced_bus(bus)
    given.subscribe(Counted, witness.on_event)
    seconds = await timed(cast(InMemoryEventBus, given), events, now)
    witness.check(events)
    return seconds / count


ROWS = (
    _row("one handler, receipts dropped", bus_loop()),
    _row("receipts kept", bus_loop(publishing=kept)),
    _row("handler that suspends once", bus_loop(suspending), 4_000),
    _row("`publish_and_wait`", one_at_a_time(publish_and_wait), 4_000),
    Row("`traced_bus` where nobody traces", times(1.1), untraced, bus_loop(), against="the first row"),
)
