"""Shuffle: a market without any skill to find, made of a real one: the same days in another order, and no drift.

For the question that every promotion gate must answer: how often does it promote luck?
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from quantum_trader.market.calendar import SessionBars
from quantum_trader.market.dataset import Dataset
from quantum_trader.model import Bar


def shuffled(dataset: Dataset, *, seed: int) -> Dataset:
    """`dataset` with the days of each symbol permuted and its mean return taken out; the same for the same `seed`.

    The mean of simple returns, not of logarithms: a position held by luck then earns nothing but its costs.
    A day keeps its gap, range, body and volume together, so only their order in time is destroyed. Each symbol keeps
    the sessions in which it has bars and the price at which it starts.
    """
    random = np.random.Generator(np.random.Philox(key=seed))
    slots: dict[int, list[Bar]] = {group.session: [] for group in dataset}
    for bars in dataset.by_symbol().values():
        for bar in _shuffled(bars, random):
            slots[bar.session].append(bar)
    groups = (SessionBars(group.session, group.ts, tuple(slots[group.session])) for group in dataset)
    return replace(dataset, name=f"{dataset.name}-shuffled-{seed}", sessions=tuple(groups))


def _shuffled(bars: Sequence[Bar], random: np.random.Generator) -> list[Bar]:
    if len(bars) < 2:
        return list(bars)
    changes = [after.close / before.close for before, after in pairwise(bars)]
    mean = math.fsum(changes) / len(changes) - 1.0
    made = [bars[0]]
    for place, drawn in enumerate(random.permutation(len(changes)), start=1):
        before, day, slot = bars[drawn], bars[drawn + 1], bars[place]
        scale = made[-1].close / before.close * (1.0 - mean / changes[drawn])
        opened, high, low, close = (round(price * scale, 6) for price in (day.open, day.high, day.low, day.close))
        made.append(replace(slot, open=opened, high=high, low=low, close=close, volume=day.volume))
    return made
