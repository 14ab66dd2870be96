"""Frozen: containers nobody can change, and the way back to plain ones.

An event is shared by every handler, retry, journal and dead letter; a frozen model alone would still leak its lists and
dicts. They remain what they were to read: `FrozenDict` is a dict, `FrozenList` is a tuple that equals the list it came from.
A time keeps its offset and loses its zone: a handler must see the same live as it does when the event is read back.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from functools import partial
from typing import Any, Never
from uuid import UUID

from pydantic import BaseModel, GetCoreSchemaHandler
from pydantic_core import CoreSchema, TzInfo, core_schema

from eventbus.errors import CodecError

DEPTH = 100
"""How deep containers may be nested."""

_LOOKED_AT = 1_000_000  # values, in search of the one that is nested too deep
_JSON = frozenset({str, int, float, bool, type(None)})
_SCALARS = _JSON | {bytes, Decimal, date, timedelta, UUID}
_FIXED = (timezone, TzInfo)
_MINUTE = timedelta(minutes=1)


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

    def __hash__(self) -> int:  # type: ignore[override] # a dict has none because it can change
        return hash(frozenset(self.items()))

    def __copy__(self) -> FrozenDict:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> FrozenDict:
        return self

    def __reduce__(self) -> tuple[type[FrozenDict], tuple[dict[Any, Any]]]:
        return FrozenDict, (dict(self),)


EMPTY = FrozenDict()


def freeze(value: Any, depth: int = 0) -> Any:
    """`value` with every list, dict and set in it, at any depth, replaced by one that cannot be changed.

    Raises `CodecError` for what is nested deeper than `DEPTH`; what holds itself is.
    """
    cls = type(value)
    if cls in _SCALARS:
        return value
    if cls is datetime or cls is time:
        return fixed(value)
    if depth > DEPTH:
        raise CodecError(f"nested deeper than {DEPTH}, or in a circle")
    if isinstance(value, (dict, Mapping)):  # to ask the abstract class takes longer than to copy a small dict
        if cls is FrozenDict:
            return value
        below = depth + 1
        return FrozenDict({key: item if type(item) in _SCALARS else freeze(item, below) for key, item in value.items()})
    if isinstance(value, list):
        return FrozenList([freeze(item, depth + 1) for item in value])
    if isinstance(value, tuple):
        if cls is FrozenList or hasattr(value, "_fields"):  # a named tuple keeps its names
            return value
        return tuple([freeze(item, depth + 1) for item in value])
    if isinstance(value, AbstractSet):
        return frozenset([freeze(item, depth + 1) for item in value])
    if isinstance(value, bytearray):
        return bytes(value)
    return value


def freeze_field(where: str, value: Any) -> Any:
    """`freeze`, for the value of a field: raises `CodecError` with the place."""
    try:
        return freeze(value)
    except CodecError as error:
        raise CodecError(error.reason, too_deep(value, where) or where) from None


def fixed(moment: datetime | time) -> datetime | time:
    """The same moment at a fixed offset: a zone would be lost when it is written, and with it what is added to it later."""
    zone = moment.tzinfo
    if zone is None or (type(zone) in _FIXED and not moment.utcoffset() % _MINUTE):  # type: ignore[operator] # it has one
        return moment
    offset = moment.utcoffset()
    if offset is None:
        return moment.replace(tzinfo=None)
    if not offset % _MINUTE:
        return moment.replace(tzinfo=timezone(offset), fold=0)
    if isinstance(moment, datetime) and _is_movable(moment, offset):  # an offset that no notation of times can hold
        return moment.astimezone(UTC)
    raise CodecError(f"{moment.isoformat()} has an offset that is no whole number of minutes")


def _is_movable(moment: datetime, offset: timedelta) -> bool:
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    label = moment.replace(tzinfo=UTC)
    return label - first >= offset if offset > timedelta(0) else last - label >= -offset


def too_deep(value: Any, where: str) -> str | None:
    """The place in `value`, called `where`, that is nested deeper than `DEPTH`; None when there is none."""
    waiting, seen = [(value, where, 0)], 0
    while waiting and seen < _LOOKED_AT:
        item, place, depth = waiting.pop()
        seen += 1
        if isinstance(item, Mapping):
            within = [(below, f"{place}.{key}") for key, below in item.items()]
        elif isinstance(item, (list, tuple, AbstractSet)):
            within = [(below, f"{place}[{index}]") for index, below in enumerate(item)]
        else:
            continue
        if depth > DEPTH:
            return place
        waiting += [(below, path, depth + 1) for below, path in reversed(within)]
    return None


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


def with_frozen_sets(schema: Any) -> Any:
    """A core schema that makes frozensets where it would make sets: they are frozen so, and written by whom they fit.

    What is inside of models is for their own classes to protect.
    """
    if isinstance(schema, dict):
        if schema.get("type") in ("model", "dataclass"):
            return schema
        made = {key: item if key == "default" else with_frozen_sets(item) for key, item in schema.items()}
        if made.get("type") == "set":
            made["type"] = "frozenset"
        return made
    return [with_frozen_sets(item) for item in schema] if isinstance(schema, list) else schema


class Freeze:
    """Field metadata: validate as annotated, freeze, serialise as annotated."""

    def __init__(self, field: str) -> None:
        self.field = field

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema = with_frozen_sets(handler(source))
        return core_schema.no_info_after_validator_function(
            partial(freeze_field, self.field),
            schema,
            serialization=core_schema.wrap_serializer_function_ser_schema(_serialise, info_arg=True, schema=schema),
        )


class FixOffset:
    """Field metadata for what can only change by its zone: times, alone or in tuples. What was read has none."""

    def __init__(self, field: str) -> None:
        self.field = field

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema = handler(source)
        return core_schema.json_or_python_schema(
            json_schema=schema,
            python_schema=core_schema.no_info_after_validator_function(partial(freeze_field, self.field), schema),
        )


def _serialise(
    value: Any, handler: core_schema.SerializerFunctionWrapHandler, info: core_schema.SerializationInfo
) -> Any:
    written = handler(thaw(value))
    if info.mode == "json" and isinstance(value, frozenset):
        return sorted(written, key=repr)  # a set has no order of its own: equal events give equal bytes
    return written


def thaw(value: Any) -> Any:
    """`value` with plain dicts and lists where it holds frozen ones."""
    if type(value) is FrozenDict:
        return {key: item if type(item) in _SCALARS else thaw(item) for key, item in value.items()}
    if type(value) is FrozenList:
        return [thaw(item) for item in value]
    if type(value) is tuple:
        return tuple([thaw(item) for item in value])
    return value
