"""Tagged: values that no class describes, as JSON and back: a payload, metadata, a field annotated `Any`.

What JSON has is written as it is. The rest is an object with one key that says what it is: {"$decimal": "1.10"}. What neither
knows is refused, so that a handler gets from a journal exactly what it would have got live.
"""

from __future__ import annotations

import math
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from functools import partial
from sys import getsizeof
from typing import Any
from uuid import UUID

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema, to_json

from eventbus.errors import CodecError
from eventbus.frozen import DEPTH, FrozenDict, FrozenList, freeze_field, thaw, with_frozen_sets
from eventbus.wording import shown

DIGITS = 1_000
"""How many digits a number may have."""

_BOUND = 10**DIGITS
_SHORT = getsizeof(Decimal("1" * (DIGITS - 50)))  # a Decimal that takes no more memory has no more than `DIGITS` digits

_PLAIN = frozenset({str, bool, type(None)})
_ESCAPE = "$object"


def check_number(value: Any, where: str | None = None) -> None:
    """Raises `CodecError` for an int or Decimal of more than `DIGITS` digits, and for what is no finite number."""
    if type(value) is int:
        if not -_BOUND < value < _BOUND:
            raise CodecError(f"a number of more than {DIGITS} digits", where)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise CodecError(f"{value} is no JSON number", where)
    elif isinstance(value, Decimal):
        if getsizeof(value) > _SHORT and len(value.as_tuple().digits) > DIGITS:
            raise CodecError(f"a number of more than {DIGITS} digits", where)
        if not value.is_finite():
            raise CodecError(f"{value} is no JSON number", where)


def tag(value: Any, depth: int = 0) -> Any:
    """A frozen value as one that JSON has. Raises `CodecError` for what could not be read back as it was.

    What is tagged is two levels deep: a reader of JSON has its limits too.
    """
    cls = type(value)
    if cls in _PLAIN:
        return value
    if cls is int or cls is float:
        check_number(value)
        return value
    if depth > DEPTH:
        raise CodecError(f"nested deeper than {DEPTH}, or in a circle")
    below = depth + 1
    if cls is FrozenDict:
        for key in value:
            if type(key) is not str:
                raise CodecError(f"key {shown(key)} is no string")
        if _looks_tagged(value):
            return {_ESCAPE: {key: tag(item, below + 1) for key, item in value.items()}}
        return {key: tag(item, below) for key, item in value.items()}
    if cls is FrozenList:
        return [tag(item, below) for item in value]
    if cls is tuple:
        return {"$tuple": [tag(item, below + 1) for item in value]}
    if cls is frozenset:
        return {"$set": sorted((tag(item, below + 1) for item in value), key=to_json)}  # equal sets give equal bytes
    if cls is Decimal:
        check_number(value)
        return {"$decimal": str(value)}
    if cls is bytes:
        return {"$bytes": b64encode(value).decode()}
    write = _WRITERS.get(cls)
    if write is None:
        raise CodecError(
            f"{shown(value)} is a {cls.__qualname__}: use what JSON has, or Decimal, a time, UUID or bytes"
        )
    return write(value)


def untag(value: Any, depth: int = 0) -> Any:
    """The frozen value that `tag` made this of. Raises `CodecError` for what it cannot have made."""
    cls = type(value)
    if cls is int or cls is float:
        check_number(value)
    if cls is not dict and cls is not list:
        return value
    if depth > DEPTH:
        raise CodecError(f"nested deeper than {DEPTH}")
    below = depth + 1
    if cls is list:
        return FrozenList([untag(item, below) for item in value])
    if not _looks_tagged(value):
        return FrozenDict({name: item if type(item) in _PLAIN else untag(item, below) for name, item in value.items()})
    ((name, item),) = value.items()
    if name == _ESCAPE and type(item) is dict and _looks_tagged(item):
        ((inner, content),) = item.items()
        return FrozenDict({inner: untag(content, below)})
    read = _READERS.get(name)
    if read is None:
        raise CodecError(f"{shown(name)} says nothing of what it holds")
    try:
        return read(item, below)
    except CodecError:
        raise
    except Exception as error:
        raise CodecError(f"{shown(item)} is no {name[1:]}") from error


