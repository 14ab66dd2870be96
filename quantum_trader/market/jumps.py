"""Jumps: changes of price that no market makes often, and the split that each looks like.

A split that nobody adjusted is a loss that never happened: it would be traded as one. Who imports a file hears of each, and says
what they are. Knows no file and no session.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Final

from quantum_trader.market.adjust import RawBar
from quantum_trader.market.calendar import format_ts

BEYOND: Final = 1.2
# Not 5:4 and its like: a price that falls by a fifth has fallen, far more often.
_USUAL: Final = ((3, 2), *((new, 1) for new in (2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 25, 30, 40, 50, 100)))
SPLITS: Final = {new / old: f"{new}:{old}" for new, old in _USUAL} | {old / new: f"{old}:{new}" for new, old in _USUAL}
_NEAR: Final = math.log(1.1)  # a market moves on the day of a split as well


@dataclass(frozen=True, slots=True)
class Jump:
    """A change beyond a fifth from one bar of a symbol to the next, on the adjusted scale.

    `to` is the open or the close of the later bar, whichever is further off. `ratio` is that of the split it is like, None
    where there is no usual one or where the close does not stay there.
    """

    symbol: str
    ts: datetime
    before: float
    to: float
    is_open: bool
    ratio: float | None

    def __str__(self) -> str:
        what = "open " if self.is_open else ""
        like = "no usual split" if self.ratio is None else f"like a split of {SPLITS[self.ratio]}"
        change = (self.to / self.before - 1.0) * 100
        return f"{self.symbol} on {format_ts(self.ts)}: close {self.before:.6g} to {what}{self.to:.6g} ({change:+.1f} %), {like}"


def jumps(symbol: str, rows: Sequence[RawBar]) -> Iterator[Jump]:
    """Every jump in the rows of one symbol, in time order."""
    for before, row in pairwise(rows):
        scale = (row.adj_close / row.close) / (before.adj_close / before.close)
        opened, close = row.open * scale, row.adj_close / before.adj_close * before.close
        far_open, far_close = (abs(math.log(price / before.close)) for price in (opened, close))
        if max(far_open, far_close) > math.log(BEYOND):
            is_open = far_open > far_close
            to = opened if is_open else close
            yield Jump(symbol, row.ts, before.close, to, is_open, nearest_split(before.close / to))


def nearest_split(ratio: float) -> float | None:
    """The usual split that divides a price by about `ratio`; None when none is near."""
    best = min(SPLITS, key=lambda split: abs(math.log(ratio / split)))
    return best if abs(math.log(ratio / best)) <= _NEAR else None


def without_splits(symbol: str, rows: Sequence[RawBar]) -> tuple[list[RawBar], list[Jump], list[Jump]]:
    """The rows with what was before each split brought to the scale after it; the jumps taken for splits, and those left.

    A split stays: its bar must open and close near the price that it divides to.
    """
    splits: list[Jump] = []
    left: list[Jump] = []
    divide: dict[datetime, float] = {}
    after = {row.ts: row for row in rows}
    for jump in jumps(symbol, rows):
        row = after[jump.ts]
        other = jump.to / row.close * row.open if not jump.is_open else jump.to / row.open * row.close
        if jump.ratio is not None and abs(math.log(jump.before / other / jump.ratio)) <= math.log(BEYOND):
            divide[jump.ts] = jump.ratio
            splits.append(jump)
        else:
            left.append(jump)
    adjusted: list[RawBar] = []
    factor = 1.0
    for row in reversed(rows):
        adjusted.append(row._replace(adj_close=row.adj_close / factor))
        factor *= divide.get(row.ts, 1.0)
    return adjusted[::-1], splits, left
