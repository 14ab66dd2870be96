"""Wiring: who publishes and who hears each type of event, read off the components that were built.

What is heard stands on the bus, what is published stands on the class (`publishes`); both ends meet here and nowhere else.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from eventbus import Event, EventBus, Kind, Subscription, event_types
from quantum_trader.events import (
    AcknowledgeRequestedEvent,
    CharacteristicRequestedEvent,
    KillSwitchRequestedEvent,
    Operation,
    PolicyOverrideRequestedEvent,
)

EVERYTHING: Final = "*"
HOME: Final = __name__.partition(".")[0]
BROUGHT: Final = f"{HOME}.events.own"  # where types stand that are told only where a user brought something


class Operator:
    """Whoever commands from outside: a person at the command line or the dashboard."""

    publishes = (
        AcknowledgeRequestedEvent,
        CharacteristicRequestedEvent,
        KillSwitchRequestedEvent,
        PolicyOverrideRequestedEvent,
    )


@dataclass(frozen=True, slots=True)
class Route:
    """One type of event with the stations at both ends, sorted. Those who take everything are no ends of it."""

    event: type[Event]
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    onlookers: tuple[str, ...]

    @property
    def type(self) -> str:
        return self.event.type

    @property
    def kind(self) -> Kind:
        return self.event.__event__.kind

    @property
    def key(self) -> str:
        """The field that orders its deliveries, "" where all of them stand in one line."""
        return self.event.__event__.key or ""

    @property
    def is_decision(self) -> bool:
        """Whether it belongs to the replay digest."""
        return not issubclass(self.event, Operation)

    @property
    def is_unheard(self) -> bool:
        """Published, and nobody acts on it. What tells how a run is carried out is there to be looked on."""
        heard = self.consumers if self.is_decision else self.consumers + self.onlookers
        return bool(self.producers) and not heard

    @property
    def is_unsaid(self) -> bool:
        """Waited for, and nobody publishes it."""
        return bool(self.consumers) and not self.producers


@dataclass(frozen=True, slots=True)
class Wiring:
    """Every route of a system, by type; `onlookers` take everything."""

    routes: tuple[Route, ...]
    onlookers: tuple[str, ...]

    @property
    def stations(self) -> tuple[str, ...]:
        """Those at either end of a route, in the order that lets most arrows point onward."""
        return tuple(_onward(self.routes))

    def gaps(self) -> Iterator[str]:
        """A line for each type that leads from nowhere or to nowhere."""
        for route in self.routes:
            if route.is_unheard:
                yield f"{route.type}: published by {', '.join(route.producers)}, heard by nobody"
            if route.is_unsaid:
                yield f"{route.type}: heard by {', '.join(route.consumers)}, published by nobody"


def survey(bus: EventBus, unsubscribed: Iterable[type] = ()) -> Wiring:
    """The wiring of what hangs on `bus`; `unsubscribed` are classes that publish and listen to nothing."""
    producers: dict[str, set[str]] = {}
    consumers: dict[str, set[str]] = {}
    onlookers: set[str] = set()
    said: dict[str, type] = {made.__name__: made for made in (Operator, *unsubscribed)}
    # Types of ours, and those of a user's own that somebody on this bus names.
    named = {cls for made in unsubscribed for cls in getattr(made, "publishes", ())}
    for subscription in bus.subscriptions:
        named |= {*getattr(_station(subscription)[1], "publishes", ())}
    heard = {subscription.selector.what for subscription in bus.subscriptions}
    known = [cls for cls in event_types() if _is_catalogued(cls) or cls in named or cls in heard or cls.type in heard]
    for subscription in bus.subscriptions:
        name, owner = _station(subscription)
        said.setdefault(name, owner)
        if subscription.selector.what == EVERYTHING:
            onlookers.add(name)
            continue
        for cls in known:
            if subscription.selector.matches(cls, cls.type):
                consumers.setdefault(cls.type, set()).add(name)
    for name, owner in said.items():
        for cls in getattr(owner, "publishes", ()):
            producers.setdefault(cls.type, set()).add(name)
    looking = tuple(sorted(onlookers))
    routes = [
        Route(cls, tuple(sorted(producers.get(cls.type, ()))), tuple(sorted(consumers.get(cls.type, ()))), looking)
        for cls in known
    ]
    return Wiring(tuple(routes), looking)


def _is_catalogued(cls: type[Event]) -> bool:
    """Whether a type is of every system: ours, and not one that is told only where a user brought something."""
    return cls.__module__.partition(".")[0] == HOME and cls.__module__ != BROUGHT


def _station(subscription: Subscription) -> tuple[str, type]:
    """Name and class of who subscribed; a plain function goes by the name of its subscription."""
    if not inspect.ismethod(subscription.handler):
        return subscription.name, type(None)
    owner = subscription.handler.__self__
    return getattr(owner, "station", type(owner).__name__), type(owner)


def _onward(routes: Iterable[Route]) -> list[str]:
    """Stations, sources first and sinks last; in a circle, first who publishes to most and hears from fewest.

    Eades, Lin and Smyth, "A fast and effective heuristic for the feedback arc set problem" (1993).
    """
    arrows = {(a, b) for route in routes for a in route.producers for b in route.consumers if a != b}
    left = {name for arrow in arrows for name in arrow}
    left |= {name for route in routes for name in (*route.producers, *route.consumers)}
    head: list[str] = []
    tail: list[str] = []
    while left:
        said = {name: sum(a == name for a, _ in arrows) for name in left}
        heard = {name: sum(b == name for _, b in arrows) for name in left}
        sinks = sorted(name for name in left if not said[name])
        sources = sorted(name for name in left if not heard[name] and said[name])
        if sinks:
            tail[:0] = gone = sinks
        else:
            gone = sources or [max(sorted(left), key=lambda name: said[name] - heard[name])]
            head += gone
        left -= set(gone)
        arrows = {(a, b) for a, b in arrows if a in left and b in left}
    return head + tail
