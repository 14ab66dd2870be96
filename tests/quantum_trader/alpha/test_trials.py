"""Trials: one computation for everybody who asks, whoever hears first of a bar, and whoever else has died."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from quantum_trader.alpha.families import StrategySpec
from quantum_trader.alpha.trials import STORED, Trials
from quantum_trader.config import Costs, StrategiesConfig
from quantum_trader.market.calendar import SessionBars
from quantum_trader.market.dataset import load_dataset

SPECS = (StrategySpec("trend", (5, 20)), StrategySpec("reversion", (2, 10, 50, 60)))


@pytest.fixture(scope="module")
def days() -> tuple[SessionBars, ...]:
    return tuple(load_dataset(end=datetime(2001, 3, 1, tzinfo=UTC)))


def made() -> Trials:
    trials = Trials(Costs(), StrategiesConfig(), cooldown=5)
    for spec in SPECS:
        trials.create(spec.strategy_id, spec)
    return trials


def feed(trials: Trials, day: SessionBars, *, times: int = 1) -> None:
    for _ in range(times):
        for bar in day.bars:
            trials.bar(bar)
    for _ in range(times):
        trials.close(day.session)


def figures(trials: Trials, last: int) -> list[object]:
    return [
        (dict(trials.targets(spec.strategy_id)), trials.account(spec.strategy_id).equity(0, last).tolist())
        for spec in SPECS
    ]


def test_what_is_told_twice_counts_once(days: tuple[SessionBars, ...]) -> None:
    once, twice = made(), made()
    for day in days:
        feed(once, day)
        feed(twice, day, times=2)
    assert figures(twice, len(days)) == figures(once, len(days))
    assert twice.sessions(0, len(days)) == len(days)


def test_a_bar_of_a_session_that_is_over_changes_nothing(days: tuple[SessionBars, ...]) -> None:
    on_time, late = made(), made()
    for day, before in zip(days[1:], days, strict=False):
        feed(on_time, day)
        feed(late, day)
        late.bar(before.bars[0])
    assert figures(late, len(days)) == figures(on_time, len(days))


def test_asking_every_session_finds_what_asking_once_finds(days: tuple[SessionBars, ...]) -> None:
    often, once = made(), made()
    for day in days:
        feed(often, day)
        feed(once, day)
        figures(often, day.session)
    assert figures(once, len(days)) == figures(often, len(days))


def test_restored_they_go_on_as_they_would_have(days: tuple[SessionBars, ...]) -> None:
    trials, other = made(), Trials(Costs(), StrategiesConfig(), cooldown=5)
    for day in days[:120]:
        feed(trials, day)
    figures(trials, 119)
    other.restore(json.loads(json.dumps(trials.state())))
    for day in days[120:]:
        feed(trials, day)
        feed(other, day)
    assert figures(other, len(days)) == figures(trials, len(days))
    assert other.state() == trials.state()


def test_a_strategy_that_nobody_created_is_no_answer() -> None:
    with pytest.raises(KeyError):
        made().account("momentum-2")


def test_bars_are_kept_for_the_longest_window_and_its_warm_up() -> None:
    assert STORED == 1_300
