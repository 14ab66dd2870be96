"""Wildcards: those of `fnmatch`, by which readers choose types, as regular expressions that servers understand."""

from __future__ import annotations

import re


def is_pattern(name: str) -> bool:
    """Is it a wildcard?"""
    return any(mark in name for mark in "*?[")


def as_regex(pattern: str) -> str:
    """A wildcard, as `fnmatch` reads it, in the words of PostgreSQL."""
    parts = re.findall(r"\[!?\]?[^\]]*\]|.", pattern, re.DOTALL)
    return f"^(?:{''.join(map(_word, parts))})$"


def _word(part: str) -> str:
    if len(part) > 1:
        inside = part[1:-1].replace("\\", "\\\\")
        return f"[^{inside[1:]}]" if inside.startswith("!") else f"[{inside}]"
    return {"*": ".*", "?": "."}.get(part) or re.escape(part)
