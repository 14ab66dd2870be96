"""Money: a decimal comes as a text of plain digits, or not at all. A JSON number has been a double somewhere.

`Decimal` itself takes more than anybody means: exponents that take minutes to expand, digits of other scripts, blanks.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from eventbus.gateway.problems import Problem

MONEY = r"-?[0-9]{1,12}(\.[0-9]{1,9})?"

_MONEY = re.compile(MONEY)


def check_money(given: Any, understood: Any, field: str) -> None:
    """Raise `Problem` where a decimal was understood and something else than a plain text was given. `field` is where."""
    if isinstance(understood, Decimal):
        if not (isinstance(given, str) and _MONEY.fullmatch(given)):
            raise Problem(
                422,
                "bad_decimal",
                f"{field}: send a decimal as a text, at most 12 digits and 9 decimals, such as '10.5'",
            )
    elif isinstance(understood, dict) and isinstance(given, dict):
        for name, value in understood.items():
            if name in given:
                check_money(given[name], value, field)
    elif isinstance(understood, list | tuple) and isinstance(given, list):
        for one, value in zip(given, understood, strict=False):
            check_money(one, value, field)
