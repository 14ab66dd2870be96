"""Luck passes a gate in one of twenty stays, however often it is asked in each; `make null` counts over 20,000 paths."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from benchmarks.null_gates import dm_passes, psr_passes

PATHS = 2_000  # a standard error of half a percent


@pytest.mark.parametrize("passes", [psr_passes, dm_passes], ids=["PSR", "DM"])
def test_one_of_twenty_stays_without_skill_passes_at_one_of_its_looks(passes: Callable[[int], float]) -> None:
    assert passes(PATHS) == pytest.approx(0.05, abs=0.01)
