"""Counts: what the stations of one bus have counted, put together for whoever looks. Looking changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventbus.stats import BusStats, TypeStats

if TYPE_CHECKING:
    from eventbus.durability.store import Store
    from eventbus.interface import Stats
    from eventbus.road.dispatcher import Dispatcher
    from eventbus.road.door import Door
    from eventbus.road.lifetime import Lifetime
    from eventbus.road.pool import ThreadPool
    from eventbus.road.registry import Registry


class Counts:
    """Of one bus."""

    def __init__(
        self, lifetime: Lifetime, door: Door, dispatcher: Dispatcher, registry: Registry, pool: ThreadPool, store: Store
    ) -> None:
        self._lifetime = lifetime
        self._door = door
        self._dispatcher = dispatcher
        self._registry = registry
        self._pool = pool
        self._store = store

    def get_stats(self) -> Stats:
        """The bus in a few numbers: totals are kept as they change."""
        self._dispatcher.flush()
        lifetime, door, totals = self._lifetime, self._door, self._lifetime.totals
        dispatch = lifetime.dispatch.copy()
        return {
            "published": door.published,
            "dispatched": self._dispatcher.dispatched,
            "errors": totals.errors,
            "queue_size": door.queued,
            "handler_types": self._registry.kinds(),
            "total_handlers": len(self._registry),
            "retried": totals.retried,
            "dead_lettered": totals.dead_lettered,
            "dropped": totals.dropped,
            "expired": totals.expired,
            "pending": door.queued + lifetime.pending,
            "in_flight": self._registry.in_flight(),
            "dispatch_p50_ms": dispatch.quantile(0.5) * 1e3,
            "dispatch_p99_ms": dispatch.quantile(0.99) * 1e3,
            "uptime_s": self._uptime_s,
        }

    def stats(self) -> BusStats:
        """A snapshot of the bus, per type and per subscription."""
        self._dispatcher.flush()
        lifetime, door, totals = self._lifetime, self._door, self._lifetime.totals
        return BusStats(
            published=door.published,
            dispatched=self._dispatcher.dispatched,
            errors=totals.errors,
            queue_size=door.queued,
            pending=door.queued + lifetime.pending,
            in_flight=self._registry.in_flight(),
            retried=totals.retried,
            dead_lettered=totals.dead_lettered,
            dropped=totals.dropped,
            expired=totals.expired,
            cancelled=totals.cancelled,
            succeeded=totals.succeeded,
            conflated=totals.conflated,
            gaps=totals.gaps,
            abandoned=totals.abandoned,
            attempts=totals.attempts,
            ran_s=totals.ran_ns / 1e9,
            reserve_used=door.places.reserve_used,
            replaced_threads=self._pool.replaced,
            uptime_s=self._uptime_s,
            oldest_age_s=self._oldest_age_s,
            raised=lifetime.raised.by_name(),
            types={name: TypeStats(count) for name, count in sorted(self._dispatcher.by_type.items())},
            subscriptions=self._registry.stats(),
            groups=self._store.groups(),
            forgotten=self._store.forgotten(),
            dispatch=lifetime.dispatch.copy(),
        )

    def run_time(self) -> tuple[int, int]:
        """Attempts that ended so far, and the nanoseconds they ran."""
        self._dispatcher.flush()
        return self._lifetime.totals.attempts, self._lifetime.totals.ran_ns

    @property
    def _oldest_age_s(self) -> float:
        oldest_ns = self._door.lane.oldest_ns()
        return 0.0 if oldest_ns is None else (self._lifetime.clock.monotonic_ns() - oldest_ns) / 1e9

    @property
    def _uptime_s(self) -> float:
        started_ns = self._lifetime.started_ns
        return 0.0 if started_ns is None else (self._lifetime.clock.monotonic_ns() - started_ns) / 1e9
