from __future__ import annotations

import json
import math
from datetime import UTC, datetime

import numpy as np
import pytest
import scipy
from hypothesis import given
from hypothesis import strategies as st

from quantum_trader.alpha.ranking import (
    HISTORY,
    WEIGHTS,
    Components,
    Exclusion,
    SymbolHistory,
    average_ranks,
    choose,
    rank,
    score,
)
from quantum_trader.model import Bar

LAST = HISTORY - 1


def bar(symbol: str, session: int, opened: float, close: float, volume: int = 1_000_000) -> Bar:
    high, low = max(opened, close), min(opened, close)
    return Bar(symbol, session, datetime(2000, 1, 1, tzinfo=UTC), opened, high, low, close, volume)


def walk(symbol: str, sessions: int = HISTORY, *, volume: int = 1_000_000) -> list[Bar]:
    rng = np.random.default_rng(sum(map(ord, symbol)))
    close, bars = 100.0, []
    for session in range(sessions):
        opened = close * math.exp(0.004 * float(rng.standard_normal()))
        close = opened * math.exp(0.016 * float(rng.standard_normal()))
        bars.append(bar(symbol, session, opened, close, volume))
    return bars


def history(bars: list[Bar]) -> SymbolHistory:
    made = SymbolHistory()
    for one in bars:
        made.update(one)
    return made


def universe(*symbols: str) -> dict[str, SymbolHistory]:
    return {symbol: history(walk(symbol)) for symbol in symbols}


def test_components_follow_their_definitions() -> None:
    bars = walk("A", 200)
    closes, opens = np.array([one.close for one in bars]), np.array([one.open for one in bars])
    dollars = closes * 1_000_000
    steps = np.diff(closes[-21:])
    sd20 = np.diff(np.log(closes[-21:])).std(ddof=1)
    found = history(bars).components()
    assert found.trend == pytest.approx(abs(closes[-1] - closes[-21]) / np.abs(steps).sum())
    assert found.momentum == pytest.approx(math.log(closes[-1] / closes[-127]) / (sd20 * math.sqrt(126)))
    assert found.liquidity == pytest.approx(np.median(dollars[-20:]))
    assert found.quality == pytest.approx(1 - abs(math.log(sd20 / 0.018)) / math.log(4))
    assert found.cost == pytest.approx(-1e4 * np.abs(np.log(opens[-20:] / closes[-21:-1])).mean())


def test_a_price_that_never_moved_has_components() -> None:
    still = history([bar("A", session, 100.0, 100.0) for session in range(HISTORY)])
    assert still.components() == Components(trend=0.0, momentum=0.0, liquidity=1e8, quality=0.0, cost=0.0)


def test_too_few_bars_are_a_warm_up() -> None:
    assert history(walk("A", HISTORY - 1)).exclusion(LAST) is Exclusion.WARMUP
    assert SymbolHistory().exclusion(0) is Exclusion.WARMUP
    assert history(walk("A")).exclusion(LAST) is None


def test_a_symbol_without_a_bar_for_more_than_three_sessions_is_stale() -> None:
    quiet = history(walk("A"))
    assert quiet.exclusion(LAST + 3) is None
    assert quiet.exclusion(LAST + 4) is Exclusion.STALE


def test_a_jump_is_quarantined_for_five_sessions() -> None:
    bars = walk("A")
    jumped = history(bars)
    jumped.update(bar("A", HISTORY, bars[-1].close * 1.41, bars[-1].close * 1.41))
    for session in range(HISTORY + 1, HISTORY + 6):
        assert jumped.exclusion(session - 1) is Exclusion.JUMP
        jumped.update(bar("A", session, bars[-1].close * 1.41, bars[-1].close * 1.41))
    assert jumped.exclusion(HISTORY + 5) is None
    calm = history(bars)
    calm.update(bar("A", HISTORY, bars[-1].close * 1.39, bars[-1].close * 1.39))
    assert calm.exclusion(HISTORY) is None


def test_a_symbol_that_trades_less_than_five_million_a_day_is_illiquid() -> None:
    assert history(walk("A", volume=10_000)).exclusion(LAST) is Exclusion.ILLIQUID
    assert history(walk("A", volume=10_000)).exclusion(LAST, min_dollar_volume=1e5) is None


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=20))
def test_ranks_are_averages_for_ties(values: list[float]) -> None:
    expected = (scipy.stats.rankdata(values) - 1) / (len(values) - 1)
    assert average_ranks(values) == pytest.approx(expected.tolist())


def test_a_single_symbol_ranks_in_the_middle() -> None:
    assert average_ranks([7.0]) == [0.5]
    ranking = rank(universe("A"), LAST, top_n=2)
    assert ranking.scores == {"A": 0.5}
    assert ranking.top == ("A",)


