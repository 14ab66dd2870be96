"""Settings: which a class takes, and how one that stood in a URL becomes what it takes. Knows no backend."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from types import UnionType
from typing import Any, get_args

from eventbus.errors import PolicyConflict
from eventbus.wording import shown

_WHOLE = re.compile(r"([+-]?[0-9]{1,100})(?:[eE]([0-9]{1,2}))?")  # 5e9 is one too
_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_WORDS_FOR = {bool: "true or false", int: "a whole number", float: "a number"}


class Text(str):
    """A value in a URL: what it means depends on the setting."""

    __slots__ = ()


def types_of(cls: type[Any], *, without: Iterable[str]) -> dict[str, Any]:
    """The settings that a class is made with, and their types."""
    parameters = inspect.signature(cls, eval_str=True).parameters
    return {name: parameter.annotation for name, parameter in parameters.items() if name not in without}


def refuse_unknown(backend: str, settings: Iterable[str], known: Iterable[str]) -> None:
    """Raise `PolicyConflict` for the first setting that is not known."""
    known = {*known}
    for name in settings:
        if name not in known:
            raise PolicyConflict(name, f"is no setting of {backend}; there are {', '.join(sorted(known))}")


def typed(settings: Mapping[str, Any], types: Mapping[str, Any]) -> dict[str, Any]:
    """What stood in a URL becomes what its setting takes; everything else is as it was given. Raises `PolicyConflict`."""
    return {
        name: _read(name, value, types[name]) if isinstance(value, Text) else value for name, value in settings.items()
    }


def _read(name: str, text: str, annotation: Any) -> Any:
    kinds = get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)
    if bool in kinds and text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if int in kinds and (whole := _WHOLE.fullmatch(text)):
        return int(whole[1]) * 10 ** int(whole[2] or 0)
    if float in kinds:
        try:
            return float(text)
        except ValueError:
            pass
    if str in kinds:
        return str(text)
    wanted = [word for kind, word in _WORDS_FOR.items() if kind in kinds]
    meant = " or ".join(wanted) if wanted else "something that no URL can hold: give it as a keyword"
    raise PolicyConflict(name, f"{shown(str(text))} is not {meant}")
