"""Hostile markets: what a market can do to a trader that believes it, played through the whole system.

Halts and reopenings, a delisting, crashes, prices too small for cents and too large for a share, volumes below one. In each
the books must hold, no fill may have a price that nobody could get, and the run must say what it did.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from eventbus import InMemoryEventBus
from quantum_trader.app import QUEUE_SIZE, TradingSystem, build, run_id_of
from quantum_trader.config import Config, load_config
from quantum_trader.events import TradeExecutedEvent
from quantum_trader.identity import RunIds
from quantum_trader.market.calendar import SessionBars
from quantum_trader.model import Bar, Side, Trigger

START = datetime(2020, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
WIDE = {"cooldown": 0, "jump_quarantine": 0, "price_collar": 100.0, "max_drawdown": 1.0, "max_daily_loss": 1.0}
ENTERS = [{"family": "trend", "params": [2, 5]}]

Prices = Sequence[float | None]  # the close of each session, None without a bar


@dataclass(frozen=True)
class Market:
    """A feed of made-up bars: each opens at the close before, and strays a little beyond both."""

    closes: Mapping[str, Prices]
    volume: float = 1e6
    start: datetime = START
    step: timedelta = DAY
    stray: float = 0.001

    @property
    def symbols(self) -> tuple[str, ...]:
        return tuple(sorted(self.closes))

    def __len__(self) -> int:
        return max(map(len, self.closes.values()))

    def __iter__(self) -> Iterator[SessionBars]:
        last: dict[str, float] = {}
        for session in range(len(self)):
            ts = self.start + session * self.step
            bars = []
            for symbol in self.symbols:
                closes = self.closes[symbol]
                close = closes[session] if session < len(closes) else None
                if close is not None:
                    bars.append(self.bar(symbol, session, ts, last.get(symbol, close), close))
                    last[symbol] = close
            yield SessionBars(session, ts, tuple(bars))

    def bar(self, symbol: str, session: int, ts: datetime, opened: float, close: float) -> Bar:
        high, low = max(opened, close) * (1 + self.stray), min(opened, close) * (1 - self.stray)
        return Bar(symbol, session, ts, opened, high, low, close, self.volume)


def wave(sessions: int, level: float = 100.0, *, swing: float = 0.1, period: int = 24) -> list[float]:
    """A price that goes up and down for ever: a trend to follow in either direction."""
    return [level * (1 + swing * math.sin(2 * math.pi * session / period)) for session in range(sessions)]


def rising(sessions: int, level: float = 100.0, *, a_session: float = 0.01) -> list[float]:
    return [level * (1 + a_session) ** session for session in range(sessions)]


def settings(**sections: Mapping[str, Any]) -> Config:
    """A trader that lets every signal through, so that the market is all that can stop it."""
    base: dict[str, dict[str, Any]] = {
        "ranker": {"enabled": False},
        "spc": {"enabled": False},
        "policy": {
            "fixed_mode": "AGGRESSIVE",
            "aggressive": {"global_min_confidence": 0.0, "max_risk_per_trade": 1.0, "max_positions": 500, "top_n": 500},
        },
        "risk": {
            "cooldown": 0,
            "jump_quarantine": 0,
            "price_collar": 100.0,
            "max_drawdown": 1.0,
            "max_daily_loss": 1.0,
        },
        "health": {"degraded_drawdown": 1.0, "critical_drawdown": 1.0},
        "strategies": {"all_live": True, "stop_atr": 0.0, "seeds": ENTERS},
    }
    for name, values in sections.items():
        base[name] = {**base.get(name, {}), **values}
    return load_config(overrides=base, environ={})


@dataclass(frozen=True)
class Played:
    """A run to its end, and every fill of it."""

    system: TradingSystem
    trades: list[TradeExecutedEvent]

    @property
    def equity(self) -> float:
        assert self.system.record.last is not None
        return float(self.system.record.last.equity)

    def sales(self) -> list[TradeExecutedEvent]:
        return [trade for trade in self.trades if trade.side is Side.SELL]


def play(market: Market, **sections: Mapping[str, Any]) -> Played:
    """A run over `market`, which must end with sound books and nothing that a component choked on."""
    return asyncio.run(_play(market, settings(**sections)))


async def _play(market: Market, config: Config) -> Played:
    ids = RunIds(run_id_of(config))
    bus = InMemoryEventBus(max_queue_size=QUEUE_SIZE, identify=ids)
    played = Played(build(bus, config, market, ids=ids), [])

    async def on_trade_executed(event: TradeExecutedEvent) -> None:
        played.trades.append(event)

    bus.subscribe(TradeExecutedEvent, on_trade_executed)
    try:
        async with bus:
            await played.system.run()
    finally:
        played.system.close()
    assert played.system.record.last is not None
    assert played.system.record.last.invariants_ok
    assert len(bus.dead_letters) == 0
    return played


# --- halts and delistings --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("halted", [1, 4, 5, 20, 60])
def test_a_halt_ends_at_the_price_of_the_reopening_however_long_it_lasts(halted: int) -> None:
    before, crash = rising(30), [rising(30)[-1] * 0.1] * 20
    companion = [50.0] * (30 + halted + 20)  # there are sessions although the symbol has no bars
    played = play(Market({"AAA": [*before, *[None] * halted, *crash], "ZZZ": companion}))
    assert {trade.trigger for trade in played.sales()} == {Trigger.OPEN}
    # It opens where it closed, so the crash shows in the session after; nobody could sell before.
    assert min(trade.session for trade in played.sales()) > 30 + halted
    assert played.equity < 850_000


# --- prices and volumes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [4e-7, 1.2e-5])
def test_a_price_far_below_a_cent_is_kept_to_twelve_digits(level: float) -> None:
    market = Market({"AAA": wave(80, level)}, volume=1e14)
    played = play(market, risk=WIDE | {"max_order_qty": 10**15})
    opens = {bar.session: bar.open for session in market for bar in session.bars}
    assert played.system.record.bars == 80
    assert len(played.trades) > 2
    for trade in played.trades:
        assert float(trade.price) == pytest.approx(
            opens[trade.session], rel=1e-3
        )  # half spread and impact: 3 bp at most


def test_an_order_is_sized_to_the_largest_quantity_allowed() -> None:
    played = play(Market({"AAA": wave(80, 0.02)}, volume=1e12))
    assert played.system.record.denials == {}
    assert max(trade.size for trade in played.trades) == 1_000_000


def test_a_volume_below_one_is_traded_in_lots() -> None:
    played = play(Market({"BTC/USDT": wave(80, 50_000.0)}, volume=0.41), instruments={"BTC/*": {"lot": "0.001"}})
    sizes = {trade.size for trade in played.trades}
    assert max(sizes) == Decimal("0.020")  # a twentieth of the volume
    assert all(size % Decimal("0.001") == 0 for size in sizes)


def test_a_price_of_ten_millions_is_traded_in_parts_of_a_share() -> None:
    played = play(Market({"BIG": wave(80, 1e7)}), instruments={"BIG": {"lot": "0.0001", "tick": "0.5"}})
    assert len(played.trades) > 2
    for trade in played.trades:
        assert trade.size % Decimal("0.0001") == 0
        assert trade.price % Decimal("0.5") == 0
