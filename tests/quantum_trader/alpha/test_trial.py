from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from quantum_trader.alpha.families import StrategySpec
from quantum_trader.alpha.stops import Stops
from quantum_trader.alpha.trial import Group, Trial, run
from quantum_trader.app import seeds
from quantum_trader.config import Config, Costs
from quantum_trader.execution.sole import START, SoleAccount
from quantum_trader.market.dataset import load_dataset
from quantum_trader.model import Bar
from quantum_trader.snapshot import reinstate, snapshot

SEEDS = seeds(Config())
USUAL = Costs()
FREE = Costs(half_spread_bp=0.0, impact_bp=0.0, participation=1.0, fee_rate=Decimal(0))


@pytest.fixture(scope="module")
def demo() -> list[Group]:
    stops = Stops(3.0)
    days = load_dataset(end=datetime(2003, 1, 1, tzinfo=UTC))
    return [Group(day.session, day.bars, {bar.symbol: stops.take(bar) for bar in day.bars}) for day in days]


def made(spec: StrategySpec, costs: Costs = USUAL, weight: float = 0.2) -> Trial:
    return Trial(spec, SoleAccount(costs, weight=weight, cooldown=5))


def never(symbol: str, session: int) -> float:
    raise AssertionError(f"{symbol} is not held at the end of session {session}")


def sessions(*opens_closes: tuple[float, float], symbol: str = "A") -> list[Group]:
    groups = []
    for at, (opened, close) in enumerate(opens_closes):
        ts = datetime(2001, 1, 1, tzinfo=UTC) + timedelta(days=at)
        bar = Bar(symbol, at, ts, opened, max(opened, close), min(opened, close), close, 10_000_000)
        groups.append(Group(at, (bar,), {symbol: None}))
    return groups


def test_a_decision_at_the_close_fills_at_the_next_open() -> None:
    trial = made(StrategySpec("momentum", (2,)), FREE, 0.5)
    # Above the close two before at session 2, below it at session 4.
    run(trial, sessions((10, 10), (10, 11), (11, 12), (20, 20), (20, 8), (5, 5), (5, 5)))
    shares = int(0.5 * START / 12)
    assert not trial.account.book.profits(0, 2, never)
    assert trial.account.book.profits(0, 6, never) == pytest.approx([shares * (5 - 20)])
    assert not trial.account.book.profits(6, 6, never)
    assert trial.account.equity(6, 6)[-1] == pytest.approx(START + shares * (5 - 20))


def test_costs_are_those_of_the_venue() -> None:
    costs = Costs(half_spread_bp=10.0, impact_bp=0.0, participation=1.0, fee_rate=Decimal("0.01"))
    trial = made(StrategySpec("momentum", (2,)), costs, 0.5)
    run(trial, sessions((10, 10), (10, 11), (11, 12), (10, 10), (10, 8), (10, 5), (5, 5)))
    (profit,) = trial.account.book.profits(0, 9, never)
    shares = int(0.5 * START / 12)
    bought, sold = 10 * 1.001, 10 * 0.999
    assert profit == pytest.approx(shares * (sold * 0.99 - bought * 1.01), rel=1e-6)


def test_a_window_counts_what_a_position_earned_within_it() -> None:
    trial = made(StrategySpec("momentum", (2,)), FREE, 0.5)
    closes = (10.0, 11.0, 12.0, 20.0, 8.0, 5.0, 5.0)
    run(trial, sessions((10, 10), (10, 11), (11, 12), (20, 20), (20, 8), (5, 5), (5, 5)))
    shares = int(0.5 * START / 12)
    windows = {(3, 5): 5 - 20, (3, 3): 0, (4, 5): 5 - 20, (4, 4): 8 - 20, (5, 5): 5 - 8}
    for (first, last), change in windows.items():
        assert trial.account.book.profits(first, last, lambda _, session: closes[session]) == pytest.approx(
            [shares * change]
        )
        assert trial.account.equity(first, last)[-1] - trial.account.equity(first, last)[0] == pytest.approx(
            shares * change
        )
    assert trial.account.book.sessions(2, 5) == len(trial.account.returns(2, 5)) == 4


@pytest.mark.parametrize("rest", [0, 3])
def test_a_stop_sells_within_the_bar_that_reaches_it_and_the_symbol_rests_before_it_is_bought_again(rest: int) -> None:
    trial = Trial(StrategySpec("momentum", (2,)), SoleAccount(FREE, weight=0.5, cooldown=rest))
    rising = sessions(*((10.0 + at, 10.0 + at) for at in range(12)))
    # Bought at 13 in session 3 with its stop at 12.5; session 4 opens at 14 and is made to fall there.
    fallen = replace(rising[4].bars[0], low=12.0)
    rising[4] = Group(4, (fallen,), {"A": None})
    rising[2] = Group(2, rising[2].bars, {"A": 12.5})
    run(trial, rising)
    shares = int(0.5 * START / 12)
    assert trial.account.book.profits(0, 4, never) == pytest.approx([shares * (12.5 - 13)])
    again = 5 + rest  # decided at the close of the session before
    assert len(trial.account.book.profits(0, again - 1, never)) == 1
    assert len(trial.account.book.profits(0, again, lambda *_: 10.0 + again)) == 2


@pytest.mark.parametrize("spec", SEEDS, ids=lambda spec: spec.strategy_id)
def test_positions_earn_together_what_the_account_grew(demo: list[Group], spec: StrategySpec) -> None:
    trial = made(spec)
    run(trial, demo)
    closes = {(bar.symbol, group.session): bar.close for group in demo for bar in group.bars}
    for first, last in ((0, len(demo) - 1), (300, 500), (501, 501)):
        profits = trial.account.book.profits(first, last, lambda symbol, session: closes[symbol, session])
        before, *_, after = trial.account.equity(first, last)
        assert math.fsum(profits) == pytest.approx(after - before, abs=0.01)


@pytest.mark.parametrize("spec", SEEDS, ids=lambda spec: spec.strategy_id)
def test_a_restored_trial_goes_on_exactly(demo: list[Group], spec: StrategySpec) -> None:
    whole, first = made(spec), made(spec)
    run(whole, demo)
    run(first, demo[:400])
    second = made(spec)
    second.restore(json.loads(json.dumps(first.state())))
    run(second, demo)
    assert second.state() == whole.state()


def test_the_future_changes_nothing_about_the_past(demo: list[Group]) -> None:
    spec = SEEDS[0]
    short, long = made(spec), made(spec)
    run(short, demo[:300])
    run(long, demo)
    assert short.account.equity(0, 299).tolist() == long.account.equity(0, 299).tolist()


@pytest.mark.parametrize("spec", SEEDS, ids=lambda spec: spec.strategy_id)
def test_a_snapshot_makes_a_machine_of_the_same_memory(demo: list[Group], spec: StrategySpec) -> None:
    bars = [group.bars[0] for group in demo]
    machine, other = spec.machine(), spec.machine()
    for bar in bars[:350]:
        machine.update(bar)
    reinstate(other, json.loads(json.dumps(snapshot(machine))))
    assert snapshot(other) == snapshot(machine)
    assert [machine.update(bar) for bar in bars[350:]] == [other.update(bar) for bar in bars[350:]]