def test_a_score_is_the_weighted_mean_of_ranks() -> None:
    assert score(Components(1, 0, 0, 0, 0)) == pytest.approx(0.30)
    assert score(Components(0, 1, 0, 0, 0)) == pytest.approx(0.25)
    assert score(Components(0, 0, 1, 0, 0)) == pytest.approx(0.20)
    assert score(Components(0, 0, 0, 1, 0)) == pytest.approx(0.15)
    assert score(Components(0, 0, 0, 0, 1)) == pytest.approx(0.10)
    assert score(Components(1, 1, 1, 1, 1), Components(3, 1, 1, 1, 1)) == pytest.approx(1.0), "weights need not add up"
    assert score(WEIGHTS) <= 1


def test_every_symbol_is_ranked_or_excluded_with_a_reason() -> None:
    symbols = universe("A", "B", "C", "D")
    symbols["NEW"] = history(walk("NEW", 5))
    symbols["GONE"] = history(walk("GONE", HISTORY + 10)[:HISTORY])
    for symbol in "ABCD":
        for one in walk(symbol, HISTORY + 10)[HISTORY:]:
            symbols[symbol].update(one)
    ranking = rank(symbols, LAST + 10, top_n=2)
    assert ranking.excluded == {"NEW": Exclusion.WARMUP, "GONE": Exclusion.STALE}
    assert set(ranking.scores) == set("ABCD")
    assert list(ranking.top) == sorted(ranking.scores, key=lambda symbol: -ranking.scores[symbol])[:2]
    assert all(0 <= value <= 1 for value in ranking.scores.values())


def test_nothing_to_rank_gives_an_empty_list() -> None:
    ranking = rank({"A": history(walk("A", 5))}, 4, top_n=3, incumbents=("A",))
    assert (ranking.top, ranking.scores, ranking.ranks) == ((), {}, {})
    assert ranking.excluded == {"A": Exclusion.WARMUP}


def test_the_order_of_the_universe_does_not_matter() -> None:
    symbols = universe("A", "B", "C", "D")
    assert rank(symbols, LAST, top_n=3) == rank(dict(reversed(symbols.items())), LAST, top_n=3)


SCORES = {"A": 0.70, "B": 0.60, "C": 0.57, "D": 0.30}


def test_an_incumbent_stays_until_a_challenger_leads_clearly() -> None:
    assert choose(SCORES, top_n=2, incumbents=("A", "C"), lead=0.05) == ("A", "C"), "B leads by 0.03 only"
    assert choose(SCORES, top_n=2, incumbents=("A", "D"), lead=0.05) == ("A", "B")
    assert choose(SCORES, top_n=2, incumbents=(), lead=0.05) == ("A", "B")


def test_a_lead_of_exactly_the_margin_is_enough() -> None:
    assert choose({"A": 0.30, "B": 0.35}, top_n=1, incumbents=("A",), lead=0.05) == ("B",)


def test_the_weakest_incumbent_is_replaced_first() -> None:
    assert choose(SCORES, top_n=2, incumbents=("C", "D"), lead=0.05) == ("A", "C"), "then B meets C"
    assert choose(SCORES, top_n=2, incumbents=("B", "C"), lead=0.05) == ("A", "B")


def test_an_excluded_incumbent_makes_room() -> None:
    assert choose(SCORES, top_n=2, incumbents=("A", "GONE"), lead=0.05) == ("A", "B")


def test_a_shorter_list_keeps_the_best_incumbents() -> None:
    assert choose(SCORES, top_n=1, incumbents=("A", "B", "C"), lead=0.05) == ("A",)
    assert choose(SCORES, top_n=0, incumbents=("A",), lead=0.05) == ()


def test_equal_scores_are_ordered_by_name() -> None:
    assert choose({"B": 0.5, "A": 0.5, "C": 0.5}, top_n=2, incumbents=(), lead=0.05) == ("A", "B")


@given(
    st.dictionaries(st.sampled_from("ABCDEFGH"), st.floats(0, 1)),
    st.sets(st.sampled_from("ABCDEFGH")),
    st.integers(0, 8),
)
def test_a_choice_is_full_and_nobody_outside_leads_a_member_clearly(
    scores: dict[str, float], incumbents: set[str], top_n: int
) -> None:
    chosen = choose(scores, top_n=top_n, incumbents=incumbents, lead=0.05)
    assert len(chosen) == len(set(chosen)) == min(top_n, len(scores))
    for outsider in scores.keys() - set(chosen):
        for member in chosen:
            allowed = 0.05 if member in incumbents and outsider not in incumbents else 0.0
            assert scores[outsider] - scores[member] <= allowed + 1e-9


def test_a_restored_history_goes_on_as_if_never_interrupted() -> None:
    bars = walk("A", 200)
    straight, first, second = history(bars), history(bars[:150]), SymbolHistory()
    second.restore(json.loads(json.dumps(first.state())))
    for one in bars[150:]:
        second.update(one)
    assert second.components() == straight.components()
    assert second.state() == straight.state()
