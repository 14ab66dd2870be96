"""Do the gates tell skill from luck? The demo days shuffled twenty times, without drift; the design's figure, then ours.

    promoted to LIVE in a run            real   null (mean of 20)
    twelve seeds, PSR gate               9 (7)  0.30 (1.55)
    with breeding, DSR gate at 0.80      - (9)  - (0.80)

With the PSR gate and breeding 19 go live on the real bars and about four on a null market: bred strategies resemble their
parents, so one lucky parent brings its family along. That is why the deflated gate is the one to run with.
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
async def test_less_than_one_lucky_strategy_goes_live_in_a_market_without_skill() -> None:
    example: dict[str, Any] = runpy.run_path(str(EXAMPLE))
    live_promotions = example["live_promotions"]
    demo = load_dataset()
    lucky = [(await live_promotions(shuffled(demo, seed=seed), "dsr")).to_live for seed in range(SHUFFLES)]
    assert sum(lucky) / SHUFFLES < 1
    assert (await live_promotions(demo, "dsr")).to_live == 9
