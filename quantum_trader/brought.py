"""Brought: builds what a user brought into a system, from the section of the configuration that says what that is.

A strategy takes the place of the shipped ones, checks come after the shipped ones, components hang on the bus beside them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final

from eventbus import EventBus
from quantum_trader.alpha.families import Family, admit
from quantum_trader.config import Config, OwnConfig
from quantum_trader.control import checks as shipped
from quantum_trader.control.risk_state import RiskState
from quantum_trader.events import Alive
from quantum_trader.events.own import GateFinding, GatesReportedEvent
from quantum_trader.feeds.paper import PaperFeed
from quantum_trader.feeds.shipped import Chosen, feed_of
from quantum_trader.learning.strategy_subjects import StrategySubjects
from quantum_trader.market.calendar import Feed
from quantum_trader.market.validate import FeedCheck
from quantum_trader.model import Bar, Order
from quantum_trader.own.checks import Check, Denial, RiskView, asked
from quantum_trader.own.loading import (
    CHECKS,
    COMPONENTS,
    VENUES,
    OwnCodeError,
    broken,
    installed,
    made,
    named,
    source_sha256,
    strategy_class,
)
from quantum_trader.own.machine import OwnMachine
from quantum_trader.own.runtime import OwnRuntime
from quantum_trader.own.strategy import Strategy, is_over_sessions
from quantum_trader.snapshot import Stateful
from quantum_trader.venues.values import Venue

PREFIX: Final = "own."  # of what users brought, among the parts of a system


def own_strategy(own: OwnConfig, seed: int = 0) -> Strategy | None:
    """The strategy that a run is of, its family known to whoever looks for it; None where nobody brought one.

    Raises `OwnCodeError` for one that cannot be used, or is not the one that the run was started with.
    """
    if not own.strategy:
        return None
    cls = strategy_class(own.strategy)
    if own.sha256 and source_sha256(own.strategy) != own.sha256:
        place = own.strategy.rpartition("/")[2]
        raise OwnCodeError(
            place, "is not the file that the run was started with", remedy="restore it, or start the run anew"
        )
    strategy = made(cls, own.params)
    if own.gated and is_over_sessions(cls):
        raise OwnCodeError(
            own.strategy, "decides over all symbols at once, which no gate can try", remedy="leave out --gated"
        )
    machine = partial(OwnMachine, partial(cls, **own.params), f"{seed}/{own.strategy_id}")
    admit(own.strategy_id, Family({}, machine, lambda _: None))
    return strategy


def own_runtime(bus: EventBus, config: Config, feed: Feed, alive: Alive) -> OwnRuntime | None:
    """What runs the strategy of a user's own; None where there is none, or where it goes through the lifecycle."""
    own = config.own
    strategy = own_strategy(own, config.app.seed)
    if strategy is None or own.gated:
        return None
    return OwnRuntime(
        bus,
        strategy,
        own.strategy_id,
        place=Path(own.strategy.rpartition(":")[0] or own.strategy).name,
        seed=config.app.seed,
        universe=feed.symbols,
        history=partial(delivered, feed),
        alive=alive,
    )


class GatesReport:
    """What the gates would have said of a strategy that goes through none, told when its run is over."""

    publishes: ClassVar = (GatesReportedEvent,)

    def __init__(self, bus: EventBus, subjects: StrategySubjects, strategy_id: str) -> None:
        self._bus = bus
        self._subjects = subjects
        self._id = strategy_id

    async def tell(self, session: int) -> None:
        """Tell it, by what the account did for the strategy up to `session`."""
        found = self._subjects.by_own_fills(self._id, session)
        items = tuple(
            GateFinding(gate=purpose.value, verdict=one.verdict.word, reasons=one.verdict.reasons, metrics=one.metrics)
            for purpose, one in found.items()
        )
        await self._bus.publish(GatesReportedEvent(strategy_id=self._id, items=items, source="gates"))


def delivered(feed: Feed, session: int) -> Iterator[Bar]:
    """The bars that a run over `feed` was told up to `session`."""
    check = FeedCheck()
    for group in feed:
        if group.session > session:
            return
        yield from (bar for bar in group.bars if check.bar(bar).deliver)


