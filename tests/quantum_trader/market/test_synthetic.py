from __future__ import annotations

import tracemalloc
from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest

from quantum_trader.market.synthetic import SyntheticFeed
from quantum_trader.market.validate import FeedCheck

SYMBOLS = ("B", "A")


def test_a_seed_is_a_market() -> None:
    feed = SyntheticFeed(SYMBOLS, 700, seed=7)
    assert list(feed) == list(feed) == list(SyntheticFeed(SYMBOLS, 700, seed=7))
    assert next(iter(feed)) != next(iter(SyntheticFeed(SYMBOLS, 700, seed=8)))


def test_a_longer_run_begins_with_the_shorter() -> None:
    assert list(islice(SyntheticFeed(SYMBOLS, 5_000, seed=7), 700)) == list(SyntheticFeed(SYMBOLS, 700, seed=7))


def test_every_session_has_a_sorted_bar_of_each_symbol() -> None:
    start = datetime(2021, 1, 1, tzinfo=UTC)
    feed = SyntheticFeed(SYMBOLS, 700, seed=7, start=start, step=timedelta(days=1))
    sessions = list(feed)
    assert len(feed) == len(sessions) == 700
    assert feed.symbols == ("A", "B")
    for number, session in enumerate(sessions):
        assert (session.session, session.ts) == (number, start + timedelta(days=number))
        assert [(bar.symbol, bar.session, bar.ts) for bar in session.bars] == [
            (symbol, number, session.ts) for symbol in ("A", "B")
        ]


def test_bars_pass_the_feed_check_without_remark() -> None:
    check = FeedCheck()
    for session in SyntheticFeed(SYMBOLS, 20_000, seed=1):
        assert [check.bar(bar) for bar in session.bars] == [(True, ())] * 2


def test_prices_stay_on_the_scale() -> None:
    closes = [bar.close for session in SyntheticFeed(["A"], 50_000, seed=3) for bar in session.bars]
    assert min(closes) > 10
    assert max(closes) < 1_000
    assert max(closes) / min(closes) > 2, "and yet they move"


def test_bars_are_not_held() -> None:
    def peak(sessions: int) -> int:
        tracemalloc.start()
        try:
            for _ in SyntheticFeed(["A", "B", "C", "D", "E"], sessions, seed=3):
                pass
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(6_000) < 1.2 * peak(1_500)


def test_no_sessions_are_no_bars() -> None:
    assert list(SyntheticFeed(SYMBOLS, 0, seed=1)) == []


@pytest.mark.parametrize(("symbols", "sessions"), [((), 1), (("A",), -1)])
def test_nothing_to_make_is_refused(symbols: tuple[str, ...], sessions: int) -> None:
    with pytest.raises(ValueError, match="at least one symbol, and sessions of 0 or more"):
        SyntheticFeed(symbols, sessions, seed=1)
