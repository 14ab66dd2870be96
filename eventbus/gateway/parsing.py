"""Parsing: JSON from strangers. What is too deep, too wide, ambiguous or no number is refused before it is built.

One pass over the tokens counts, then pydantic's parser builds. Both take time in proportion to what may come in, and the first
ends at the first thing too many. Knows requests and frames only as bytes.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json

from eventbus.gateway.problems import Problem

if TYPE_CHECKING:
    from eventbus.gateway.settings import Limits

# A string that never ends matches too, to the end: else each quote in it would be tried again.
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[{}\[\]:]|-?[0-9][0-9.eE+\-]*|true|false|null', re.DOTALL)
_WHOLE = re.compile(rb"-?[0-9]+")
_LONGEST_NUMBER = 64
_LEAST, _MOST = -(2**63), 2**63 - 1
_PLACE = re.compile(r"at line [0-9]+ column [0-9]+$")


def parse_json(body: bytes, limits: Limits) -> Any:
    """The value that the bytes stand for. Raises `Problem`: 400 `bad_json` and `too_complex`, 422 `bad_number`."""
    _scan(body, limits)
    try:
        return from_json(body, allow_inf_nan=False, cache_strings="keys")
    except ValueError as error:
        place = _PLACE.search(str(error))
        raise bad_json(f"not JSON, {place[0] if place else 'from its beginning'}") from error


def bad_json(detail: str) -> Problem:
    """It cannot be read."""
    return Problem(400, "bad_json", detail)


def _scan(body: bytes, limits: Limits) -> None:
    containers: list[set[bytes] | None] = []  # the keys of each object that has not ended, None for a list
    values = 0
    text = b""
    for match in _TOKEN.finditer(body):
        token = match[0]
        match token[:1]:
            case b'"':
                if len(token) - 2 > limits.json_text:
                    raise _too_complex(f"a text is longer than {limits.json_text} bytes")
                text = token
                values += 1
            case b":":
                values -= 1  # the text before it was a name
                keys = containers[-1] if containers else None
                if keys is None or not text:
                    raise bad_json("not JSON: a colon follows no name")
                _add(keys, text, limits)
                text = b""
            case b"{" | b"[":
                containers.append(set() if token == b"{" else None)
                if len(containers) > limits.json_depth:
                    raise _too_complex(f"nested deeper than {limits.json_depth}")
                values += 1
            case b"}" | b"]":
                if not containers:
                    raise bad_json("not JSON: more is closed than opened")
                containers.pop()
            case b"t" | b"f" | b"n":
                values += 1
            case _:
                _check_number(token)
                values += 1
        if values > limits.json_nodes:
            raise _too_complex(f"more than {limits.json_nodes} values")


def _add(keys: set[bytes], text: bytes, limits: Limits) -> None:
    if b"\\" in text:
        try:
            text = b'"%b"' % from_json(text).encode()
        except ValueError:
            return  # the parser says where
    if text in keys:
        raise bad_json("an object has the same name twice")
    keys.add(text)
    if len(keys) > limits.json_keys:
        raise _too_complex(f"an object has more than {limits.json_keys} names")


def _check_number(token: bytes) -> None:
    if _WHOLE.fullmatch(token):
        if len(token) > len(str(_LEAST)) or not _LEAST <= int(token) <= _MOST:
            raise Problem(422, "bad_number", "an integer is outside of 64 bits: send it as a text")
    elif len(token) > _LONGEST_NUMBER:
        raise Problem(422, "bad_number", f"a number is longer than {_LONGEST_NUMBER} characters: send it as a text")
    else:
        try:
            number = float(token)
        except ValueError:
            return  # the parser says where
        if not math.isfinite(number):
            raise bad_json("a number is too large for a double")


def _too_complex(detail: str) -> Problem:
    return Problem(400, "too_complex", detail)
