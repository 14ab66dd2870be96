"""Ranking: which symbols deserve capital, by five measured quantities compared across the universe.

The opportunity ranker feeds bars and publishes the result. Ranks, not values, are weighted, so no quantity needs a
scale; a symbol that cannot be judged is excluded with its reason, never scored.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Any, Final, NamedTuple

from quantum_trader.market.indicators import RollingMedian
from quantum_trader.model import Bar

HISTORY: Final = 130  # bars kept, and needed
MONTH: Final = 20  # bars
HALF_YEAR: Final = 126
STALE_AFTER: Final = 3  # sessions without a bar
QUARANTINE: Final = 5  # sessions after a jump
JUMP: Final = math.log(1.4)  # of the open against the close before: an unadjusted split looks like this
MIN_DOLLAR_VOLUME: Final = 5e6  # a day
USUAL_VOLATILITY: Final = 0.018  # of a daily return: the best to trade, neither asleep nor wild

_QUIET: Final = 1e-12  # a deviation at or below is a price that did not move


class Exclusion(StrEnum):
    """Why a symbol is not ranked: too few bars, none of late, a jump not long ago, or too little traded."""

    WARMUP = "WARMUP"
    STALE = "STALE"
    JUMP = "JUMP"
    ILLIQUID = "ILLIQUID"


class Components(NamedTuple):
    """The five quantities of one symbol, or their ranks in 0..1; more is better in each.

    `trend`: efficiency ratio of 20 closes. `momentum`: half-year log return in units of its volatility. `liquidity`:
    median dollar volume. `quality`: closeness of the volatility to the usual one, 0..1. `cost`: minus the mean
    overnight gap, bp.
    """

    trend: float
    momentum: float
    liquidity: float
    quality: float
    cost: float


WEIGHTS: Final = Components(trend=0.30, momentum=0.25, liquidity=0.20, quality=0.15, cost=0.10)


@dataclass(frozen=True, slots=True)
class Ranking:
    """The result of one session: the top symbols, best first; score and ranks of every symbol judged; the others."""

    top: tuple[str, ...]
    scores: dict[str, float]
    ranks: dict[str, Components]
    excluded: dict[str, Exclusion]


class _Day(NamedTuple):
    session: int
    open: float
    close: float
    dollars: float


class SymbolHistory:
    """The last 130 bars of one symbol, and when it last jumped."""

    def __init__(self) -> None:
        self._days: deque[_Day] = deque(maxlen=HISTORY)
        self._dollars = RollingMedian(MONTH)
        self._jumped: int | None = None

    def update(self, bar: Bar) -> None:
        """Take the next bar of the symbol."""
        if self._days and abs(math.log(bar.open / self._days[-1].close)) > JUMP:
            self._jumped = bar.session
        dollars = bar.close * bar.volume
        self._days.append(_Day(bar.session, bar.open, bar.close, dollars))
        self._dollars.update(dollars)

    def exclusion(self, session: int, *, min_dollar_volume: float = MIN_DOLLAR_VOLUME) -> Exclusion | None:
        """Why the symbol may not be ranked in `session`, None if it may."""
        days = self._days
        if len(days) < HISTORY:
            return Exclusion.WARMUP
        if session - days[-1].session > STALE_AFTER:
            return Exclusion.STALE
        if self._jumped is not None and session - self._jumped < QUARANTINE:
            return Exclusion.JUMP
        return Exclusion.ILLIQUID if self._dollar_volume < min_dollar_volume else None

    def components(self) -> Components:
        """The five quantities; call only when there is no exclusion."""
        days = list(self._days)
        month = days[-MONTH - 1 :]
        closes = [day.close for day in month]
        deviation = _deviation([math.log(b / a) for a, b in pairwise(closes)])
        path = math.fsum(abs(b - a) for a, b in pairwise(closes))
        half_year = math.log(days[-1].close / days[-1 - HALF_YEAR].close)
        moves = deviation > _QUIET
        return Components(
            trend=abs(closes[-1] - closes[0]) / path if path > 0 else 0.0,
            momentum=half_year / (deviation * math.sqrt(HALF_YEAR)) if moves else 0.0,
            liquidity=self._dollar_volume,
            quality=1 - min(1.0, abs(math.log(deviation / USUAL_VOLATILITY)) / math.log(4)) if moves else 0.0,
            cost=-1e4 * math.fsum(abs(math.log(b.open / a.close)) for a, b in pairwise(month)) / MONTH,
        )

    def state(self) -> dict[str, Any]:
        """Everything needed to go on after a restart, in plain JSON values."""
        return {"days": [list(day) for day in self._days], "jumped": self._jumped}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become the history that `state()` described."""
        self._days = deque((_Day(*day) for day in state["days"]), maxlen=HISTORY)
        self._dollars = RollingMedian(MONTH)
        for day in self._days:
            self._dollars.update(day.dollars)
        self._jumped = state["jumped"]

    @property
    def _dollar_volume(self) -> float:
        """Median of a month; asked only of a full history."""
        return self._dollars.value or 0.0


