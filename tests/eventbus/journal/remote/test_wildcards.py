"""Wildcards as regular expressions choose what fnmatch chooses."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

import pytest

from eventbus.journal.remote.wildcards import as_regex, is_pattern

NAMES = [
    "trade.executed",
    "trade.denied",
    "tradexexecuted",
    "Trade.executed",
    "health.changed",
    "a[b",
    "a\\b",
    "a^b",
    "",
]


@pytest.mark.parametrize("pattern", ["trade.*", "*", "t????.executed", "[!t]*", "[th]*.*", "trade.exec", "[a-h]*"])
def test_the_same_names_are_chosen(pattern: str) -> None:
    chosen = [name for name in NAMES if re.match(as_regex(pattern), name)]
    assert chosen == [name for name in NAMES if fnmatchcase(name, pattern)]


def test_a_plain_name_is_no_pattern() -> None:
    assert [is_pattern(name) for name in ("trade.executed", "trade.*", "t?", "[a]")] == [False, True, True, True]