def paper_feed(config: Config) -> PaperFeed:
    """The live feed of a paper run. Raises `OwnCodeError`."""
    own = config.own
    live = feed_of(own.feed, config.universe.symbols, own.interval_s or None)
    if chosen := config.universe.symbols:
        live = Chosen(live, chosen)
    return PaperFeed(live, own.feed, started=datetime.fromisoformat(own.started), grace=own.grace)


def connector(config: Config) -> Callable[[], Any] | None:
    """What connects to the venue that a paper run's orders go to; None for the paper venue. Raises `OwnCodeError`."""
    return named(config.own.venue, VENUES) if config.own.venue else None


def own_venue(config: Config) -> Venue | None:
    """The venue that a paper run's orders go to; None for the paper venue. Raises `OwnCodeError`."""
    connect, reference = connector(config), config.own.venue
    if connect is None:
        return None
    try:
        venue: Venue = connect()
    except Exception as error:
        raise broken(error, reference, "let it give a venue") from error
    if missing := [
        name for name in ("submit", "cancel", "open_orders", "positions", "reports") if not hasattr(venue, name)
    ]:
        raise OwnCodeError(reference, f"what it gives has no {missing[0]}", remedy="let it give a venue: api.Venue")
    return venue


def named_checks(config: Config) -> tuple[tuple[str, Check], ...]:
    """The checks that users brought, each with its name. Raises `OwnCodeError`."""
    return tuple((reference.rpartition(":")[2], named(reference, CHECKS)) for reference in config.own.checks)


def own_checks(config: Config) -> tuple[shipped.Check, ...]:
    """The checks that users brought, as the guard asks them. Raises `OwnCodeError`."""
    return tuple(_check(name, check) for name, check in named_checks(config))


def _check(name: str, check: Check) -> shipped.Check:
    def denies(order: Order, state: RiskState) -> shipped.Denial | None:
        answer: Denial | None = asked(name, check, order, risk_view(state))
        return None if answer is None else shipped.Denial(answer.reason, name, answer.detail)

    return shipped.Check(name, denies)


def risk_view(state: RiskState) -> RiskView:
    """What a user's check may see."""
    positions: dict[str, Decimal] = {}
    for (_, symbol), qty in sorted(state.positions.items()):
        positions[symbol] = positions.get(symbol, Decimal(0)) + qty
    prices = {symbol: facts.close for symbol, facts in sorted(state.symbols.items())}
    return RiskView(state.equity, state.cash, positions, prices, state.session)


@dataclass(frozen=True, slots=True)
class OwnPart:
    """A component of a user's own as a part of the system: what it leaves out of the protocol does nothing."""

    component: Any

    def state(self) -> dict[str, Any]:
        return dict(self.component.state()) if hasattr(self.component, "state") else {}

    def restore(self, state: Mapping[str, Any]) -> None:
        if hasattr(self.component, "restore"):
            self.component.restore(state)

    def close(self) -> None:
        if hasattr(self.component, "close"):
            self.component.close()


def installed_here(config: Config) -> tuple[str, ...]:
    """The entry points of installed packages that act in a run with this configuration."""
    acting = [(name, CHECKS) for name in config.own.checks] + [(name, COMPONENTS) for name in config.own.components]
    return tuple(filter(None, (installed(name, group) for name, group in acting)))


def own_builders(config: Config) -> list[tuple[str, Callable[..., Any]]]:
    """What builds the components that users brought, by its place. Raises `OwnCodeError`."""
    return [(reference, named(reference, COMPONENTS)) for reference in config.own.components]


def own_components(bus: EventBus, config: Config, parts: dict[str, Stateful]) -> list[Callable[[], None]]:
    """Build what users brought and put it among the parts; gives what closes it. Raises `OwnCodeError`."""
    closers: list[Callable[[], None]] = []
    for reference, build in own_builders(config):
        try:
            component = build(bus, config)
        except Exception as error:
            raise broken(error, reference, "let it be built without an error") from error
        if component is not None:
            part = OwnPart(component)
            parts[f"{PREFIX}{len(closers)}.{reference.rpartition(':')[2]}"] = part
            closers.append(part.close)
    return closers
