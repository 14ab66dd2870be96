"""Own runtime: runs a strategy of a user's own in the place of the shipped ones, and stops it when it fails.

Bars in, `signals.generated` out, once a session. Signals are edges: a target that is wanted already says nothing, but what
came to nothing (denied, expired, stopped out) may be wanted anew. A strategy that raises is asked no more and its positions
are sold: who decides with half a state decides wrongly.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any, ClassVar, Final

from eventbus import EventBus
from quantum_trader.events import (
    Alive,
    ComponentHeartbeatEvent,
    MarketBarEvent,
    MetricRecordedEvent,
    OpportunitiesUpdatedEvent,
    OrderApprovedEvent,
    OrderCancelledEvent,
    OrderExpiredEvent,
    OrderRejectedEvent,
    PolicyUpdatedEvent,
    PortfolioUpdatedEvent,
    SessionClosedEvent,
    SessionDecideEvent,
    SignalItem,
    SignalsGeneratedEvent,
    TradeExecutedEvent,
    unwatched,
)
from quantum_trader.events.own import StrategyFailedEvent
from quantum_trader.model import Bar, Side, Station, StrategyLifecycle, added, taken
from quantum_trader.own.bars import Bars
from quantum_trader.own.context import Account, Context
from quantum_trader.own.loading import place_of, told
from quantum_trader.own.strategy import InvalidTarget, Strategy, Target, is_over_sessions
from quantum_trader.snapshot import event_of, event_values

SOURCE: Final = "own_strategy"
CONFIDENCE_METRIC: Final = "strategy.confidence"
CONFIDENCE_EVERY: Final = 5  # sessions between two statements of confidence
_REMEDY: Final = "correct the code and start the run anew"


class StrategyFailed(Exception):
    """A strategy of a user's own raised or asked for what nobody can do; its run goes on without it."""

    def __init__(self, place: str, symbol: str, error: str, remedy: str = _REMEDY) -> None:
        about = f" ({symbol})" if symbol else ""
        super().__init__(f"{place}{about}: {error}; {remedy}")
        self.place = place
        self.symbol = symbol
        self.error = error
        self.remedy = remedy


@dataclass(slots=True)
class _Wish:
    """The target last said of a symbol, and the session it was said in."""

    target: Target
    session: int


