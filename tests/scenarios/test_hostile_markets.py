"""Hostile markets: what a market can do to a trader that believes it, played through the whole system.

Halts and reopenings, a delisting, crashes, prices too small for cents and too large for a share, volumes below one. In each
the books must hold, no fill may have a price that nobody could get, and the run must say what it did.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from itertools import pairwise
from statistics import fmean, stdev
from typing import Any

import pytest

from eventbus import Event, InMemoryEventBus
from quantum_trader.app import QUEUE_SIZE, TradingSystem, build, run_id_of
from quantum_trader.config import Config, load_config
from quantum_trader.events import (
    HealthStatusChangedEvent,
    MarketBarEvent,
    PositionItem,
    SessionClosedEvent,
    TradeExecutedEvent,
)
from quantum_trader.identity import RunIds
from quantum_trader.market.calendar import SessionBars
from quantum_trader.model import Bar, HealthStatus, Side, Trigger
from quantum_trader.monitoring.report import Report, as_lines, make_report

START = datetime(2020, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
WIDE = {"cooldown": 0, "jump_quarantine": 0, "price_collar": 100.0, "max_drawdown": 1.0, "max_daily_loss": 1.0}
DEATH = 40  # the session in which a component dies
BUYS_ON = {"all_live": True, "stop_atr": 0.0, "seeds": [{"family": "trend", "params": [2, 5]}], "retry_after": 1}
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


def rising(sessions: int, level: float = 100.0) -> list[float]:
    return [level * 1.01**session for session in range(sessions)]


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
    bars: list[MarketBarEvent]
    health: list[HealthStatusChangedEvent]

    @property
    def equity(self) -> float:
        assert self.system.record.last is not None
        return float(self.system.record.last.equity)

    @property
    def report(self) -> Report:
        return make_report(self.system.record)

    @property
    def positions(self) -> Sequence[PositionItem]:
        assert self.system.record.last is not None
        return self.system.record.last.positions

    def sales(self) -> list[TradeExecutedEvent]:
        return [trade for trade in self.trades if trade.side is Side.SELL]

    def purchases(self) -> list[TradeExecutedEvent]:
        return [trade for trade in self.trades if trade.side is Side.BUY]


def play(market: Market, *, dies: str | None = None, **sections: Mapping[str, Any]) -> Played:
    """A run over `market`, which must end with sound books and nothing that a component choked on."""
    return asyncio.run(_play(market, settings(**sections), dies))


async def keep(heard: list[Event], event: Event) -> None:
    heard.append(event)


async def die(bus: InMemoryEventBus, component: str, _event: SessionClosedEvent) -> None:
    """From now on nothing of the component is called any more."""
    for subscription in bus.subscriptions:
        if subscription.name.startswith(component):
            subscription.cancel()


async def _play(market: Market, config: Config, dies: str | None) -> Played:
    ids = RunIds(run_id_of(config))
    bus = InMemoryEventBus(max_queue_size=QUEUE_SIZE, identify=ids)
    played = Played(build(bus, config, market, ids=ids), [], [], [])
    kept: tuple[tuple[type[Event], list[Any]], ...] = (
        (TradeExecutedEvent, played.trades),
        (MarketBarEvent, played.bars),
        (HealthStatusChangedEvent, played.health),
    )
    for cls, heard in kept:
        bus.subscribe(cls, partial(keep, heard))
    if dies is not None:
        bus.subscribe(SessionClosedEvent, partial(die, bus, dies), where=lambda event: event.session == DEATH)
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


def test_the_report_counts_fills_by_what_made_them() -> None:
    crash = [*[100.0] * 25, *rising(10), *[40.0] * 20]  # an ATR takes twenty bars
    played = play(Market({"AAA": crash}), strategies={"all_live": True, "stop_atr": 3.0, "seeds": ENTERS})
    assert played.report.fills_by_trigger == {"OPEN": len(played.trades) - 1, "STOP": 1}


# --- a drawdown that stops trading -----------------------------------------------------------------------------------

RUIN = {f"S{n}": [*rising(30), *wave(60, 80.0)] for n in range(4)}
LATCHES: dict[str, Any] = {
    "risk": WIDE | {"max_drawdown": 0.2},
    "health": {"degraded_drawdown": 0.5, "critical_drawdown": 0.8},
}


def test_a_report_leads_with_what_stopped_trading_and_denials_count_it() -> None:
    played = play(Market(RUIN), **LATCHES)
    (label, told), *_ = as_lines(played.report)
    assert label == "Trading stopped"
    stop = played.report.stops[0]
    assert told == f"{stop.date}: {stop.reason}, REDUCE_ONLY latched; nothing was bought since"
    assert stop.reason == "drawdown 0.3882 >= 0.2"
    assert played.report.denials["KILL_SWITCH"] > 0
    assert max(trade.session for trade in played.purchases()) < 45


def test_a_replay_may_go_on_after_a_while_with_a_fresh_peak_and_says_so() -> None:
    played = play(Market(RUIN), **LATCHES | {"risk": LATCHES["risk"] | {"rearm_after": 10}})
    (_, told), *_ = as_lines(played.report)
    stop = played.report.stops[0]
    assert stop.until is not None
    assert f"on {stop.until}: re-armed after 10 sessions" in told
    assert max(trade.session for trade in played.purchases()) > 50
    assert len(played.report.stops) == 1, "the old peak does not stop it again"


def test_a_run_that_was_never_stopped_says_nothing_of_it() -> None:
    assert as_lines(play(Market({"AAA": wave(60)})).report)[0][0] == "Period"


# --- components that die ---------------------------------------------------------------------------------------------

PARTS = ("ledger.", "executor.", "risk_guard.", "runtime.", "ranker.", "ensemble.", "evaluation.", "learning.")
WAVES = {f"S{n}": wave(80, 100.0 + n, period=16 + n) for n in range(4)}
RANKED = {"ranker": {"enabled": True, "min_dollar_volume": 0.0}}


def test_a_trader_with_all_its_parts_goes_on_buying() -> None:
    assert max(trade.session for trade in play(Market(WAVES)).purchases()) > DEATH + 20


@pytest.mark.parametrize("part", PARTS)
def test_a_component_that_dies_is_critical_within_three_sessions_and_stops_entries(part: str) -> None:
    played = play(Market(WAVES), dies=part, **RANKED if part == "ranker." else {})
    critical = [event for event in played.health if event.overall is HealthStatus.CRITICAL]
    assert critical, "nobody noticed"
    assert DEATH < critical[0].session <= DEATH + 3
    assert "silent" in critical[0].reason
    # What was ordered before may still fill.
    assert not [trade for trade in played.purchases() if trade.session > critical[0].session + 3]


@pytest.mark.parametrize("part", ["orchestrator.", "balancer.", "controller."])
def test_without_a_station_on_the_way_of_an_order_nothing_is_bought(part: str) -> None:
    played = play(Market(WAVES), dies=part)
    stale = 5 if part == "controller." else 0  # sessions until a policy that nobody confirms counts as none
    assert not [trade for trade in played.purchases() if trade.session > DEATH + stale + 3]


@pytest.mark.parametrize("part", ["spc.", "alerts.", "record.", "replay_digest"])
def test_who_only_looks_on_may_die_and_changes_no_trade(part: str) -> None:
    alive, dead = play(Market(WAVES)), play(Market(WAVES), dies=part)
    assert [trade.payload for trade in dead.trades] == [trade.payload for trade in alive.trades]


def test_a_feed_without_a_usable_bar_is_data_that_died() -> None:
    class Broken(Market):
        def bar(self, symbol: str, session: int, ts: datetime, opened: float, close: float) -> Bar:
            bar = super().bar(symbol, session, ts, opened, close)
            return replace(bar, high=bar.low / 2) if session >= DEATH else bar

    played = play(Broken(WAVES))
    critical = [event for event in played.health if event.overall is HealthStatus.CRITICAL]
    assert [(event.component, event.session) for event in critical] == [("DATA", DEATH + 2)]


# --- what is dropped -------------------------------------------------------------------------------------------------


def test_what_is_dropped_from_a_feed_is_counted_in_the_report() -> None:
    class Torn(Market):
        def bar(self, symbol: str, session: int, ts: datetime, opened: float, close: float) -> Bar:
            bar = super().bar(symbol, session, ts, opened, close)
            return replace(bar, high=bar.low / 2) if session == 30 else bar

    played = play(Torn({"AAA": wave(200), "BBB": wave(200)}))
    assert played.report.dropped == {"AAA": {"BAD_OHLC": 1}, "BBB": {"BAD_OHLC": 1}}
    assert dict(as_lines(played.report))["Data dropped"] == "AAA: BAD_OHLC 1 of 200 bars; BBB: BAD_OHLC 1 of 200 bars"


# --- calendars -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "sessions", "periods"),
    [(timedelta(hours=1), 24 * 9, 24 * 365), (timedelta(minutes=30), 48 * 8, 48 * 365), (DAY, 120, 365)],
    ids=["hours", "half hours", "days of a market that never closes"],
)
def test_a_year_has_as_many_periods_as_the_calendar_says(step: timedelta, sessions: int, periods: int) -> None:
    played = play(Market({"AAA": wave(sessions, swing=0.05)}, step=step))
    report, equity = played.report, [1e6, *(float(point.equity) for point in played.system.record.points)]
    returns = [after / before - 1 for before, after in pairwise(equity)]
    assert report.periods_per_year == periods
    assert {bar.interval_s for bar in played.bars} == {step.total_seconds()}
    assert report.annual_sharpe == pytest.approx(fmean(returns) / stdev(returns) * math.sqrt(periods))
    assert report.annual_return == pytest.approx((equity[-1] / equity[0]) ** (periods / sessions) - 1)


def test_the_periods_of_a_year_can_be_said() -> None:
    played = play(Market({"AAA": wave(60)}), app={"periods_per_year": 300})
    assert played.report.periods_per_year == 300


# --- prices and volumes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("haircut", "lost"), [(1.0, 0.24), (0.5, 0.12)])
def test_a_delisted_position_is_written_off_where_that_is_the_policy(haircut: float, lost: float) -> None:
    market = Market({"GONE": rising(30), "STAY": [50.0] * 60})
    held = play(market)
    assert [line.stale for line in held.positions] == [True]
    cut = play(market, execution={"delisting": {"policy": "haircut", "haircut": haircut}})
    (sale,) = cut.sales()
    assert (sale.trigger, sale.session) == (Trigger.DELISTED, 29 + 5)
    assert float(sale.price) == pytest.approx(rising(30)[-1] * (1 - haircut))
    assert held.equity - cut.equity == pytest.approx(lost * 1.3e6, rel=0.15)
    assert cut.report.fills_by_trigger == {"DELISTED": 1, "OPEN": 1}


def test_what_a_write_off_does_knows_nothing_of_a_later_reopening() -> None:
    again = [*rising(30), *[None] * 10, *[500.0] * 20]
    cut: dict[str, Any] = {"execution": {"delisting": {"policy": "haircut", "haircut": 1.0}}}
    gone, back = (play(Market({"X": closes, "STAY": [50.0] * 60}), **cut) for closes in (rising(30), again))
    written = [trade for trade in back.trades if trade.session < 40]
    assert [trade.payload for trade in written] == [trade.payload for trade in gone.trades]
    anew = [float(trade.price) for trade in back.purchases() if trade.session > 40]
    assert anew == [pytest.approx(500.0, rel=1e-3)] * len(anew), "nothing of the price before the halt"


class Gap(Market):
    """The session in which components die opens at its own close, however far from the one before."""

    def bar(self, symbol: str, session: int, ts: datetime, opened: float, close: float) -> Bar:
        return super().bar(symbol, session, ts, close if session == DEATH else opened, close)


@pytest.mark.parametrize("left", [0.01, 1e-6], ids=["-99 %", "all but a millionth"])
def test_a_crash_overnight_fills_stops_at_the_open_and_overdraws_nothing(left: float) -> None:
    closes = [*[100.0] * 25, *rising(15), *[114.0 * left] * 20]
    played = play(Gap({"AAA": closes}), strategies={"all_live": True, "stop_atr": 3.0, "seeds": ENTERS})
    (stop,) = [trade for trade in played.sales() if trade.trigger is Trigger.STOP]
    assert stop.session == 40
    assert float(stop.price) == pytest.approx(114.0 * left, rel=1e-3)
    assert played.equity == pytest.approx(1e6 * (1 - 0.24), rel=0.02)


def test_an_unadjusted_split_keeps_its_symbol_from_being_bought_for_a_while() -> None:
    split = [*rising(40), *[close / 10 for close in rising(40, rising(41)[-1])]]
    played = play(Gap({"AAA": split}), risk=WIDE | {"jump_quarantine": 5}, strategies=BUYS_ON)
    assert {trade.session for trade in played.purchases()} & set(range(41, 46)) == set()
    assert max(trade.session for trade in played.purchases()) > 45
    assert played.equity < 950_000, "fictitious: an import would have refused it"


# --- sizes of the world ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sessions", [1, 2])
def test_one_bar_is_a_run_that_says_why_it_did_nothing(sessions: int) -> None:
    played = play(Market({"AAA": [100.0] * sessions}))
    assert dict(as_lines(played.report))["Why nothing traded"].startswith("strategies were LIVE")
    assert played.equity == 1e6


def test_two_hundred_symbols_trade_within_every_limit() -> None:
    symbols = {f"S{n:03}": wave(40, 20.0 + n, period=10 + n % 17) for n in range(200)}
    played = play(Market(symbols), risk=WIDE | {"max_orders_per_session": 500})
    assert len({trade.symbol for trade in played.trades}) > 3
    assert set(played.system.record.denials) <= {"CASH", "PARTICIPATION"}
    assert played.report.exposure <= 1.0


def test_a_day_of_minutes_trades_as_sessions_of_a_minute() -> None:
    played = play(Market({"AAA": wave(390, swing=0.03, period=60)}, step=timedelta(minutes=1)))
    assert {bar.interval_s for bar in played.bars} == {60}
    assert len(played.trades) > 4
    assert played.report.sessions == 390


def test_a_candidate_that_missed_a_gate_is_named_with_value_and_limit() -> None:
    played = play(
        Market({f"S{n}": wave(700, 100.0 + n, swing=0.02, period=9 + n) for n in range(2)}),
        strategies={"all_live": False, "seeds": ENTERS, "breed_most": 0},
    )
    assert played.trades == []
    told = dict(as_lines(played.report))
    assert "at the BACKTEST gate: " in told["Why nothing traded"]
    assert "<" in told["Best candidate refused"]


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
