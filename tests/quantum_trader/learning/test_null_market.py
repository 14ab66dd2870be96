"""Do the gates tell skill from luck? The demo days shuffled twenty times, without drift; far fewer go live than on the real bars.

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
SHUFFLES = 20


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"gate": "dsr"}, id="bred, deflated"),
        pytest.param({"gate": "psr", "breed": False}, id="seeds, plain"),
    ],
)
async def test_less_than_one_lucky_strategy_goes_live_in_a_market_without_skill(options: dict[str, Any]) -> None:
    live_promotions = runpy.run_path(str(EXAMPLE))["live_promotions"]
    demo = load_dataset()
    found = [(await live_promotions(shuffled(demo, seed=seed), **options)).to_live for seed in range(SHUFFLES)]
    lucky = sum(found) / SHUFFLES
    assert lucky < 1
    assert (await live_promotions(demo, **options)).to_live > lucky
