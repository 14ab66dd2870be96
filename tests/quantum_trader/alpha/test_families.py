from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantum_trader.alpha.families import SHIPPED, InvalidStrategy, StrategySpec
from quantum_trader.app import seeds
from quantum_trader.config import Config
from quantum_trader.model import Bar

SEEDS = seeds(Config())


def bar(session: int, close: float, *, high: float | None = None, low: float | None = None) -> Bar:
    return Bar(
        "A", session, datetime(2000, 1, 1, tzinfo=UTC), close, high or close * 1.01, low or close * 0.99, close, 1
    )


def targets(spec: StrategySpec, bars: Sequence[Bar]) -> list[int | None]:
    machine = spec.machine()
    return [machine.update(one) for one in bars]


def walk(sessions: int, seed: int = 1) -> list[Bar]:
    rng = np.random.default_rng(seed)
    closes = 100 * np.exp(np.cumsum(0.02 * rng.standard_normal(sessions)))
    return [
        bar(at, float(close), high=float(close) * (1 + abs(up)), low=float(close) * (1 - abs(down)))
        for at, (close, up, down) in enumerate(zip(closes, *0.01 * rng.standard_normal((2, sessions)), strict=True))
    ]


def test_there_are_twelve_different_seeds() -> None:
    assert len(SEEDS) == 12
    assert len({seed.strategy_id for seed in SEEDS}) == 12
    assert SEEDS[0].strategy_id == "trend-10-50"
    assert SEEDS[8].named == {"rsi": 2, "low": 10, "trend": 200, "high": 60}


def test_trend_is_long_while_the_fast_average_is_above_the_slow() -> None:
    bars = walk(300)
    closes = np.array([one.close for one in bars])
    expected = [
        None if at < 49 else int(closes[at - 9 : at + 1].mean() > closes[at - 49 : at + 1].mean()) for at in range(300)
    ]
    assert targets(StrategySpec("trend", (10, 50)), bars) == expected
    assert {0, 1} <= set(expected)


def test_breakout_compares_with_the_bars_before_and_keeps_its_target_between() -> None:
    bars = walk(300)
    expected: list[int | None] = []
    held = 0
    for at, one in enumerate(bars):
        if at < 20:
            expected.append(None)
            continue
        if one.close > max(past.high for past in bars[at - 20 : at]):
            held = 1
        elif one.close < min(past.low for past in bars[at - 10 : at]):
            held = 0
        expected.append(held)
    assert targets(StrategySpec("breakout", (20, 10)), bars) == expected
    assert {0, 1} <= set(expected)


def test_momentum_compares_with_the_close_n_bars_before() -> None:
    bars = walk(200)
    expected = [None if at < 126 else int(one.close > bars[at - 126].close) for at, one in enumerate(bars)]
    assert targets(StrategySpec("momentum", (126,)), bars) == expected


def test_reversion_buys_a_dip_above_its_trend_and_sells_the_recovery() -> None:
    rise = [bar(at, 100 + 0.1 * at) for at in range(70)]
    dip = [bar(70, 105.5), bar(71, 104.5)]
    recovery = [bar(72, 105.0), bar(73, 107.5)]
    found = targets(StrategySpec("reversion", (2, 10, 60, 70)), [*rise, *dip, *recovery])
    assert found[58] is None
    assert found[59] == 0
    assert found[70:] == [1, 1, 1, 0]


def test_reversion_does_not_buy_a_dip_below_its_trend() -> None:
    fall = [bar(at, 100 - 0.1 * at) for at in range(70)]
    assert set(targets(StrategySpec("reversion", (2, 10, 60, 70)), fall)) == {None, 0}


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: seed.strategy_id)
def test_every_seed_warms_up_and_then_always_answers(seed: StrategySpec) -> None:
    found = targets(seed, walk(1_500, seed=1))
    warm = next(at for at, target in enumerate(found) if target is not None)
    assert warm <= 252
    assert None not in found[warm:]
    assert set(found[warm:]) == {0, 1}


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: seed.strategy_id)
def test_a_target_never_depends_on_later_bars(seed: StrategySpec) -> None:
    bars = walk(400)
    assert targets(seed, bars)[:300] == targets(seed, bars[:300])


@given(st.sampled_from(SEEDS), st.integers(-3, 6))
def test_the_unit_of_prices_does_not_matter(seed: StrategySpec, doublings: int) -> None:
    unit = 2.0**doublings
    bars = walk(320, seed=5)
    scaled = [bar(one.session, one.close * unit, high=one.high * unit, low=one.low * unit) for one in bars]
    assert targets(seed, scaled) == targets(seed, bars)


def test_machines_of_one_spec_share_nothing() -> None:
    spec = StrategySpec("trend", (2, 3))
    one, other = spec.machine(), spec.machine()
    for at in range(5):
        one.update(bar(at, 100 + at))
    assert other.update(bar(0, 100)) is None


@pytest.mark.parametrize(
    ("family", "params", "message"),
    [
        ("grid", (1,), "family: 'grid' is unknown; choose from trend, breakout, momentum, reversion"),
        ("trend", (10,), "trend: give fast, slow"),
        ("trend", (50, 50), "fast 50 must be below slow 50"),
        ("trend", (1, 50), r"fast must be a whole number in 2\.\.500, not 1"),
        ("trend", (10.0, 50), "fast must be a whole number"),
        ("momentum", (True,), "lookback must be a whole number"),
        ("breakout", (10, 20), "leave 20 must not exceed enter 10"),
        ("reversion", (2, 50, 200, 60), r"low must be a whole number in 1\.\.49"),
    ],
)
def test_parameters_that_cannot_be_used_are_named(family: str, params: tuple[int, ...], message: str) -> None:
    with pytest.raises(InvalidStrategy, match=message):
        StrategySpec(family, params)


def test_a_spec_can_be_made_from_names() -> None:
    assert StrategySpec.named_params("trend", {"slow": 50, "fast": 10}) == SEEDS[0]
    with pytest.raises(InvalidStrategy, match="give fast, slow, not fast"):
        StrategySpec.named_params("trend", {"fast": 10})
    with pytest.raises(InvalidStrategy, match="unknown"):
        StrategySpec.named_params("grid", {})
    assert {"trend", "breakout", "momentum", "reversion"} == SHIPPED
