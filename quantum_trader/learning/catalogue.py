"""Catalogue: which forecasters there are, and which of them compete for the same place.

A *model* is a place in the ensemble; its versions are fitted forecasters of its list. The ensemble manager and the
learning manager agree on this and on nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from quantum_trader.learning.forecast import Ewma, Forecaster, HarRls, MovingAverage

AVERAGE: Final = "average"
REGRESSION: Final = "regression"
ENSEMBLE: Final = "ensemble"  # the name under which the combined forecast is scored
DIRECTION: Final = "direction"  # no member of the ensemble, ever: its gate refuses it

_Factory = Callable[[], Forecaster]


def _named(*factories: _Factory) -> Mapping[str, _Factory]:
    return MappingProxyType({factory().name: factory for factory in factories})


# Challengers by model, in the order in which they get their turn.
MODELS: Final[Mapping[str, Mapping[str, _Factory]]] = MappingProxyType(
    {
        AVERAGE: _named(lambda: Ewma(0.9), MovingAverage),
        REGRESSION: _named(
            lambda: HarRls(0.999),
            lambda: HarRls(1.0),
            lambda: HarRls(0.995),
            lambda: HarRls(0.999, leverage=False),
            lambda: HarRls(1.0, leverage=False),
            lambda: HarRls(0.995, leverage=False),
        ),
    }
)
FIRST: Final = (AVERAGE, 1, MovingAverage.name)  # live from the first session; no version of the others is


def build(model: str, name: str) -> Forecaster:
    """A fresh forecaster. Raises KeyError naming what is not in the catalogue."""
    return MODELS[model][name]()
