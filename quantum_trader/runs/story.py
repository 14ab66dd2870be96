"""Story: why an order came about and what became of it: bar, signal, proposal, size, checks, fills; read from a run's journal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from eventbus import Event, JournalReader
from quantum_trader.control.checks import CHECKS, Exits
from quantum_trader.events import (
    MarketBarEvent,
    OrderAcceptedEvent,
    OrderApprovedEvent,
    OrderCancelledEvent,
    OrderDeniedEvent,
    OrderExpiredEvent,
    OrderRejectedEvent,
    OrdersProposedEvent,
    OrdersSizedEvent,
    PolicyUpdatedEvent,
    RunStartedEvent,
    SignalsGeneratedEvent,
    TradeExecutedEvent,
)
from quantum_trader.identity import RunIds
from quantum_trader.model import OrderKind
from quantum_trader.runs.folder import RunFolder
from quantum_trader.runs.history import events, found, opened

_FATES: Final = (OrderAcceptedEvent, OrderRejectedEvent, TradeExecutedEvent, OrderCancelledEvent, OrderExpiredEvent)


class NoOrder(LookupError):
    """The run has no order of this id. Take one of those that the trades or `qt events RUN --type order.*` name."""

    def __init__(self, folder: RunFolder, order_id: str) -> None:
        super().__init__(f"{folder.path}: no order {order_id!r}; qt events {folder.path} --type 'order.*' lists them")


@dataclass(frozen=True, slots=True)
class Step:
    """One step on the way of an order. `facts` are what counts of the event; `then` is what followed from it."""

    what: str
    event: Event
    facts: dict[str, Any]
    then: list[Step] = field(default_factory=list)


def tell(folder: RunFolder, order_id: str) -> Step:
    """The story of an order, its first cause on top. A fill's id stands for its order. Raises `NoOrder`, `NoRun`."""
    order_id = order_id.partition("#")[0]
    with opened(folder) as reader:
        entry_id = order_id.partition(":")[0]  # a protective order is named after the entry that it protects
        verdict = next(
            (event for event in events(reader, OrderApprovedEvent, OrderDeniedEvent) if event.order_id == entry_id),
            None,
        )
        if verdict is None:
            raise NoOrder(folder, order_id)
        checks = Step("checks", verdict, _checks(verdict))
        for fate in events(reader, *_FATES):
            if fate.order_id == entry_id or fate.order_id.startswith(f"{entry_id}:"):
                checks.then.append(_fate(reader, fate))
        return _causes(reader, verdict, checks, entry_id)


def _causes(reader: JournalReader, verdict: Any, checks: Step, order_id: str) -> Step:
    """The steps that led to a verdict, the first one on top."""
    top = checks
    sized = found(reader, verdict.causation_id)
    if not isinstance(sized, OrdersSizedEvent):
        return top
    order = next(item for item in sized.items if item.order_id == order_id)
    facts = order.model_dump(mode="json", include={"qty", "notional", "risk", "limited_by"})
    top = Step("size", sized, facts, [top])
    proposed = found(reader, sized.causation_id)
    if isinstance(proposed, OrdersProposedEvent):
        # A trim has no intent: the balancer makes it when the gross exposure has outgrown the policy.
        intent = next((item for item in proposed.items if item.intent_id == order.intent_id), order)
        facts = intent.model_dump(mode="json", include={"kind", "side", "reference_px", "stop_px", "confidence"})
        top = Step("proposal", proposed, facts | _policy(reader, proposed.policy_version), [top])
        signals = found(reader, proposed.causation_id)
        if isinstance(signals, SignalsGeneratedEvent):
            for signal in signals.items:
                if signal.signal_id == order.intent_id:
                    facts = signal.model_dump(mode="json", exclude={"signal_id", "symbol"})
                    top = Step("signal", signals, facts, [top])
    bar = _bar(reader, sized.session, order.symbol)
    return top if bar is None else Step("bar", bar, _prices(bar), [top])


def _bar(reader: JournalReader, session: int, symbol: str) -> Event | None:
    """The bar that was decided on. It is no cause in the journal: a decision follows from the end of a session."""
    started = next(events(reader, RunStartedEvent), None)
    return started and found(reader, RunIds(started.run_id).root(MarketBarEvent.type, session, symbol))


def _prices(bar: Event) -> dict[str, Any]:
    return {name: bar[name] for name in ("symbol", "session", "open", "high", "low", "close", "volume")}


def _policy(reader: JournalReader, version: int) -> dict[str, Any]:
    for policy in events(reader, PolicyUpdatedEvent):
        if policy.version == version:
            return {"policy_version": version, "risk_mode": policy.risk_mode.value}
    return {"policy_version": version}


def _checks(verdict: OrderApprovedEvent | OrderDeniedEvent) -> dict[str, Any]:
    """Which checks an order passed, in their order, and the one that it did not."""
    asked = [check.code for check in CHECKS if verdict.kind is OrderKind.ENTRY or check.exits is Exits.CHECKED]
    if isinstance(verdict, OrderApprovedEvent):
        return {"verdict": "approved", "passed": asked, "warnings": list(verdict.warnings)}
    passed = asked[: asked.index(verdict.code)] if verdict.code in asked else []
    return {
        "verdict": "denied",
        "passed": passed,
        "code": verdict.code,
        "limit": verdict.limit,
        "value": verdict.value,
    }


def _fate(reader: JournalReader, event: Event) -> Step:
    what = "fill" if isinstance(event, TradeExecutedEvent) else event.type.partition(".")[2]
    left_out = {"order_id", "strategy_id", "symbol", "kind", "model", "pnl"}
    facts = {name: value for name, value in event.payload.items() if name not in left_out}
    cause = found(reader, event.causation_id)
    if isinstance(cause, MarketBarEvent):
        facts |= {"bar": _prices(cause)}
    return Step(what, event, facts)


def walk(step: Step, depth: int = 0) -> Iterator[tuple[int, Step]]:
    """Every step with its depth, causes before what followed."""
    yield depth, step
    for following in step.then:
        yield from walk(following, depth + 1)
