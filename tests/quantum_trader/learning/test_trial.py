from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from quantum_trader.alpha.families import SEEDS, StrategySpec
from quantum_trader.config import Costs
from quantum_trader.learning.trial import START, Group, Trial, run
from quantum_trader.market.dataset import load_dataset
from quantum_trader.model import Bar
from quantum_trader.snapshot import reinstate, snapshot

FREE = Costs(half_spread_bp=0.0, impact_bp=0.0, participation=1.0, fee_rate=Decimal(0))


@pytest.fixture(scope="module")
def demo() -> list[Group]:
    return [Group(one.session, one.bars) for one in load_dataset(end=datetime(2003, 1, 1, tzinfo=UTC))]


def never(symbol: str, session: int) -> float:
    raise AssertionError(f"{symbol} is not held at the end of session {session}")


def sessions(*opens_closes: tuple[float, float], symbol: str = "A") -> list[Group]:
    made = []
    for at, (opened, close) in enumerate(opens_closes):
        ts = datetime(2001, 1, 1, tzinfo=UTC) + timedelta(days=at)
        bar = Bar(symbol, at, ts, opened, max(opened, close), min(opened, close), close, 10_000_000)
        made.append(Group(at, (bar,)))
    return made


def test_a_decision_at_the_close_fills_at_the_next_open() -> None:
    trial = Trial(StrategySpec("momentum", (2,)), FREE, weight=0.5)
    # Above the close two before at session 2, below it at session 4.
    run(trial, sessions((10, 10), (10, 11), (11, 12), (20, 20), (20, 8), (5, 5), (5, 5)))
    shares = int(0.5 * START / 12)
    assert not trial.profits(0, 2, never)
    assert trial.profits(0, 6, never) == pytest.approx([shares * (5 - 20)])
    assert not trial.profits(6, 6, never)
    assert trial.equity(6, 6)[-1] == pytest.approx(START + shares * (5 - 20))


def test_costs_are_those_of_the_venue() -> None:
    costs = Costs(half_spread_bp=10.0, impact_bp=0.0, participation=1.0, fee_rate=Decimal("0.01"))
    trial = Trial(StrategySpec("momentum", (2,)), costs, weight=0.5)
    run(trial, sessions((10, 10), (10, 11), (11, 12), (10, 10), (10, 8), (10, 5), (5, 5)))
    (profit,) = trial.profits(0, 9, never)
    shares = int(0.5 * START / 12)
    bought, sold = 10 * 1.001, 10 * 0.999
    assert profit == pytest.approx(shares * (sold * 0.99 - bought * 1.01), rel=1e-6)


def test_a_window_counts_what_a_position_earned_within_it() -> None:
    trial = Trial(StrategySpec("momentum", (2,)), FREE, weight=0.5)
    closes = (10.0, 11.0, 12.0, 20.0, 8.0, 5.0, 5.0)
    run(trial, sessions((10, 10), (10, 11), (11, 12), (20, 20), (20, 8), (5, 5), (5, 5)))
    shares = int(0.5 * START / 12)
    windows = {(3, 5): 5 - 20, (3, 3): 0, (4, 5): 5 - 20, (4, 4): 8 - 20, (5, 5): 5 - 8}
    for (first, last), change in windows.items():
        assert trial.profits(first, last, lambda _, session: closes[session]) == pytest.approx([shares * change])
        assert trial.equity(first, last)[-1] - trial.equity(first, last)[0] == pytest.approx(shares * change)
    assert trial.sessions(2, 5) == len(trial.returns(2, 5)) == 4


@pytest.mark.parametrize("spec", SEEDS, ids=lambda spec: spec.strategy_id)
def test_a_restored_trial_goes_on_exactly(demo: list[Group], spec: StrategySpec) -> None:
    whole, first = Trial(spec, Costs(), weight=0.2), Trial(spec, Costs(), weight=0.2)
    run(whole, demo)
    run(first, demo[:400])
    second = Trial(spec, Costs(), weight=0.2)
    second.restore(json.loads(json.dumps(first.state())))
    run(second, demo)
    assert second.state() == whole.state()


def test_the_future_changes_nothing_about_the_past(demo: list[Group]) -> None:
    spec = SEEDS[0]
    short, long = Trial(spec, Costs(), weight=0.2), Trial(spec, Costs(), weight=0.2)
    run(short, demo[:300])
    run(long, demo)
    assert short.equity(0, 299) == long.equity(0, 299)


@pytest.mark.parametrize("spec", SEEDS, ids=lambda spec: spec.strategy_id)
def test_a_snapshot_makes_a_machine_of_the_same_memory(demo: list[Group], spec: StrategySpec) -> None:
    bars = [group.bars[0] for group in demo]
    machine, other = spec.machine(), spec.machine()
    for bar in bars[:350]:
        machine.update(bar)
    reinstate(other, json.loads(json.dumps(snapshot(machine))))
    assert snapshot(other) == snapshot(machine)
    assert [machine.update(bar) for bar in bars[350:]] == [other.update(bar) for bar in bars[350:]]
