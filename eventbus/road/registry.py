"""Registry: the subscriptions of one bus, by name and by route: how they come, how they go, how they are counted."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any

from eventbus.bounds import whole, word
from eventbus.errors import BusStopped, PolicyConflict
from eventbus.policy import Policy
from eventbus.road.arrival import deliver, offer
from eventbus.road.part import Part
from eventbus.road.worker import Worker
from eventbus.selector import RouteTable, Selector
from eventbus.subscription import Subscription, is_async, takes_delivery, title_of

if TYPE_CHECKING:
    from eventbus.dead_letter import DeadLetter
    from eventbus.durability.store import Store
    from eventbus.event import Event
    from eventbus.retained import Retained
    from eventbus.road.burst import Burst
    from eventbus.road.door import Door
    from eventbus.road.ending import Endings
    from eventbus.road.lifetime import Lifetime
    from eventbus.road.ways import Way
    from eventbus.stats import SubscriptionStats


class Registry:
    """Who listens."""

    def __init__(
        self,
        lifetime: Lifetime,
        door: Door,
        routes: RouteTable[Worker],
        endings: Endings,
        retained: Retained,
        store: Store,
        *,
        stepped: Way,
        task: Way,
        thread: Way,
    ) -> None:
        self._lifetime = lifetime
        self._door = door
        self._routes = routes
        self._endings = endings
        self._retained = retained
        self._store = store
        self._stepped, self._task, self._thread = stepped, task, thread
        self._by_name: dict[str, Subscription] = {}
        self._numbers: dict[str, int] = {}  # given last, of those that share a name
        self._counted = 0

    def subscribe(
        self,
        selector: type[Event] | str,
        handler: Callable[..., Any],
        *,
        way: Way | None = None,
        name: str | None = None,
        replay_last: bool = False,
        durable: bool = False,
        group: str | None = None,
        start: Any = "end",
        parts: int | None = None,
        **options: Any,
    ) -> Subscription:
        """Somebody listens from now on. Raises `InvalidSelector` and `PolicyConflict`."""
        if not callable(handler):
            raise PolicyConflict("handler", f"{handler!r} cannot be called")
        if name is not None:
            word("name", name)
        chosen, policy = Selector(selector), _policy(options)
        for cls in chosen.classes():
            policy.check_kind(cls.__event__)
        reads_for = None
        if parts is not None and not (durable or group):
            raise PolicyConflict("parts", "is for a group: give it one, or leave parts= out")
        if group is not None:
            word("group", group)
        if durable or group:
            if parts is not None:
                whole("parts", parts)
            reads_for = self._store.group_of(name, group, start, options, chosen, replay_last=replay_last, parts=parts)
        worker = Worker(
            handler,
            name=self._free_name(name or reads_for or None, title_of(handler)),
            selector=chosen,
            policy=policy,
            takes_delivery=takes_delivery(handler),
            way=way or self._way_of(handler, policy),
            lifetime=self._lifetime,
            endings=self._endings,
        )
        subscription = Subscription(worker, self.remove)
        self._by_name[worker.name] = subscription
        self._counted += 1
        worker.enlist(
            self._counted,
            *self._door.routes_changed(is_simple=reads_for is None and not (worker.is_gate or replay_last)),
        )
        self._routes.add(worker)
        if reads_for is not None:
            self._store.joined(reads_for or worker.name, subscription, start, parts)
        if replay_last:
            self._store.replays_retained(subscription)
        self._store.subscribed(subscription)
        return subscription

    def _way_of(self, handler: Callable[..., Any], policy: Policy) -> Way:
        if not is_async(handler):
            return self._thread
        return self._task if policy.isolation == "task" else self._stepped

    def _free_name(self, name: str | None, title: str) -> str:
        if name is not None and name not in self._by_name:
            return name
        stem = name or title
        number = self._numbers.get(stem, 0)
        while True:
            number += 1
            numbered = stem if number == 1 else f"{stem}#{number}"
            if numbered not in self._by_name:
                self._numbers[stem] = number
                return numbered

    def remove(self, subscription: Subscription) -> None:
        """It listens no more: what waits is settled as cancelled."""
        worker = subscription.worker
        if self._by_name.pop(worker.name, None) is None:
            return
        goes = self._door.routes_changed(is_simple=worker.feed is None and not worker.is_gate)
        if not self._by_name:
            self._numbers.clear()
        worker.cancel(*goes)
        self._routes.leave(worker)
        if not self._door.queued:
            self._routes.nothing_waits()

    # --- look ------------------------------------------------------------------------------------------------------

    @property
    def members(self) -> tuple[Subscription, ...]:
        """The live ones, oldest first."""
        return tuple(self._by_name.values())

    def of(self, selector: type[Event] | str | None) -> list[Subscription]:
        """Those to exactly this selector; without one, all."""
        return [one for one in self._by_name.values() if selector is None or one.selector.what == selector]

    def find(self, name: str) -> Subscription | None:
        """The live one of that name."""
        return self._by_name.get(name)

    def __len__(self) -> int:
        return len(self._by_name)

    def kinds(self) -> int:
        """Selectors with at least one live subscription."""
        return len({one.selector.what for one in self._by_name.values()})

    def in_flight(self) -> int:
        """Attempts that run."""
        return sum(len(worker.running.events) for worker in self._lifetime.workers if worker.running)

    def stats(self) -> tuple[SubscriptionStats, ...]:
        """A row for each, also for those that were cancelled and are not done."""
        return tuple(worker.stats() for worker in self._lifetime.workers)

    # --- deliveries that no publish makes ----------------------------------------------------------------------------

    def replay_retained(self, subscription: Subscription) -> None:
        """The retained events that it listens to, now; none where nobody would ever handle them."""
        if self._lifetime.is_ended:
            return
        worker = subscription.worker
        for event in self._retained.matching(worker.selector):
            offer(worker, self._door.outside(event), (event,), None, [])

    def redrive(self, letter: DeadLetter) -> bool:
        """Deliver a dead letter again to the subscription that failed; False when that is gone. Raises `BusStopped`."""
        if self._lifetime.is_shut:
            raise BusStopped("redrive()")
        subscription = self._by_name.get(letter.subscription)
        if subscription is None:
            return False
        burst = self._store.again(letter, self._door.outside(letter.event))
        deliver(subscription.worker, alone(burst, subscription.worker))
        return True

    def last(self, selector: type[Event] | str, key: Hashable) -> Event | None:
        """The retained event of a class or type."""
        return self._retained.last(selector, key)


def alone(burst: Burst, worker: Worker) -> Part:
    """The one event of a burst that did not come in by the door, for one subscription."""
    part = Part(burst, worker, burst.events, None, is_lossless=False)
    burst.routed((part,), 1)
    return part


_OF_SUBSCRIBING = ("name", "replay_last", "durable", "group", "start", "parts")  # keywords that are no part of a policy


def _policy(options: dict[str, Any]) -> Policy:
    unknown = sorted(set(options) - set(Policy.__dataclass_fields__))
    if unknown:
        there_are = ", ".join((*Policy.__dataclass_fields__, *_OF_SUBSCRIBING))
        raise PolicyConflict(unknown[0], f"is no policy of this bus; there are {there_are}")
    return Policy(**options)
