from __future__ import annotations

import json
import math

import numpy as np
import pytest

from quantum_trader.learning.direction import HORIZON, DirectionModel, Scored
from quantum_trader.learning.statistics import diebold_mariano


def walk(sessions: int, *, memory: float, seed: int = 1) -> list[float]:
    """Closes whose returns remember the one before by `memory`."""
    rng = np.random.default_rng(seed)
    change, total, closes = 0.0, 0.0, []
    for _ in range(sessions):
        change = memory * change + 0.01 * float(rng.standard_normal())
        total += change
        closes.append(100 * math.exp(total))
    return closes


def scored(model: DirectionModel, closes: list[float]) -> list[Scored]:
    return [one for close in closes if (one := model.update("A", close)) is not None]


def test_a_prediction_comes_due_after_five_sessions() -> None:
    closes = walk(40, memory=0)
    model = DirectionModel()
    due = [model.update("A", close) for close in closes]
    first = next(at for at, one in enumerate(due) if one is not None)
    assert first == 22 + HORIZON
    answer = due[first]
    assert answer is not None
    assert answer.rose == (closes[first] > closes[22])
    assert (answer.model, answer.base) == (0.5, 0.5), "nothing was known yet"
    assert (answer.loss, answer.base_loss) == (0.25, 0.25)


def test_no_forecast_before_23_closes() -> None:
    model = DirectionModel()
    assert model.forecast("A") is None
    scored(model, walk(22, memory=0))
    assert model.forecast("A") is None
    scored(model, [100.0])
    assert model.forecast("A") == 0.5


def test_a_market_with_memory_is_learned() -> None:
    """The refusal on real data is worth something only if there is a market that the model does predict."""
    due = scored(DirectionModel(), walk(4_000, memory=0.8))
    comparison = diebold_mariano([one.base_loss for one in due], [one.loss for one in due])
    assert comparison.p < 0.001
    assert comparison.ratio < 0.95


def test_a_market_without_memory_is_not() -> None:
    due = scored(DirectionModel(), walk(4_000, memory=0.0))
    assert diebold_mariano([one.base_loss for one in due], [one.loss for one in due]).p > 0.05


def test_the_base_rate_is_the_share_of_rises_so_far() -> None:
    due = scored(DirectionModel(), [100 * 1.001**at for at in range(200)])
    assert due[-1].base > 0.95


def test_a_price_that_never_moves_is_no_division_by_zero() -> None:
    due = scored(DirectionModel(), [100.0] * 60)
    assert not any(one.rose for one in due)


def test_a_restored_model_goes_on_as_if_never_interrupted() -> None:
    closes = walk(120, memory=0.3)
    straight, first, second = DirectionModel(), DirectionModel(), DirectionModel()
    whole = scored(straight, closes)
    start = scored(first, closes[:70])
    second.restore(json.loads(json.dumps(first.state())))
    assert start + scored(second, closes[70:]) == whole
    assert second.state() == straight.state()


def test_a_rate_out_of_range_is_named() -> None:
    with pytest.raises(ValueError, match="rate"):
        DirectionModel(0)
