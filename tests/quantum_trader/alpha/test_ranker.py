"""Opportunity ranker: when it speaks, and what a policy's wish changes; the ranking itself has its own tests."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from eventbus import InMemoryEventBus
from eventbus.testing.recorder import Recorder
from quantum_trader.alpha.ranker import OpenRanker, OpportunityRanker
from quantum_trader.alpha.ranking import HISTORY
from quantum_trader.events import (
    MarketBarEvent,
    OpportunitiesUpdatedEvent,
    PolicyUpdatedEvent,
    RunStartedEvent,
    SessionClosedEvent,
)
from quantum_trader.model import RiskMode

START = datetime(2001, 1, 1, tzinfo=UTC)
DRIFT = {"A": 0.1, "B": 0.3, "C": 0.2}  # of the price, a session


def bar(symbol: str, session: int, *, jump: float = 1.0) -> MarketBarEvent:
    close = 100.0 + DRIFT[symbol] * session + 2.0 * (session % 3)
    return MarketBarEvent(
        symbol=symbol,
        session=session,
        open=close * jump,
        high=close * jump + 1,
        low=close - 1,
        close=close,
        volume=1_000_000,
        timestamp=START + timedelta(days=session),
    )


async def play(bus: InMemoryEventBus, first: int, last: int, *, without: str = "", jump: str = "") -> None:
    """Sessions `first`..`last`; one symbol may be missing, one may open far from its close before."""
    for session in range(first, last + 1):
        for symbol in DRIFT:
            if symbol != without:
                await bus.publish(bar(symbol, session, jump=1.5 if symbol == jump else 1.0))
        await bus.drain()
        await bus.publish(SessionClosedEvent(session=session, timestamp=START + timedelta(days=session)))
        await bus.drain()


async def wish(bus: InMemoryEventBus, session: int, top_n: int) -> None:
    await bus.publish(
        PolicyUpdatedEvent(
            risk_mode=RiskMode.NORMAL,
            allowed_strategies=[],
            global_min_confidence=0.5,
            max_risk_per_trade=0.01,
            max_positions=5,
            top_n=top_n,
            session=session,
        )
    )
    await bus.drain()


async def test_it_speaks_every_five_sessions_and_when_the_warm_up_ends(
    event_bus: InMemoryEventBus, recorder: Recorder
) -> None:
    OpportunityRanker(event_bus)
    await play(event_bus, 0, HISTORY + 3)
    told = recorder.of(OpportunitiesUpdatedEvent)
    assert [event.session for event in told] == [*range(0, HISTORY - 1, 5), HISTORY - 1, HISTORY]
    assert told[0].excluded == dict.fromkeys(DRIFT, "WARMUP")
    assert (list(told[0].top_symbols), told[0].excluded_count) == ([], 3)
    last = told[-1]
    assert (last.excluded, last.excluded_count) == ({}, 0)
    assert sorted(last.top_symbols) == sorted(last.scores) == sorted(last.components) == sorted(DRIFT)
    assert list(last.top_symbols) == sorted(DRIFT, key=lambda symbol: (-last.scores[symbol], symbol))
    assert last.effective_session == last.session


async def test_an_exclusion_is_told_at_once_with_its_reason_and_so_is_its_end(
    event_bus: InMemoryEventBus, recorder: Recorder
) -> None:
    OpportunityRanker(event_bus)
    await play(event_bus, 0, HISTORY)
    recorder.clear()
    await play(event_bus, HISTORY + 1, HISTORY + 1, jump="B")
    (told,) = recorder.of(OpportunitiesUpdatedEvent)
    assert told.excluded == {"B": "JUMP"}
    assert "B" not in told.top_symbols
    await play(event_bus, HISTORY + 2, HISTORY + 7)
    ends = [event.session for event in recorder.of(OpportunitiesUpdatedEvent) if not event.excluded]
    assert ends[0] == HISTORY + 6  # five sessions after


async def test_a_symbol_that_stops_trading_is_stale(event_bus: InMemoryEventBus, recorder: Recorder) -> None:
    OpportunityRanker(event_bus)
    await play(event_bus, 0, HISTORY)
    await play(event_bus, HISTORY + 1, HISTORY + 4, without="A")
    assert recorder.of(OpportunitiesUpdatedEvent)[-1].excluded == {"A": "STALE"}


async def test_a_policy_s_wish_counts_from_the_next_session(event_bus: InMemoryEventBus, recorder: Recorder) -> None:
    OpportunityRanker(event_bus)
    await play(event_bus, 0, HISTORY)
    recorder.clear()
    await wish(event_bus, HISTORY + 1, 1)
    await play(event_bus, HISTORY + 1, HISTORY + 2)
    (told,) = recorder.of(OpportunitiesUpdatedEvent)
    assert (told.session, len(told.top_symbols)) == (HISTORY + 2, 1)


@pytest.mark.parametrize("wishes", [(1,), (3, 1), (1, 2, 1)])
async def test_the_last_wish_of_a_session_counts_not_the_greatest(
    event_bus: InMemoryEventBus, recorder: Recorder, wishes: tuple[int, ...]
) -> None:
    """A policy told before the first session, too, replaces the number that the ranker starts with."""
    OpportunityRanker(event_bus, top_n=3)
    for top_n in wishes:
        await wish(event_bus, -1, top_n)
    await play(event_bus, 0, HISTORY)
    assert [len(event.top_symbols) for event in recorder.of(OpportunitiesUpdatedEvent)][-1] == 1


async def test_a_restored_ranker_goes_on_like_the_first(event_bus: InMemoryEventBus, recorder: Recorder) -> None:
    first = OpportunityRanker(event_bus)
    await play(event_bus, 0, HISTORY + 2)
    saved = json.loads(json.dumps(first.state()))
    recorder.clear()
    heard = Recorder()
    async with InMemoryEventBus() as bus:
        bus.subscribe(OpportunitiesUpdatedEvent, heard)
        OpportunityRanker(bus).restore(saved)
        await play(bus, HISTORY + 3, HISTORY + 12)
    await play(event_bus, HISTORY + 3, HISTORY + 12)
    assert heard.payloads == [event.payload for event in recorder.of(OpportunitiesUpdatedEvent)]


async def test_an_open_ranker_lets_everything_in(event_bus: InMemoryEventBus, recorder: Recorder) -> None:
    OpenRanker(event_bus)
    await event_bus.publish(
        RunStartedEvent(run_id="r", seed=1, config_sha256="", code_version="", universe=("A", "B"), timestamp=START)
    )
    await event_bus.drain()
    (told,) = recorder.of(OpportunitiesUpdatedEvent)
    assert (list(told.top_symbols), told.scores) == (["A", "B"], {"A": 0.5, "B": 0.5})