def locate(value: Any, where: str) -> None:
    """Say what `tag` refused, and where: raises `CodecError` with the place."""
    waiting = [(value, where, 0)]
    while waiting:
        item, place, depth = waiting.pop()
        if depth > DEPTH:
            raise CodecError(f"nested deeper than {DEPTH}, or in a circle", place)
        if isinstance(item, Mapping):
            for key in item:
                if type(key) is not str or not key.isascii():
                    _check_key(key, place)
            within = [(below, f"{place}.{key}") for key, below in item.items()]
        elif type(item) in (FrozenList, tuple, frozenset):
            within = [(below, f"{place}[{index}]") for index, below in enumerate(item)]
        else:
            within = []
            try:
                to_json(tag(item))
            except CodecError as error:
                raise CodecError(error.reason, place) from None
            except Exception as error:
                raise CodecError(f"{shown(item)} cannot be written: {error}", place) from error
        levels = 1 if type(item) is FrozenList or (isinstance(item, Mapping) and not _looks_tagged(item)) else 2
        waiting += [(below, path, depth + levels) for below, path in reversed(within)]


def _check_key(key: object, where: str) -> None:
    if type(key) is not str:
        raise CodecError(f"key {shown(key)} is no string", where)
    try:
        key.encode()
    except UnicodeEncodeError as error:
        raise CodecError(f"key {shown(key)} cannot be written: {error.reason}", where) from error


class Untyped:
    """Field metadata: freeze what nobody describes, write it tagged, read it back exactly."""

    def __init__(self, field: str) -> None:
        self.field = field

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema = with_frozen_sets(handler(source))
        given = core_schema.no_info_after_validator_function(partial(freeze_field, self.field), schema)
        read = core_schema.no_info_after_validator_function(untag, core_schema.any_schema())
        return core_schema.json_or_python_schema(
            json_schema=core_schema.chain_schema([read, given]),
            python_schema=given,
            serialization=core_schema.wrap_serializer_function_ser_schema(_serialise, info_arg=True, schema=schema),
        )

    def __get_pydantic_json_schema__(self, schema: Any, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(schema["python_schema"])  # what is read is looked at after it was untagged


def _serialise(
    value: Any, handler: core_schema.SerializerFunctionWrapHandler, info: core_schema.SerializationInfo
) -> Any:
    return tag(value) if info.mode == "json" else handler(thaw(value))


def _looks_tagged(items: Mapping[str, Any]) -> bool:
    return len(items) == 1 and next(iter(items)).startswith("$")


def _number(text: str, _depth: int) -> Decimal:
    if len(text) > 2 * DIGITS:
        raise CodecError(f"a number of more than {DIGITS} digits")
    number = Decimal(text)
    check_number(number)
    return number


_WRITERS: dict[type, Callable[[Any], dict[str, str]]] = {
    datetime: lambda moment: {"$datetime": moment.isoformat()},
    date: lambda day: {"$date": day.isoformat()},
    time: lambda moment: {"$time": moment.isoformat()},
    UUID: lambda ident: {"$uuid": str(ident)},
}
_READERS: dict[str, Callable[[Any, int], Any]] = {
    "$tuple": lambda items, depth: tuple([untag(item, depth) for item in items]),
    "$set": lambda items, depth: frozenset([untag(item, depth) for item in items]),
    "$decimal": _number,
    "$bytes": lambda text, _: b64decode(text, validate=True),
    "$datetime": lambda text, _: datetime.fromisoformat(text),
    "$date": lambda text, _: date.fromisoformat(text),
    "$time": lambda text, _: time.fromisoformat(text),
    "$uuid": lambda text, _: UUID(text),
}
