"""Strategy runtime: one batch of signals a session, edges and no levels, and silence where nobody may speak."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from eventbus import InMemoryEventBus
from eventbus.testing.recorder import Recorder
from quantum_trader.alpha.families import StrategySpec
from quantum_trader.alpha.runtime import CONFIDENCE_METRIC, StrategyRuntimeEngine
from quantum_trader.alpha.trials import Trials
from quantum_trader.config import Costs, StrategiesConfig
from quantum_trader.events import (
    MarketBarEvent,
    MetricRecordedEvent,
    OpportunitiesUpdatedEvent,
    SessionClosedEvent,
    SessionDecideEvent,
    SignalItem,
    SignalsGeneratedEvent,
    StrategyCreatedEvent,
    StrategyPromotedEvent,
    TradeExecutedEvent,
)
from quantum_trader.learning.statistics import probabilistic_sharpe
from quantum_trader.model import Side, StrategyLifecycle

START = datetime(2001, 1, 1, tzinfo=UTC)
FREE = Costs(half_spread_bp=0.0, impact_bp=0.0, participation=1.0, fee_rate=Decimal(0))
SPEC = StrategySpec("momentum", (2,))  # long while the close lies above the close two bars before
BACKTEST, SHADOW, LIVE, RETIRED = StrategyLifecycle
UP, DOWN = (10.0, 11.0, 12.0), (12.0, 11.0, 10.0)


class Desk:
    """A runtime on a running bus, led through sessions by hand."""

    def __init__(
        self,
        bus: InMemoryEventBus,
        heard: Recorder,
        costs: Costs = FREE,
        *,
        ranked: bool = False,
        **settings: Any,
    ) -> None:
        self.bus, self.heard = bus, heard
        config = StrategiesConfig(**settings)
        self.trials = Trials(costs, config, cooldown=5)
        self.runtime = StrategyRuntimeEngine(bus, config, self.trials, warrant=lambda _: True, ranked=ranked)
        self.session = -1

    async def create(self, spec: StrategySpec = SPEC) -> None:
        await self.tell(StrategyCreatedEvent(strategy_id=spec.strategy_id, family=spec.family, params=spec.named))

    async def promote(self, stage: StrategyLifecycle, spec: StrategySpec = SPEC) -> None:
        """Tell it in the session that is over: it holds from the next one."""
        await self.tell(
            StrategyPromotedEvent(
                strategy_id=spec.strategy_id, from_stage=BACKTEST, to_stage=stage, reason="", session=self.session
            )
        )

    async def trade(self, side: Side, size: int = 5) -> None:
        await self.tell(
            TradeExecutedEvent(
                order_id="o", symbol="A", side=side, size=Decimal(size), price=Decimal(10), strategy_id=SPEC.strategy_id
            )
        )

    async def play(self, *closes: float | None) -> list[tuple[SignalItem, ...]]:
        """A session per close, None for one without a bar; what was signalled in each."""
        before = len(self.heard.of(SignalsGeneratedEvent))
        for close in closes:
            self.session += 1
            at = START + timedelta(days=self.session)
            if close is not None:
                await self.tell(bar("A", self.session, close))
            await self.tell(SessionClosedEvent(session=self.session, timestamp=at))
            await self.tell(SessionDecideEvent(session=self.session, timestamp=at))
        return [event.items for event in self.heard.of(SignalsGeneratedEvent)[before:]]

    async def tell(self, event: Any) -> None:
        await self.bus.publish(event)
        await self.bus.drain()


def bar(symbol: str, session: int, close: float) -> MarketBarEvent:
    return MarketBarEvent(
        symbol=symbol,
        session=session,
        open=close,
        high=close + 1,
        low=close - 1,
        close=close,
        volume=1_000_000,
        timestamp=START + timedelta(days=session),
    )


@pytest.fixture
async def desk(event_bus: InMemoryEventBus, recorder: Recorder) -> Desk:
    """With one strategy, LIVE from the first session on."""
    made = Desk(event_bus, recorder)
    await made.create()
    await made.promote(LIVE)
    return made


async def test_there_is_one_batch_a_session_even_without_a_strategy(
    event_bus: InMemoryEventBus, recorder: Recorder
) -> None:
    assert await Desk(event_bus, recorder).play(*UP, None) == [()] * 4


async def test_no_live_strategy_means_no_signal(event_bus: InMemoryEventBus, recorder: Recorder) -> None:
    desk = Desk(event_bus, recorder)
    await desk.create()
    assert await desk.play(*UP, 13.0) == [()] * 4
    assert desk.runtime.stages() == {SPEC.strategy_id: BACKTEST}


async def test_a_signal_tells_the_edge_and_not_the_level(desk: Desk) -> None:
    *_, edge, level, again = await desk.play(*UP, 13.0, 14.0)
    (item,) = edge
    assert (item.symbol, item.target, item.stage, item.reason) == ("A", 1, LIVE, "target is long")
    assert (item.signal_id, item.reference_px) == ("2-momentum-2-A", 12.0)
    assert (level, again) == ((), ())


async def test_a_target_that_turns_flat_is_an_edge_too(desk: Desk) -> None:
    await desk.play(*UP)
    await desk.trade(Side.BUY)
    (item,) = (await desk.play(9.0))[0]
    assert (item.target, item.stop_px, item.reason) == (0, None, "target is flat")


async def test_an_entry_still_wanted_is_told_again_after_five_sessions_until_it_is_held(desk: Desk) -> None:
    rising = [13.0 + n for n in range(12)]
    told = await desk.play(*UP, *rising)
    assert [number for number, items in enumerate(told) if items] == [2, 7, 12]
    assert {item.reason for items in told[3:] for item in items} == {"still wanted"}
    await desk.trade(Side.BUY)
    assert await desk.play(*[30.0 + n for n in range(8)]) == [()] * 8


async def test_a_shadow_does_not_insist(event_bus: InMemoryEventBus, recorder: Recorder) -> None:
    desk = Desk(event_bus, recorder)
    await desk.create()
    await desk.promote(SHADOW)
    told = await desk.play(*UP, *[13.0 + n for n in range(12)])
    assert [number for number, items in enumerate(told) if items] == [2]
    assert told[2][0].stage is SHADOW


async def test_a_position_that_lost_its_target_is_told_every_session(desk: Desk) -> None:
    await desk.play(*UP)
    await desk.trade(Side.BUY)
    told = await desk.play(9.0, 8.0, 7.0)
    assert [item.reason for (item,) in told] == ["target is flat"] + ["position without target"] * 2
    await desk.trade(Side.SELL)
    assert await desk.play(6.0) == [()]


async def test_a_retired_strategy_leaves_what_it_holds_and_enters_nothing(desk: Desk) -> None:
    await desk.play(*UP)
    await desk.trade(Side.BUY)
    await desk.promote(RETIRED)
    (item,) = (await desk.play(13.0))[0]
    assert (item.target, item.stage) == (0, RETIRED)
    await desk.trade(Side.SELL)
    assert await desk.play(*[14.0 + n for n in range(8)]) == [()] * 8


async def test_a_stage_told_in_a_session_holds_from_the_next(event_bus: InMemoryEventBus, recorder: Recorder) -> None:
    desk = Desk(event_bus, recorder)
    await desk.create()
    await desk.play(10.0, 11.0)
    promotion = StrategyPromotedEvent(
        strategy_id=SPEC.strategy_id, from_stage=SHADOW, to_stage=LIVE, reason="", session=desk.session + 1
    )
    await desk.tell(promotion)
    assert await desk.play(12.0) == [()]
    assert [len(items) for items in await desk.play(13.0)] == [1]


async def test_without_a_bar_today_there_is_no_price_to_enter_at_but_one_to_leave_at(desk: Desk) -> None:
    await desk.play(10.0, 11.0)
    await desk.promote(BACKTEST)
    await desk.play(12.0)
    await desk.promote(LIVE)
    assert await desk.play(None) == [()]
    await desk.trade(Side.BUY)
    await desk.promote(RETIRED)
    (item,) = (await desk.play(None))[0]
    assert (item.target, item.reference_px) == (0, 12.0)


async def test_the_stop_lies_three_average_true_ranges_below_the_close(
    event_bus: InMemoryEventBus, recorder: Recorder
) -> None:
    desk = Desk(event_bus, recorder)
    await desk.create()
    await desk.play(*[10.0] * 21)
    await desk.promote(LIVE)
    ((item,),) = await desk.play(10.5)
    # Twenty ranges of 2 smoothed by Wilder, and today's of 2.
    assert item.stop_px == pytest.approx(10.5 - 3 * 2.0)


async def test_before_twenty_bars_there_is_no_stop(desk: Desk) -> None:
    *_, (item,) = await desk.play(*UP)
    assert item.stop_px is None


async def test_confidence_is_the_probability_that_the_virtual_returns_have_a_positive_sharpe_ratio(
    event_bus: InMemoryEventBus, recorder: Recorder
) -> None:
    desk = Desk(event_bus, recorder, weight_per_symbol=0.5)
    await desk.create()
    await desk.promote(LIVE)
    closes = [10.0, 11.0, 12.0, 12.6, 12.3, 13.1, 13.0, 13.4]
    told = await desk.play(*closes, 12.0)
    # Long from the open after the third close on: what half the equity buys at that close, bought at 12.6, its own open here.
    equity = [1.0] * 4 + [1.0 + 0.5 / 12.0 * (close - 12.6) for close in (12.3, 13.1, 13.0, 13.4, 12.0)]
    returns = [0.0, *(b / a - 1 for a, b in pairwise(equity))]
    (item,) = told[-1]
    assert item.confidence == pytest.approx(probabilistic_sharpe(returns), rel=1e-4)  # whole shares only
    stated = [event for event in recorder.of(MetricRecordedEvent) if event.metric == CONFIDENCE_METRIC]
    assert [event.session for event in stated] == [0, 5]
    assert stated[1].value == pytest.approx(probabilistic_sharpe(returns[:6]), rel=1e-4)


async def confidences(desk: Desk, rankings: dict[int, OpportunitiesUpdatedEvent]) -> list[float]:
    """What the signal of a ninth session is worth, by the session a ranking is told in."""
    await desk.create()
    await desk.promote(LIVE)
    found = []
    for session, close in enumerate([10.0, 11.0, 12.0, 12.6, 12.3, 13.1, 13.0, 13.4, 12.0]):
        if session in rankings:
            await desk.tell(rankings[session])
        for items in await desk.play(close):
            found += [item.confidence for item in items]
    return found


def ranking(session: int, effective: int, **scores: float) -> OpportunitiesUpdatedEvent:
    return OpportunitiesUpdatedEvent(
        top_symbols=sorted(scores), scores=scores, session=session, effective_session=effective
    )


async def test_confidence_is_scaled_by_the_rank_of_the_symbol(event_bus: InMemoryEventBus, recorder: Recorder) -> None:
    alone = (await confidences(Desk(event_bus, recorder, ranked=False), {0: ranking(0, 0, A=0.4)}))[-1]
    assert alone > 0.3
    for rankings, rank in (
        ({0: ranking(0, 0, A=0.4)}, 0.4),
        ({0: ranking(0, 0, A=0.4), 5: ranking(5, 5, A=1.0)}, 1.0),
        ({0: ranking(0, 0, A=0.4), 5: ranking(5, 99, A=1.0)}, 0.4),  # not in force yet
        ({0: ranking(0, 0, B=0.4)}, 0.0),  # excluded
        ({}, 0.0),  # nothing was ranked
    ):
        async with InMemoryEventBus() as bus:
            heard = Recorder()
            bus.subscribe("*", heard)
            ranked = (await confidences(Desk(bus, heard, ranked=True), rankings))[-1]
        assert ranked == pytest.approx(alone * (0.75 + 0.25 * rank), rel=1e-12)


async def test_settle_bars_keep_a_strategy_silent_after_its_warm_up(
    event_bus: InMemoryEventBus, recorder: Recorder
) -> None:
    desk = Desk(event_bus, recorder, settle_bars=2)
    await desk.create()
    await desk.promote(LIVE)
    told = await desk.play(*UP, 13.0, 14.0)
    assert [len(items) for items in told] == [0, 0, 0, 0, 1]


async def test_strategies_and_symbols_speak_in_sorted_order(event_bus: InMemoryEventBus, recorder: Recorder) -> None:
    desk = Desk(event_bus, recorder)
    for lookback in (3, 2):
        await desk.create(StrategySpec("momentum", (lookback,)))
    told = []
    for session in range(4):
        if session == 3:
            for lookback in (3, 2):
                await desk.promote(LIVE, StrategySpec("momentum", (lookback,)))
        await desk.tell(bar("C", session, 10.0 + session))
        await desk.tell(bar("B", session, 20.0 + session))
        told += await desk.play(None)
    items = told[3]
    assert [(item.strategy_id, item.symbol) for item in items] == [
        (f"momentum-{lookback}", symbol) for lookback in (2, 3) for symbol in ("B", "C")
    ]


async def test_a_restored_runtime_speaks_like_the_one_that_went_on(desk: Desk) -> None:
    await desk.play(*UP)
    await desk.trade(Side.BUY)
    saved, tried = json.loads(json.dumps([desk.runtime.state(), desk.trials.state()]))
    heard = Recorder()
    async with InMemoryEventBus() as bus:
        bus.subscribe("*", heard)
        other = Desk(bus, heard)
        other.trials.restore(tried)
        other.runtime.restore(saved)
        other.session = desk.session
        assert await other.play(9.0, 10.0, 12.0) == await desk.play(9.0, 10.0, 12.0)
        assert other.runtime.state() == desk.runtime.state()
