"""Frozen: containers nobody can change, and the way back to plain ones.

An event is shared by every handler, retry, journal and dead letter; a frozen model alone would still leak its lists and
dicts. They remain what they were to read: `FrozenDict` is a dict, `FrozenList` is a tuple that equals the list it came from.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from enum import Enum
from typing import Any, Never

from pydantic import BaseModel, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

_SCALARS = frozenset({str, int, float, bool, bytes, type(None)})


class FrozenList(tuple[Any, ...]):
    """A tuple that also equals a list of the same items."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return super().__eq__(tuple(other) if isinstance(other, list) else other)

    __hash__ = tuple.__hash__


class FrozenDict(dict[Any, Any]):
    """A dict that refuses every change."""

    __slots__ = ()

    def _refuse(self, *_args: object, **_kwargs: object) -> Never:
        raise TypeError("events are immutable: copy the mapping with dict(...) and change the copy")

    __setitem__ = __delitem__ = clear = pop = popitem = setdefault = update = __ior__ = _refuse

    def __copy__(self) -> FrozenDict:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> FrozenDict:
        return self

    def __reduce__(self) -> tuple[type[FrozenDict], tuple[dict[Any, Any]]]:
        return FrozenDict, (dict(self),)


EMPTY = FrozenDict()


def freeze(value: Any) -> Any:
    """`value` with every list, dict and set in it, at any depth, replaced by one that cannot be changed."""
    if type(value) in _SCALARS:
        return value
    if isinstance(value, (dict, Mapping)):  # to ask the abstract class takes longer than to copy a small dict
        if type(value) is FrozenDict:
            return value
        return FrozenDict({key: item if type(item) in _SCALARS else freeze(item) for key, item in value.items()})
    if isinstance(value, list):
        return FrozenList([freeze(item) for item in value])
    if isinstance(value, tuple):
        if type(value) is FrozenList or hasattr(value, "_fields"):  # a named tuple keeps its names
            return value
        return tuple([freeze(item) for item in value])
    if isinstance(value, AbstractSet):
        return frozenset(value)
    if isinstance(value, bytearray):
        return bytes(value)
    return value


def plain(value: Any) -> Any:
    """`value` as fresh dicts, lists and sets, with enum members as their values: yours to change."""
    if type(value) in _SCALARS:
        return value
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, BaseModel):
        return {name: plain(item) for name, item in value}
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, AbstractSet):
        return {plain(item) for item in value}
    return value


class Freeze:
    """Field metadata: validate as annotated, hold frozen, serialise as annotated."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema = handler(source)
        return core_schema.no_info_after_validator_function(
            freeze,
            schema,
            serialization=core_schema.wrap_serializer_function_ser_schema(_serialise, info_arg=True, schema=schema),
        )


def _serialise(
    value: Any, handler: core_schema.SerializerFunctionWrapHandler, info: core_schema.SerializationInfo
) -> Any:
    written = handler(_thaw(value))
    if info.mode == "json" and isinstance(value, frozenset):
        return sorted(written, key=repr)  # a set has no order of its own: equal events give equal bytes
    return written


def _thaw(value: Any) -> Any:
    if type(value) is FrozenDict:
        return {key: item if type(item) in _SCALARS else _thaw(item) for key, item in value.items()}
    if type(value) is FrozenList:
        return [_thaw(item) for item in value]
    if type(value) is tuple:
        return tuple([_thaw(item) for item in value])
    return value