class OwnRuntime:
    """Runs one `strategy` under `strategy_id`, LIVE by its user's word and with confidence 1.

    `history` gives the bars delivered up to a session again, for a run that goes on; `place` is where the code stands.
    """

    publishes: ClassVar = (MetricRecordedEvent, SignalsGeneratedEvent, StrategyFailedEvent, ComponentHeartbeatEvent)

    def __init__(
        self,
        bus: EventBus,
        strategy: Strategy,
        strategy_id: str,
        *,
        place: str,
        seed: int,
        universe: Iterable[str],
        history: Callable[[int], Iterable[Bar]],
        alive: Alive = unwatched,
    ) -> None:
        self._bus = bus
        self._alive = alive
        self._strategy = strategy
        self._id = strategy_id
        self._place = place
        self._seed = seed
        self._universe = tuple(universe)
        self._history = history
        self._bars: dict[str, Bars] = {}
        self._last: dict[str, Bar] = {}
        self._held: defaultdict[str, Decimal] = defaultdict(Decimal)
        self._working: dict[str, str] = {}  # symbol by order id
        self._wishes: dict[str, _Wish] = {}
        self._taken: dict[str, None] = {}  # symbols whose price has been reached
        self._ranking: OpportunitiesUpdatedEvent | None = None
        self._policy: PolicyUpdatedEvent | None = None
        self._equity = self._cash = 0.0
        self._session = -1
        self._failed = False
        bus.subscribe(MarketBarEvent, self.on_bar, name="runtime.bar")
        bus.subscribe(TradeExecutedEvent, self.on_trade_executed, name="runtime.trade")
        bus.subscribe(OrderApprovedEvent, self.on_order_approved, name="runtime.approved")
        for ended in (OrderRejectedEvent, OrderCancelledEvent, OrderExpiredEvent):
            bus.subscribe(ended, self.on_order_ended, name=f"runtime.{ended.type}")
        bus.subscribe(OpportunitiesUpdatedEvent, self.on_opportunities_updated, name="runtime.ranking")
        bus.subscribe(PolicyUpdatedEvent, self.on_policy_updated, name="runtime.policy")
        bus.subscribe(PortfolioUpdatedEvent, self.on_portfolio_updated, name="runtime.portfolio")
        bus.subscribe(SessionClosedEvent, self.on_session_closed, name="runtime.closed")
        # Under a name of its own: what goes wrong in there is the user's, and is told as such.
        bus.subscribe(SessionDecideEvent, self.on_session_decide, name=f"strategy.{strategy_id}")

    def stages(self) -> dict[str, StrategyLifecycle]:
        """The stage of the strategy, by id."""
        return {self._id: StrategyLifecycle.RETIRED if self._failed else StrategyLifecycle.LIVE}

    async def on_bar(self, event: MarketBarEvent) -> None:
        self._take(event.bar)
        wish = self._wishes.get(event.symbol)
        take = None if wish is None else wish.target.take
        if take is not None and self._held[event.symbol] > 0 and event.high >= take:
            self._taken[event.symbol] = None

    async def on_trade_executed(self, event: TradeExecutedEvent) -> None:
        change = added if event.side is Side.BUY else taken
        self._held[event.symbol] = change(self._held[event.symbol], event.size)
        if not event.leaves_qty:
            self._working.pop(event.order_id, None)

    async def on_order_approved(self, event: OrderApprovedEvent) -> None:
        self._working[event.order_id] = event.symbol

    async def on_order_ended(self, event: OrderRejectedEvent | OrderCancelledEvent | OrderExpiredEvent) -> None:
        self._working.pop(event.order_id, None)

    async def on_opportunities_updated(self, event: OpportunitiesUpdatedEvent) -> None:
        self._ranking = event

    async def on_policy_updated(self, event: PolicyUpdatedEvent) -> None:
        self._policy = event

    async def on_portfolio_updated(self, event: PortfolioUpdatedEvent) -> None:
        self._equity, self._cash = float(event.equity), float(event.cash)

    async def on_session_closed(self, event: SessionClosedEvent) -> None:
        self._session = event.session
        if event.session % CONFIDENCE_EVERY == 0:
            await self._bus.publish(
                MetricRecordedEvent(
                    metric=CONFIDENCE_METRIC,
                    value=1.0,
                    unit="probability",
                    labels={"strategy_id": self._id},
                    session=event.session,
                    timestamp=event.timestamp,
                    source=SOURCE,
                )
            )
        self._alive(Station.STRATEGIES, SOURCE)

    async def on_session_decide(self, event: SessionDecideEvent) -> None:
        failure: StrategyFailed | None = None
        targets: Mapping[str, Target] = {}
        if not self._failed:
            try:
                targets = self._ask(event)
            except StrategyFailed as error:
                failure, self._failed = error, True
                await self._tell(failure, event)
        items = self._exits(event.session) if self._failed else self._signals(targets, event.session)
        await self._bus.publish(
            SignalsGeneratedEvent(session=event.session, items=items, timestamp=event.timestamp, source=SOURCE)
        )
        if failure is not None:
            raise failure

    def state(self) -> dict[str, Any]:
        """Everything needed to go on after a restart, in plain JSON values; bars come from the history."""
        return {
            "strategy": dict(self._strategy.state()),
            "held": {symbol: str(qty) for symbol, qty in self._held.items() if qty},
            "working": dict(self._working),
            "wishes": {symbol: [asdict(wish.target), wish.session] for symbol, wish in self._wishes.items()},
            "taken": list(self._taken),
            "ranking": event_values(self._ranking),
            "policy": event_values(self._policy),
            "money": [self._equity, self._cash],
            "session": self._session,
            "failed": self._failed,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become what `state()` described."""
        self._strategy.restore(state["strategy"])
        self._held = defaultdict(Decimal, {symbol: Decimal(qty) for symbol, qty in state["held"].items()})
        self._working = dict(state["working"])
        self._wishes = {symbol: _Wish(Target(**target), at) for symbol, (target, at) in state["wishes"].items()}
        self._taken = dict.fromkeys(state["taken"])
        self._ranking, self._policy = event_of(state["ranking"]), event_of(state["policy"])
        self._equity, self._cash = state["money"]
        self._session, self._failed = state["session"], state["failed"]
        self._bars, self._last = {}, {}
        for bar in self._history(self._session):
            self._take(bar)

    def _take(self, bar: Bar) -> None:
        bars = self._bars.get(bar.symbol)
        if bars is None:
            bars = self._bars[bar.symbol] = Bars(bar.symbol)
        bars.append(bar)
        self._last[bar.symbol] = bar

    # --- asking ------------------------------------------------------------------------------------------------------

    def _ask(self, event: SessionDecideEvent) -> dict[str, Target]:
        """The strategy's answer, looked at before anybody believes it. Raises `StrategyFailed`."""
        market = {symbol: self._bars[symbol] for symbol in sorted(self._bars) if self._is_of(symbol, event.session)}
        context = self._context(event.session, event.timestamp)
        if is_over_sessions(type(self._strategy)):
            answer = self._call("", self._strategy.on_session, MappingProxyType(market), context)
            if not isinstance(answer, Mapping):
                raise StrategyFailed(
                    self._place, "", f"on_session returned {_kind(answer)}", "return a mapping of targets"
                )
            return {self._known(symbol): self._checked(symbol, target) for symbol, target in answer.items()}
        found = {}
        for symbol, bars in market.items():
            answer = self._call(symbol, self._strategy.on_bar, bars, context.of(symbol))
            if answer is not None:
                found[symbol] = self._checked(symbol, answer)
        return found

    def _call(self, symbol: str, ask: Callable[..., Any], *seen: object) -> Any:
        try:
            return ask(*seen)
        except InvalidTarget as error:
            problem, _, remedy = str(error).rpartition("; ")
            raise StrategyFailed(place_of(error, self._place), symbol, problem, remedy) from error
        except Exception as error:
            raise StrategyFailed(place_of(error, self._place), symbol, told(error)) from error

    def _checked(self, symbol: str, target: Any) -> Target:
        if isinstance(target, Target):
            return target
        raise StrategyFailed(self._place, symbol, f"returned {_kind(target)}", "return Target(weight=...) or None")

    def _known(self, symbol: Any) -> str:
        if symbol in self._universe:
            return str(symbol)
        known = ", ".join(self._universe[:10])
        raise StrategyFailed(self._place, "", f"a target for unknown symbol {symbol!r}", f"known are {known}")

    def _is_of(self, symbol: str, session: int) -> bool:
        return self._last[symbol].session == session

    def _context(self, session: int, ts: datetime) -> Context:
        ranking = self._ranking
        return Context(
            session,
            ts,
            Account(
                equity=self._equity,
                cash=self._cash,
                positions={symbol: float(qty) for symbol, qty in self._held.items() if qty},
                closes={symbol: bar.close for symbol, bar in self._last.items()},
                ranks={} if ranking is None else ranking.scores,
                policy=self._policy,
                dice_of=f"{self._seed}/{self._id}/{session}",
            ),
        )

    async def _tell(self, failure: StrategyFailed, event: SessionDecideEvent) -> None:
        await self._bus.publish(
            StrategyFailedEvent(
                strategy_id=self._id,
                symbol=failure.symbol,
                session=event.session,
                place=failure.place,
                error=failure.error,
                remedy=failure.remedy,
                timestamp=event.timestamp,
                source=SOURCE,
            )
        )

    # --- saying ------------------------------------------------------------------------------------------------------

    def _exits(self, session: int) -> tuple[SignalItem, ...]:
        return tuple(
            self._leave(symbol, session, "the strategy failed")
            for symbol in sorted(self._held)
            if self._held[symbol] > 0
        )

    def _signals(self, targets: Mapping[str, Target], session: int) -> tuple[SignalItem, ...]:
        working = frozenset(self._working.values())
        items = []
        for symbol in sorted(self._bars):
            self._forget_void(symbol, symbol in working)
            target = targets.get(symbol)
            if symbol in self._taken:
                del self._taken[symbol]
                target = Target(weight=0.0, reason="its price was reached")
            item = self._signal(symbol, target, session, is_working=symbol in working)
            if item is not None:
                items.append(item)
        return tuple(items)

    def _forget_void(self, symbol: str, is_working: bool) -> None:
        """What came to nothing is wanted no more: refused, expired, or closed by its stop."""
        wish = self._wishes.get(symbol)
        if wish is not None and wish.target.weight and not self._held[symbol] and not is_working:
            del self._wishes[symbol]

    def _signal(self, symbol: str, target: Target | None, session: int, *, is_working: bool) -> SignalItem | None:
        before, held = self._wishes.get(symbol), self._held[symbol]
        if target is None:
            is_left = before is not None and before.target.weight <= 0.0 and held > 0 and not is_working
            return self._leave(symbol, session, "position without target") if is_left else None
        is_same = before is not None and before.target.weight == target.weight
        self._wishes[symbol] = _Wish(target, session)
        if target.weight <= 0.0 and held > 0:
            is_new = not is_same or not is_working
            return self._leave(symbol, session, target.reason or "target is flat") if is_new else None
        if target.weight == 0.0 or (is_same and not target.rebalance) or not self._is_of(symbol, session):
            return None
        wanted, has = target.weight * self._equity, float(held) * self._last[symbol].close
        return self._item(
            symbol,
            session,
            1 if wanted > has or target.weight < 0.0 else 0,
            target.reason or f"target is {target.weight:.4g} of equity",
            weight=target.weight,
            stop=target.stop,
        )

    def _leave(self, symbol: str, session: int, reason: str) -> SignalItem:
        return self._item(symbol, session, 0, reason)

    def _item(
        self,
        symbol: str,
        session: int,
        target: int,
        reason: str,
        *,
        weight: float | None = None,
        stop: float | None = None,
    ) -> SignalItem:
        return SignalItem(
            signal_id=f"{session}-{self._id}-{symbol}",
            strategy_id=self._id,
            stage=StrategyLifecycle.LIVE,
            symbol=symbol,
            target=1 if target else 0,
            reference_px=self._last[symbol].close,
            stop_px=stop if target else None,
            confidence=1.0,
            reason=reason,
            weight=weight,
        )


def _kind(value: Any) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else f'{text[:57]}...'}"
