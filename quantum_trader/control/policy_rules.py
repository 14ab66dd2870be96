"""Policy rules: which risk mode the measurements ask for, and what each mode allows.

The meta strategy controller feeds figures once a session and publishes what changes. Pure functions: versions, manual
overrides and the store are its business. Towards safety at once; towards risk one step, and only after a dwell. What is
unknown counts as dangerous.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from quantum_trader.config import ModeConfig, ThresholdsConfig
from quantum_trader.market.indicators import RollingMedian
from quantum_trader.model import HealthStatus, RiskMode

DEFENSIVE, NORMAL, AGGRESSIVE = RiskMode

VOLATILITY_WINDOW: Final = 252  # sessions
DEFAULT: Final = ThresholdsConfig()


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the mode depends on; None or NaN is unknown, and unknown is DEFENSIVE."""

    drawdown: float | None  # from the 252-session peak
    volatility_ratio: float | None
    health: HealthStatus


@dataclass(frozen=True, slots=True)
class Decision:
    """The mode from now on and the figures that caused a change; no reasons when nothing changed."""

    mode: RiskMode
    changed: bool
    reasons: tuple[str, ...]


def decide(
    mode: RiskMode, inputs: Inputs, *, sessions_since_change: int | None, thresholds: ThresholdsConfig = DEFAULT
) -> Decision:
    """The mode that follows `mode`. `sessions_since_change` is None when the mode never changed."""
    dangers = _dangers(inputs, thresholds)
    if dangers:
        return Decision(DEFENSIVE, mode is not DEFENSIVE, dangers if mode is not DEFENSIVE else ())
    if mode is AGGRESSIVE:
        strains = _strains(inputs, thresholds)
        return Decision(NORMAL, True, strains) if strains else Decision(mode, False, ())
    may_rise = sessions_since_change is None or sessions_since_change >= thresholds.dwell
    if may_rise and _is_calm(mode, inputs, thresholds):
        return Decision(NORMAL if mode is DEFENSIVE else AGGRESSIVE, True, _figures(inputs))
    return Decision(mode, False, ())


def memoryless(inputs: Inputs, thresholds: ThresholdsConfig = DEFAULT) -> RiskMode:
    """The mode that the figures alone ask for, whatever the last one was: what hysteresis and dwell are compared
    with."""
    if _dangers(inputs, thresholds):
        return DEFENSIVE
    return AGGRESSIVE if _is_calm(NORMAL, inputs, thresholds) else NORMAL


def safer(one: RiskMode, other: RiskMode) -> RiskMode:
    """The more defensive of two modes."""
    order = tuple(RiskMode)
    return min(one, other, key=order.index)


def allowed_strategies(psr: Mapping[str, float], values: ModeConfig) -> tuple[str, ...]:
    """The LIVE strategies, given with their PSR, that a mode lets open positions; sorted."""
    return tuple(sorted(name for name, probability in psr.items() if probability >= values.global_min_confidence))


class VolatilityRatio:
    """Is the market more volatile than it used to be? `exp(mean over symbols of forecast - its 252-session median)`.

    Forecasts are of the log range. A symbol counts from its 252nd forecast on; without one that counts there is no
    ratio.
    """

    def __init__(self, window: int = VOLATILITY_WINDOW) -> None:
        self._window = window
        self._medians: dict[str, RollingMedian] = {}
        self._recent: dict[str, list[float]] = {}

    def update(self, forecasts: Mapping[str, float]) -> float | None:
        """Take a session's forecasts by symbol; the ratio, None while no symbol has its history."""
        rises = []
        for symbol in sorted(forecasts):
            median = self._median(symbol, forecasts[symbol])
            if median is not None:
                rises.append(forecasts[symbol] - median)
        return math.exp(math.fsum(rises) / len(rises)) if rises else None

    def state(self) -> dict[str, Any]:
        """Everything needed to go on after a restart, in plain JSON values."""
        return {symbol: list(values) for symbol, values in self._recent.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become what `state()` described; the window must be the same."""
        self._medians, self._recent = {}, {}
        for symbol, values in state.items():
            for value in values:
                self._median(symbol, value)

    def _median(self, symbol: str, value: float) -> float | None:
        recent = self._recent.setdefault(symbol, [])
        recent.append(value)
        del recent[: -self._window]
        return self._medians.setdefault(symbol, RollingMedian(self._window)).update(value)


def _dangers(inputs: Inputs, thresholds: ThresholdsConfig) -> tuple[str, ...]:
    return (
        *_beyond("drawdown", inputs.drawdown, thresholds.defensive_drawdown),
        *_beyond("volatility_ratio", inputs.volatility_ratio, thresholds.defensive_ratio),
        *(("health CRITICAL",) if inputs.health is HealthStatus.CRITICAL else ()),
    )


def _strains(inputs: Inputs, thresholds: ThresholdsConfig) -> tuple[str, ...]:
    return (
        *_beyond("drawdown", inputs.drawdown, thresholds.aggressive_leave_drawdown),
        *_beyond("volatility_ratio", inputs.volatility_ratio, thresholds.aggressive_leave_ratio),
        *((f"health {inputs.health}",) if inputs.health is not HealthStatus.HEALTHY else ()),
    )


def _beyond(name: str, value: float | None, threshold: float) -> tuple[str, ...]:
    if value is None or math.isnan(value):
        return (f"{name} unknown",)
    return (f"{name} {value:.4f} > {threshold:g}",) if value > threshold else ()


def _is_calm(mode: RiskMode, inputs: Inputs, thresholds: ThresholdsConfig) -> bool:
    """May `mode` rise by one? Asked only when nothing is unknown and health is not CRITICAL."""
    drawdown, ratio = inputs.drawdown or 0.0, inputs.volatility_ratio or 0.0
    if mode is DEFENSIVE:
        return drawdown < thresholds.normal_enter_drawdown and ratio < thresholds.normal_enter_ratio
    healthy = inputs.health is HealthStatus.HEALTHY
    return healthy and drawdown < thresholds.aggressive_enter_drawdown and ratio < thresholds.aggressive_enter_ratio


def _figures(inputs: Inputs) -> tuple[str, ...]:
    return (
        f"drawdown {inputs.drawdown:.4f}",
        f"volatility_ratio {inputs.volatility_ratio:.4f}",
        f"health {inputs.health}",
    )