def rank(
    histories: Mapping[str, SymbolHistory],
    session: int,
    *,
    top_n: int,
    incumbents: Collection[str] = (),
    weights: Components = WEIGHTS,
    lead: float = 0.05,
    min_dollar_volume: float = MIN_DOLLAR_VOLUME,
) -> Ranking:
    """Judge every symbol after the close of `session` and choose the best `top_n`.

    `incumbents` are the members of the last top list: one is replaced only by a challenger whose score leads by `lead`.
    """
    excluded, measured = {}, {}
    for symbol in sorted(histories):
        reason = histories[symbol].exclusion(session, min_dollar_volume=min_dollar_volume)
        if reason is None:
            measured[symbol] = histories[symbol].components()
        else:
            excluded[symbol] = reason
    ranks = _ranked(measured)
    scores = {symbol: score(components, weights) for symbol, components in ranks.items()}
    return Ranking(choose(scores, top_n=top_n, incumbents=incumbents, lead=lead), scores, ranks, excluded)


def score(ranks: Components, weights: Components = WEIGHTS) -> float:
    """Weighted mean of the ranks, 0..1."""
    return math.fsum(share * value for share, value in zip(weights, ranks, strict=True)) / math.fsum(weights)


def average_ranks(values: Sequence[float]) -> list[float]:
    """Ranks of `values` scaled to 0 (least) .. 1 (greatest), equal values sharing their average; 0.5 if there is
    one."""
    if len(values) == 1:
        return [0.5]
    ordered = sorted(values)
    last = {value: at for at, value in enumerate(ordered)}
    first = {value: at for at, value in reversed(list(enumerate(ordered)))}
    return [(first[value] + last[value]) / 2 / (len(values) - 1) for value in values]


def choose(scores: Mapping[str, float], *, top_n: int, incumbents: Collection[str], lead: float) -> tuple[str, ...]:
    """The top symbols, best score first, equal scores by name; incumbents stay unless beaten by at least `lead`."""
    best_first = sorted(scores, key=lambda symbol: (-scores[symbol], symbol))
    chosen = [symbol for symbol in best_first if symbol in incumbents][:top_n]
    for challenger in (symbol for symbol in best_first if symbol not in incumbents):
        if len(chosen) < top_n:
            chosen.append(challenger)
            continue
        weakest = max((symbol for symbol in chosen if symbol in incumbents), key=best_first.index, default=None)
        # Rounding must not decide whether a lead of exactly `lead` is enough.
        if weakest is None or scores[challenger] - scores[weakest] < lead - 1e-12:
            break
        chosen[chosen.index(weakest)] = challenger
    return tuple(sorted(chosen, key=best_first.index))


def _deviation(values: Sequence[float]) -> float:
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def _ranked(measured: Mapping[str, Components]) -> dict[str, Components]:
    if not measured:
        return {}
    columns = [average_ranks(column) for column in zip(*measured.values(), strict=True)]
    return {symbol: Components(*ranks) for symbol, ranks in zip(measured, zip(*columns, strict=True), strict=True)}
