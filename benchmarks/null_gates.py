"""How often does luck pass the statistics of the gates, over all the looks of one stay in a stage? `make null` asks.

Paths without skill: daily returns whose true Sharpe ratio is 0, forecasters who are equally good. Everything else that a
gate asks for is granted, so that what passes has passed by the PSR or by the Diebold-Mariano test alone.
"""

from __future__ import annotations

import sys
from typing import Final

import numpy as np

from quantum_trader.config import GatesConfig, ModelGateConfig
from quantum_trader.learning.lifecycle import StrategyMetrics, backtest_gate, challenge
from quantum_trader.learning.statistics import diebold_mariano, probabilistic_sharpe

PATHS: Final = 20_000
SEED: Final = 7
NOMINAL: Final = 0.05
EVERY: Final = 21  # sessions between two looks
LOOKS: Final = {"PSR": 24, "DM": 7}

STRATEGY: Final = GatesConfig()
MODEL: Final = ModelGateConfig(mse_ratio=1.0)


def psr_passes(paths: int, *, seed: int = SEED) -> float:
    """The share of candidates without skill that the backtest gate lets pass at one of its looks."""
    random = np.random.Generator(np.random.Philox(key=seed))
    window = STRATEGY.backtest_sessions
    passed = 0
    for _ in range(paths):
        returns = random.standard_normal(window + (LOOKS["PSR"] - 1) * EVERY)
        windows = (returns[at * EVERY : at * EVERY + window] for at in range(LOOKS["PSR"]))
        passed += any(backtest_gate(_otherwise_perfect(probabilistic_sharpe(one)), STRATEGY).passed for one in windows)
    return passed / paths


def dm_passes(paths: int, *, seed: int = SEED) -> float:
    """The share of challengers as good as the live model that would be promoted at one of the looks."""
    random = np.random.Generator(np.random.Philox(key=seed))
    passed = 0
    for _ in range(paths):
        live, challenger = random.standard_normal((2, MODEL.patience)) ** 2
        for n in range(MODEL.sessions, MODEL.patience + 1, EVERY):
            comparison = diebold_mariano(live[:n], challenger[:n])
            if not any(
                reason.startswith("p ") for reason in challenge(comparison, sessions_since_violation=None).reasons
            ):
                passed += 1
                break
    return passed / paths


def _otherwise_perfect(psr: float) -> StrategyMetrics:
    sessions = STRATEGY.backtest_sessions
    return StrategyMetrics(sessions=sessions, trades=sessions, profit_factor=1_000.0, max_drawdown=0.0, psr=psr)


def main() -> int:
    found = {"PSR": psr_passes(PATHS), "DM": dm_passes(PATHS)}
    for name, rate in found.items():
        print(f"{name}: {rate:.2%} of {PATHS:,} paths without skill pass, over {LOOKS[name]} looks")
    return 0 if all(abs(rate - NOMINAL) <= 0.01 for rate in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
