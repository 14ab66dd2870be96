"""Shuffle: a market without any skill to find, made of a real one: the same days in another order, and no drift.

For the question that every promotion gate must answer: how often does it promote luck?
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby, pairwise

import numpy as np

from quantum_trader.market.calendar import SessionBars
from quantum_trader.market.dataset import Dataset
from quantum_trader.model import Bar, significant


def shuffled(dataset: Dataset, *, seed: int) -> Dataset:
    """`dataset` with its days permuted and the mean return of each symbol taken out; the same for the same `seed`.

    The mean of simple returns, not of logarithms: a position held by luck then earns nothing but its costs.
    A day keeps the gap, range, body and volume of each symbol, and the symbols fall and rise together as they did, so that
    only the order in time is destroyed; symbols shuffled apart would make a portfolio calmer than any market. Each
    symbol keeps the sessions in which it has bars and the price at which it starts.
    """
    drawn = _order(dataset, np.random.Generator(np.random.Philox(key=seed)))
    slots: dict[int, list[Bar]] = {group.session: [] for group in dataset}
    for bars in dataset.by_symbol().values():
        for bar in _shuffled(bars, drawn):
            slots[bar.session].append(bar)
    groups = (SessionBars(group.session, group.ts, tuple(slots[group.session])) for group in dataset)
    return replace(dataset, name=f"{dataset.name}-shuffled-{seed}", sessions=tuple(groups))


def _order(dataset: Dataset, random: np.random.Generator) -> dict[int, int]:
    """The session whose day each session gets, permuted among those with the same symbols; the first of each stays."""
    order: dict[int, int] = {}
    for _, run in groupby(dataset, key=lambda group: tuple(bar.symbol for bar in group.bars)):
        first, *rest = [group.session for group in run]
        order |= {first: first, **dict(zip(rest, random.permutation(rest).tolist(), strict=True))}
    return order


def _shuffled(bars: Sequence[Bar], drawn: Mapping[int, int]) -> list[Bar]:
    if len(bars) < 2:
        return list(bars)
    place = {bar.session: at for at, bar in enumerate(bars)}
    changes = [after.close / before.close for before, after in pairwise(bars)]
    mean = math.fsum(changes) / len(changes) - 1.0
    made = [bars[0]]
    for slot in bars[1:]:
        at = place[drawn[slot.session]]
        before, day = bars[at - 1], bars[at]
        scale = made[-1].close / before.close * (1.0 - mean / changes[at - 1])
        opened, high, low, close = (significant(price * scale) for price in (day.open, day.high, day.low, day.close))
        made.append(replace(slot, open=opened, high=high, low=low, close=close, volume=day.volume))
    return made
