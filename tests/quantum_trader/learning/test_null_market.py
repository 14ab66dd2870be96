"""Do the gates tell skill from luck? The demo days shuffled, without drift; far fewer go live than on the real bars.

Days are shuffled for all symbols at once. Shuffled apart, symbols balance one another, drawdowns shrink, and twice as many
go live.
"""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from quantum_trader.market.dataset import load_dataset
from quantum_trader.market.shuffle import shuffled

EXAMPLE = Path(__file__).parents[3] / "examples" / "null_market.py"
LUCKIEST = range(16, 20)  # of the twenty shuffles those next to the one with most lucky promotions


async def promotions(shuffles: range, **options: Any) -> tuple[float, int]:
    """Lucky promotions to LIVE a shuffle, and those on the real bars."""
    live_promotions = runpy.run_path(str(EXAMPLE))["live_promotions"]
    demo = load_dataset()
    found = [(await live_promotions(shuffled(demo, seed=seed), **options)).to_live for seed in shuffles]
    return sum(found) / len(found), (await live_promotions(demo, **options)).to_live


@pytest.mark.long
async def test_less_than_one_lucky_strategy_goes_live_in_a_market_without_skill() -> None:
    lucky, real = await promotions(LUCKIEST)
    assert 0 < lucky < 1, "a gate that finds nothing anywhere is no gate"
    assert real > lucky


@pytest.mark.torture
@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="bred"),
        pytest.param({"breed": False}, id="seeds"),
        pytest.param({"gate": "dsr"}, id="bred, deflated"),
    ],
)
async def test_over_twenty_shuffles_fewer_than_one_a_run_goes_live(options: dict[str, Any]) -> None:
    lucky, real = await promotions(range(20), **options)
    assert lucky < 1
    assert real > lucky
