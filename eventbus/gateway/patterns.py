"""Patterns: wildcards over type names, matched in time that grows with both and nothing else.

A star stands for any characters, dots and colons included, as in a subscription; nothing else is special, and no regular expression
is made of what a client sends.
"""

from __future__ import annotations

import re

TYPE = r"^[A-Za-z0-9_.:\-]{1,128}$"
"""What a type is called."""
PATTERN = r"^[A-Za-z0-9_.:*\-]{1,128}$"
"""What may be asked for."""

_PATTERN = re.compile(PATTERN)


def is_pattern(text: str) -> bool:
    """Is it a type or a wildcard?"""
    return _PATTERN.fullmatch(text) is not None and "\n" not in text


def matches(pattern: str, name: str) -> bool:
    """Does the wildcard cover the name?"""
    head, *rest = pattern.split("*")
    if not rest:
        return name == pattern
    *middle, tail = rest
    if not name.startswith(head) or len(name) < len(head) + len(tail) or not name.endswith(tail):
        return False
    at, end = len(head), len(name) - len(tail)
    for part in middle:  # the leftmost place leaves the most room for what follows
        found = name.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True
