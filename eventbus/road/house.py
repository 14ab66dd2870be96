"""House: the stations of one bus, built and given to each other. Here alone all of them are known; nothing here does work."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from eventbus.bounds import callable_with, instance, seconds, whole, word
from eventbus.causality import History
from eventbus.clock import Clock, SystemClock
from eventbus.retained import Retained
from eventbus.road.counts import Counts
from eventbus.road.dispatcher import Dispatcher
from eventbus.road.door import Door
from eventbus.road.ending import Endings
from eventbus.road.latch import Latch
from eventbus.road.lifetime import Lifetime
from eventbus.road.pool import ThreadPool
from eventbus.road.registry import Registry
from eventbus.road.shutdown import Shutdown
from eventbus.road.tasks import Tasks
from eventbus.road.telling import FailureLog
from eventbus.road.threads import Threads
from eventbus.road.worker import Worker
from eventbus.selector import RouteTable
from eventbus.tap import Taps

if TYPE_CHECKING:
    from eventbus.causality import Identify
    from eventbus.dead_letter import DeadLetters
    from eventbus.durability.store import Store

_names = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Stations:
    """The stations of a bus that a store has to do with."""

    door: Door
    dispatcher: Dispatcher
    lifetime: Lifetime
    registry: Registry
    letters: DeadLetters
    latch: Latch
    retained: Retained


class House:
    """What a bus is made of. Raises `PolicyConflict` for what cannot be."""

    def __init__(
        self,
        name: str | None,
        halt: Callable[[str], Any],
        store: Store,
        *,
        max_queue_size: int,
        max_workers: int,
        max_bytes: int | None,
        reserve: int | None,
        history: int,
        grace: float,
        clock: Clock | None,
        pool: ThreadPool | None,
        seed: int | None,
        identify: Identify | None,
    ) -> None:
        whole("max_queue_size", max_queue_size)
        whole("max_workers", max_workers)
        whole("history", history, least=0)
        seconds("grace", grace, zero=True)
        if max_bytes is not None:
            whole("max_bytes", max_bytes)
        if reserve is not None:
            whole("reserve", reserve, least=0)
        if seed is not None:
            whole("seed", seed, least=0)
        if clock is not None:
            instance("clock", clock, Clock)
        if pool is not None:
            instance("pool", pool, ThreadPool)
        if identify is not None:
            callable_with("identify", identify, "an event, its cause and a name")
        self.name = _default_name() if name is None else word("name", name)
        self.store = store
        self.taps = Taps()
        self.history = History(history)
        self.lifetime = Lifetime(name=self.name, clock=clock or SystemClock(), rng=random.Random(seed), grace=grace)
        self._routes, self._retained = RouteTable[Worker](), Retained()
        self._told = FailureLog(self.lifetime)
        self._pool = pool or ThreadPool(max_workers, self.name)
        self.door = Door(
            self.lifetime,
            self._routes,
            self.history,
            self._retained,
            size=max_queue_size,
            reserve=max_queue_size if reserve is None else reserve,
            max_bytes=max_bytes,
            identify=identify,
        )
        self._dispatcher = Dispatcher(self.lifetime, self.door, self._routes, self.taps)
        self.latch = Latch(self.door, store)
        self.letters = store.letters(lambda letter: self.registry.redrive(letter))  # noqa: PLW0108 - made below
        self.registry = self._subscribable(halt)
        self.counts = Counts(self.lifetime, self.door, self._dispatcher, self.registry, self._pool, store)
        self.shutdown = Shutdown(
            self.lifetime, self.door, self._dispatcher, self._routes, self._pool, store, self._told
        )
        self.lifetime.governs(self.door, self._dispatcher, self._routes, store, self.shutdown)
        store.attach(
            Stations(
                self.door, self._dispatcher, self.lifetime, self.registry, self.letters, self.latch, self._retained
            )
        )

    def _subscribable(self, halt: Callable[[str], Any]) -> Registry:
        """Who makes workers, with the three ways to run a handler."""
        return Registry(
            self.lifetime,
            self.door,
            self._routes,
            Endings(self.lifetime, self.door, self.letters, self._told, halt),
            self._retained,
            self.store,
            stepped=self._dispatcher,
            task=Tasks(self.lifetime),
            thread=Threads(self.lifetime, self._pool),
        )


def _default_name() -> str:
    number = next(_names)
    return "eventbus" if number == 1 else f"eventbus-{number}"
