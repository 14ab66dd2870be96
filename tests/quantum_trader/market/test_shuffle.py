from __future__ import annotations

import math
from itertools import combinations, pairwise

import numpy as np
import pytest

from quantum_trader.market.dataset import Dataset, load_dataset
from quantum_trader.market.shuffle import shuffled


@pytest.fixture(scope="module")
def demo() -> Dataset:
    return load_dataset()


def changes(dataset: Dataset, symbol: str) -> list[float]:
    return [b.close / a.close - 1 for a, b in pairwise(dataset.by_symbol()[symbol])]


def test_the_mean_return_is_zero_and_nothing_else_of_a_day_changes(demo: Dataset) -> None:
    null = shuffled(demo, seed=3)
    for symbol in demo.symbols:
        real, made = changes(demo, symbol), changes(null, symbol)
        mean = math.fsum(real) / len(real)
        assert math.fsum(made) / len(made) == pytest.approx(0.0, abs=1e-6)
        assert sorted(made) == pytest.approx(sorted(one - mean for one in real), abs=1e-5)
        assert made != pytest.approx([one - mean for one in real], abs=1e-5)


def test_symbols_rise_and_fall_together_as_they_did(demo: Dataset) -> None:
    """Shuffled apart, they would make a portfolio calmer than any market, and its gates easier to pass."""
    null = shuffled(demo, seed=3)
    real, made = (
        [
            np.corrcoef(changes(data, one), changes(data, other))[0, 1]
            for one, other in combinations(["AAPL", "IBM", "MSFT"], 2)
        ]
        for data in (demo, null)
    )
    assert min(real) > 0.3
    assert made == pytest.approx(real, abs=0.001)


def test_every_bar_is_coherent_and_stands_where_the_symbol_had_one(demo: Dataset) -> None:
    null = shuffled(demo, seed=3)
    assert [[bar.symbol for bar in group.bars] for group in null] == [
        [bar.symbol for bar in group.bars] for group in demo
    ]
    for group in null:
        for bar in group.bars:
            assert (bar.session, bar.ts) == (group.session, group.ts)
            assert 0 < bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high


def test_a_seed_is_a_market(demo: Dataset) -> None:
    assert shuffled(demo, seed=3) == shuffled(demo, seed=3)
    assert shuffled(demo, seed=3).sessions != shuffled(demo, seed=4).sessions
