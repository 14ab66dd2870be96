"""Funnel: every wish to buy ends somewhere and is counted there; a run without a fill says where, in one sentence."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, Literal

import pytest

from eventbus import Event, InMemoryEventBus
from quantum_trader.events import (
    DroppedIntent,
    EvaluationCompletedEvent,
    OrderApprovedEvent,
    OrderCancelledEvent,
    OrderDeniedEvent,
    OrdersProposedEvent,
    OrdersSizedEvent,
    Purpose,
    RejectedSignal,
    SignalItem,
    SignalsGeneratedEvent,
    SizedOrder,
    StrategyPromotedEvent,
    TradeExecutedEvent,
)
from quantum_trader.model import OrderKind, Side, StrategyLifecycle
from quantum_trader.monitoring.funnel import Funnel

SHADOW, LIVE = StrategyLifecycle.SHADOW, StrategyLifecycle.LIVE


def wish(name: str, *, target: Literal[0, 1] = 1, stage: StrategyLifecycle = StrategyLifecycle.LIVE) -> SignalItem:
    return SignalItem(
        signal_id=name, strategy_id="s", stage=stage, symbol="A", target=target, reference_px=10.0, confidence=0.9, reason=""
    )  # fmt: skip


def signals(*items: SignalItem) -> Event:
    return SignalsGeneratedEvent(session=1, items=items)


def refused(**reasons: str) -> Event:
    rejected = tuple(
        RejectedSignal(signal_id=name, strategy_id="s", symbol="A", reason=why) for name, why in reasons.items()
    )
    return OrdersProposedEvent(session=1, policy_version=1, rejected=rejected)


def sized(*names: str, **dropped: str) -> Event:
    items = tuple(
        SizedOrder(
            order_id=name, intent_id=name, strategy_id="s", symbol="A", side=Side.BUY, kind=OrderKind.ENTRY,
            qty=Decimal(1), reference_px=10.0, notional=Decimal(10), risk=Decimal(1),
        )
        for name in names
    )  # fmt: skip
    gone = tuple(
        DroppedIntent(intent_id=name, strategy_id="s", symbol="A", reason=why) for name, why in dropped.items()
    )
    return OrdersSizedEvent(session=1, policy_version=1, items=items, dropped=gone)


def about(cls: type[Event], name: str, **fields: Any) -> Event:
    return cls(order_id=name, strategy_id="s", symbol="A", session=1, **fields)


def approved(name: str) -> Event:
    order = {"intent_id": name, "side": Side.BUY, "qty": Decimal(1), "reference_px": 10.0}
    return about(OrderApprovedEvent, name, kind=OrderKind.ENTRY, **order)


def denied(name: str) -> Event:
    return about(OrderDeniedEvent, name, kind=OrderKind.ENTRY, code="CASH", limit=1.0, value=2.0)


def filled(name: str) -> Event:
    return about(TradeExecutedEvent, name, side=Side.BUY, size=Decimal(1), price=Decimal(10))


def unpaid(name: str) -> Event:
    return about(OrderCancelledEvent, name, kind=OrderKind.ENTRY, remaining_qty=Decimal(1), reason="CASH")


def judged(strategy: str, purpose: Purpose, *missed: str, psr: float = 0.5) -> Event:
    return EvaluationCompletedEvent(
        evaluation_id=strategy, subject_kind="STRATEGY", subject_id=strategy, purpose=purpose,
        verdict="FAIL" if missed else "PASS", metrics={"psr": psr}, reasons=missed, session=7,
    )  # fmt: skip


async def told(*events: Event) -> Funnel:
    funnel = Funnel()
    async with InMemoryEventBus() as bus:
        funnel.attach(bus)
        for event in events:
            await bus.publish(event)
            await bus.drain()
    return funnel


async def test_every_wish_is_counted_where_it_ended() -> None:
    funnel = await told(
        signals(*map(wish, "abcdef"), wish("x", target=0), wish("y", stage=StrategyLifecycle.SHADOW)),
        refused(a="NOT_IN_TOP", x="WORKING_ORDER", y="STAGE"),
        sized("c", "d", "e", "f", b="GROSS"),
        denied("c"),
        *map(approved, "def"),
        filled("d"),
        filled("d"),
        unpaid("e"),
    )
    assert funnel.stages() == (
        "6 wishes to buy -> 1 refused (NOT_IN_TOP 1) -> 4 sized, 1 dropped (GROSS 1)"
        " -> 3 approved, 1 denied (CASH 1) -> 1 filled, 1 not (CASH 1)"
    )


@pytest.mark.parametrize(
    ("events", "sentence"),
    [
        ((), "no strategy was LIVE, and none was old enough to be judged: give it more sessions"),
        (
            (judged("s1", Purpose.BACKTEST, "psr 0.9 < 0.95"),),
            "no strategy went LIVE; closest came s1 at the BACKTEST gate: psr 0.9 < 0.95",
        ),
        (
            (StrategyPromotedEvent(strategy_id="s", from_stage=SHADOW, to_stage=LIVE, reason=""),),
            "strategies were LIVE, and none of them ever wanted to buy",
        ),
        (
            (signals(wish("a"), wish("b")), refused(a="CONFIDENCE", b="CONFIDENCE")),
            "none of 2 wishes to buy was let through (CONFIDENCE 2)",
        ),
        ((signals(wish("a")), sized(a="PARTICIPATION")), "none of 1 wishes to buy got a size (PARTICIPATION 1)"),
        ((signals(wish("a")), sized("a"), denied("a")), "the risk guard denied all of 1 orders (CASH 1)"),
        (
            (signals(wish("a")), sized("a"), approved("a"), unpaid("a")),
            "none of 1 approved orders met a price (CASH 1)",
        ),
    ],
    ids=["no strategies", "no gate passed", "no wishes", "refused", "dropped", "denied", "unfilled"],
)
async def test_a_run_without_a_fill_says_where_its_wishes_ended(events: tuple[Event, ...], sentence: str) -> None:
    assert (await told(*events)).why_nothing(bars=100) == sentence


async def test_a_feed_without_bars_is_reason_enough() -> None:
    assert (await told()).why_nothing(bars=0) == "the feed had no usable bar"


async def test_the_best_candidate_is_the_one_that_came_furthest_and_missed_least() -> None:
    best = None
    for event, name in [
        (judged("many", Purpose.BACKTEST, "psr", "trades"), "many"),
        (judged("few", Purpose.BACKTEST, "psr", psr=0.6), "few"),
        (judged("worse", Purpose.BACKTEST, "psr", psr=0.4), "few"),
        (judged("better", Purpose.BACKTEST, "psr", psr=0.9), "better"),
        (judged("further", Purpose.SHADOW, "sharpe", "trades", psr=0.1), "further"),
        (judged("passed", Purpose.SHADOW), "further"),
        (judged("live", Purpose.LIVE_REVIEW, "drawdown"), "further"),
    ]:
        best = best or Funnel()
        await best.on_evaluation_completed(event)  # type: ignore[arg-type] # all of them are
        assert best.best is not None
        assert best.best.strategy_id == name


async def test_it_comes_back_from_json_as_it_was() -> None:
    funnel = await told(
        signals(wish("a")), sized(a="GROSS"), judged("s1", Purpose.SHADOW, "sharpe 0.4 <= 0.5", "trades 9 < 10")
    )
    again = Funnel.load(json.loads(json.dumps(funnel.as_dict())))
    assert (again.as_dict(), again.stages(), again.best) == (funnel.as_dict(), funnel.stages(), funnel.best)
