"""Bus views: what a page shows of any bus: its numbers, who subscribes, what goes where, what nobody could handle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from eventbus import BusStats, Clock, DeadLetter, Event, EventBus, Selector, SubscriptionStats, event_class

if TYPE_CHECKING:
    from eventbus.gateway.follower import Follower
    from eventbus.gateway.views import Views

NEWEST = 200
"""Dead letters that are shown."""

_TEXT = 500  # characters of an error


class BusViews:
    """The views of one bus. `clients` counts those who are connected, `blocks` how often the loop was blocked; `keeps` says why a
    dead letter of a subscription must not be delivered again, "" where it may.
    """

    def __init__(
        self,
        bus: EventBus,
        clock: Clock,
        *,
        clients: Callable[[], int],
        blocks: Callable[[], int] = lambda: 0,
        keeps: Callable[[str], str] = lambda _subscription: "",
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._clients = clients
        self._blocks = blocks
        self._keeps = keeps
        self._rates: dict[str, Rates] = {}

    def register(self, views: Views) -> None:
        """Make them known."""
        views.add("bus", self.bus)
        views.add("subscriptions", self.subscriptions)
        views.add("topology", self.topology)
        views.add("letters", self.letters)

    def bus(self) -> dict[str, Any]:
        """The bus in a few numbers."""
        bus, stats = self._bus, self._bus.get_stats()
        return {
            "published": stats["published"],
            "dispatched": stats["dispatched"],
            "per_s": self._rate("bus", {"": stats["dispatched"]})[""],
            "queue_size": stats["queue_size"],
            "p50_ms": round(stats["dispatch_p50_ms"], 3),
            "p99_ms": round(stats["dispatch_p99_ms"], 3),
            "pending": stats["pending"],
            "errors": stats["errors"],
            "dead_letters": bus.dead_letters.count(),
            "clients": self._clients(),
            "loop_blocks": self._blocks(),
            "journal": self._journal(),
            "halted": bus.is_halted,
            "reason": bus.halt_reason,
        }

    def _journal(self) -> dict[str, Any] | None:
        if "replay" not in self._bus.capabilities:
            return None
        stats = self._bus.journal.stats()
        return {"lag": stats.log_bytes, "bytes": stats.file_bytes, "failure": stats.failure}

    def subscriptions(self) -> dict[str, Any]:
        """Every subscription in a row."""
        found = self._bus.stats().subscriptions
        rates = self._rate("subscriptions", {one.name: one.accepted for one in found})
        return {"rows": [_row(one, rates[one.name]) for one in found]}

    def topology(self) -> dict[str, Any]:
        """Which types go to whom."""
        stats = self._bus.stats()
        rates = self._rate("topology", {name: one.dispatched for name, one in stats.types.items()})
        selectors = _selectors(stats)
        routes = [
            {
                "type": name,
                "kind": _kind(name),
                "producers": [],
                "consumers": [title for title, selector in selectors if selector.matches(Event, name)],
                "total": one.dispatched,
                "per_s": rates[name],
            }
            for name, one in sorted(stats.types.items())
        ]
        return {"stations": sorted({title for title, _ in selectors}), "routes": routes}

    async def letters(self) -> dict[str, Any]:
        """The newest dead letters."""
        found = await self._bus.dead_letters.list()
        return {
            "rows": [{**_letter(one), "kept": self._keeps(one.subscription)} for one in reversed(found[-NEWEST:])],
            "total": len(found),
        }

    def _rate(self, view: str, counts: Mapping[str, int]) -> Mapping[str, float]:
        rates = self._rates.setdefault(view, Rates(self._clock))
        return rates.of(counts)


class FollowedViews:
    """What can be shown of a bus that another process runs: how far its journal is, and its dead letters."""

    def __init__(self, follower: Follower, clock: Clock, *, clients: Callable[[], int]) -> None:
        self._follower = follower
        self._rates = Rates(clock)
        self._clients = clients

    def register(self, views: Views) -> None:
        """Make them known."""
        views.add("bus", self.bus)
        views.add("letters", self._follower.letters)

    async def bus(self) -> dict[str, Any]:
        """The bus in a few numbers."""
        found = self._follower.numbers()
        letters = await self._follower.count_letters()
        per_s = self._rates.of({"": found["published"]})[""]
        return {**found, "per_s": per_s, "dead_letters": letters, "clients": self._clients()}


class Rates:
    """How much counts grew in a second, from one reading to the next."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._counts: Mapping[str, int] = {}
        self._read_ns: int | None = None

    def of(self, counts: Mapping[str, int]) -> dict[str, float]:
        """Per second since the last reading; 0 at the first."""
        now, before_ns, before = self._clock.monotonic_ns(), self._read_ns, self._counts
        self._counts, self._read_ns = counts, now
        if before_ns is None or now <= before_ns:
            return dict.fromkeys(counts, 0.0)
        seconds = (now - before_ns) / 1e9
        return {name: round((count - before.get(name, 0)) / seconds, 1) for name, count in counts.items()}


def _row(one: SubscriptionStats, rate: float) -> dict[str, Any]:
    return {
        "name": one.name,
        "selector": one.selector,
        "rate": rate,
        "queued": one.queued,
        "in_flight": one.in_flight,
        "errors": one.errors,
        "dead_lettered": one.dead_lettered,
        "p50_ms": round(one.p50_ms, 3),
        "p99_ms": round(one.p99_ms, 3),
        "oldest_age_s": round(one.oldest_age_s, 1),
    }


def _letter(letter: DeadLetter) -> dict[str, Any]:
    return {
        "id": letter.id,
        "event_id": letter.event.event_id,
        "type": letter.event.type,
        "subscription": letter.subscription,
        "reason": letter.reason[:_TEXT],
        "error": str(letter.error)[:_TEXT],
        "attempts": letter.attempts,
        "first_failed": letter.first_failed.isoformat(),
        "last_failed": letter.last_failed.isoformat(),
    }


def _selectors(stats: BusStats) -> list[tuple[str, Selector]]:
    return [(one.name, Selector(one.selector)) for one in stats.subscriptions]


def _kind(type_name: str) -> str:
    cls = event_class(type_name)
    return "event" if cls is None else cls.__event__.kind.value
