"""Exact: which annotations JSON brings back as they were, whatever the value. Of the others the codec reads back what it wrote.

`int | str` is not exact: "1" comes back as text or as a number as pydantic guesses. Knows types, no event.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Collection, Iterable, Mapping, MutableMapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, Flag
from typing import Any
from uuid import UUID

from pydantic import BaseModel

_EXACT = (str, int, float, bool, bytes, Decimal, UUID, date, datetime, time, timedelta, type(None))
_KEYS = (str, int, UUID, date)
_CONTAINERS = (list, tuple, set, frozenset, Sequence, AbstractSet, Collection, Iterable)
_MAPPINGS = (dict, Mapping, MutableMapping)


def is_exact(annotation: Any, seen: frozenset[type] = frozenset()) -> bool:
    """Does every value of it come back from JSON as it was?"""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if isinstance(annotation, typing.NewType):
        return is_exact(annotation.__supertype__, seen)
    if origin is typing.Annotated:
        return is_exact(arguments[0], seen) and not any(_writes(each) for each in arguments[1:])
    if origin is typing.Literal:
        return all(type(argument) in (str, int, bool, type(None)) for argument in arguments)
    if origin in (typing.Union, types.UnionType):
        return len(arguments) == 2 and type(None) in arguments and all(is_exact(each, seen) for each in arguments)
    if origin in _CONTAINERS:
        return all(argument is ... or is_exact(argument, seen) for argument in arguments)
    if origin in _MAPPINGS:
        return _is_key(arguments[0]) and is_exact(arguments[1], seen)
    return isinstance(annotation, type) and _is_exact_class(annotation, seen)


def admits(annotation: Any, number: type) -> bool:
    """May there be such a number in it?"""
    if isinstance(annotation, type) and not typing.get_args(annotation):
        if issubclass(annotation, BaseModel):
            return False  # what is in a model is for its own class to bound
        return issubclass(annotation, number) and not issubclass(annotation, bool | Enum)
    return typing.get_origin(annotation) is not typing.Literal and any(
        admits(each, number) for each in typing.get_args(annotation)
    )


def _is_exact_class(cls: type, seen: frozenset[type]) -> bool:
    if cls in _EXACT or cls in seen:
        return True
    if issubclass(cls, Enum):
        kinds = {type(member.value) for member in cls}
        return len(kinds) == 1 and kinds <= {str, int} and not issubclass(cls, Flag)
    if not issubclass(cls, BaseModel):
        return False
    decorators = cls.__pydantic_decorators__
    if decorators.field_serializers or decorators.model_serializers or decorators.computed_fields:
        return False
    return all(is_exact(field.annotation, seen | {cls}) for field in cls.model_fields.values())


def _is_key(annotation: Any) -> bool:
    if typing.get_origin(annotation) is typing.Literal:
        return all(type(argument) is str for argument in typing.get_args(annotation))
    is_word = isinstance(annotation, type) and issubclass(annotation, Enum) and issubclass(annotation, str)
    return annotation in _KEYS or is_word


def _writes(metadata: Any) -> bool:
    return "Serializer" in type(metadata).__name__
