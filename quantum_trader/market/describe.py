"""Describe: what a person wants to know of a data set before trusting a run on it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Final

from quantum_trader.market.adjust import bars_sha256
from quantum_trader.market.dataset import Dataset
from quantum_trader.market.validate import is_jump
from quantum_trader.model import Bar

_SPLIT_LOG: Final = math.log(1.2)  # a 6:5 split is the smallest in use; a dividend hardly ever moves the factor so far


@dataclass(frozen=True, slots=True)
class SymbolSummary:
    """One symbol of a data set, in a row."""

    symbol: str
    bars: int
    first: datetime | None  # None without a bar in the chosen range
    last: datetime | None
    splits: tuple[datetime, ...]  # sessions from which on the adjustment factor is another, by a fifth at least
    jumps: tuple[datetime, ...]  # sessions that open far from the last close although adjusted
    sha256: str  # of the adjusted bars


def describe(dataset: Dataset) -> tuple[SymbolSummary, ...]:
    """A row per symbol, sorted by symbol."""
    return tuple(_summary(symbol, bars) for symbol, bars in dataset.by_symbol().items())


def _summary(symbol: str, bars: Sequence[Bar]) -> SymbolSummary:
    return SymbolSummary(
        symbol=symbol,
        bars=len(bars),
        first=bars[0].ts if bars else None,
        last=bars[-1].ts if bars else None,
        splits=tuple(b.ts for a, b in pairwise(bars) if abs(math.log(b.adj_factor / a.adj_factor)) > _SPLIT_LOG),
        jumps=tuple(b.ts for a, b in pairwise(bars) if is_jump(a.close, b.open)),
        sha256=bars_sha256(bars),
    )
