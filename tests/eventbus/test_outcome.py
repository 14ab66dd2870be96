"""Outcome: how a delivery ended, as a value that can always be printed."""

from __future__ import annotations

import pytest

from eventbus import Outcome, Status


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


@pytest.mark.parametrize("show", [str, repr, "{}".format])
def test_it_prints_whatever_its_error_and_its_result_do(show: type[str]) -> None:
    text = show(Outcome("ledger", Status.DEAD_LETTERED, result=Unprintable(), error=Unprintable(), attempts=2))
    assert "subscription='ledger'" in text
    assert "error=<Unprintable without a repr>" in text
    assert "attempts=2" in text


def test_a_long_result_is_cut() -> None:
    assert len(str(Outcome("ledger", Status.SUCCEEDED, result="x" * 10_000))) < 500
