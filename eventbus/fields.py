"""Fields: what the annotation of an event's field asks for, so that it is frozen, and as it will be read back.

The event's class calls this once, when it is defined. Knows no event.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, GetCoreSchemaHandler, TypeAdapter
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, PydanticUndefined, PydanticUseDefault, core_schema

from eventbus.frozen import FixOffset, Freeze
from eventbus.tagged import Untyped

_SCALARS = (str, int, float, bool, bytes, type(None), Decimal, datetime, date, time, timedelta, UUID, Enum)
_CONTAINERS = (tuple, list, dict, set, frozenset)
_BARE = (*_CONTAINERS, Mapping, AbstractSet, Iterable)


class OrDefault:
    """Field metadata: None is the same as leaving the field out. What was read has none."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema = handler(source)
        return core_schema.json_or_python_schema(
            json_schema=schema,
            python_schema=core_schema.no_info_before_validator_function(_default_if_none, schema),
        )


def _default_if_none(value: Any) -> Any:
    if value is None:
        raise PydanticUseDefault
    return value


def freeze_fields(cls: type[BaseModel], names: Iterable[str]) -> bool:
    """See to it that fields and their defaults are frozen as they should be. Is the model to be built again?"""
    has_changed = False
    for name in names:
        field = cls.model_fields[name]
        care = _care(name, field.annotation)
        if care is not None and not any(isinstance(each, Freeze | Untyped | FixOffset) for each in field.metadata):
            field.metadata.append(care)
            has_changed = True
        if care is not None or any(typing.get_origin(part) is tuple for part in _parts(field.annotation)):
            has_changed |= _freeze_default(cls, field)
    return has_changed


def _care(name: str, annotation: Any) -> Freeze | Untyped | FixOffset | None:
    """What a field of this annotation needs so that its values are as they will be read back, and unchangeable."""
    if is_untyped(annotation):
        return Untyped(name)
    if not _is_immutable(annotation):
        return Freeze(name)
    moves = any(isinstance(part, type) and issubclass(part, datetime | time) for part in _parts(annotation))
    return FixOffset(name) if moves else None


def _freeze_default(cls: type[BaseModel], field: FieldInfo) -> bool:
    """A default is frozen as a given value would be: worked out now where it is always the same, else each time.

    Has the field changed?
    """
    factory: Any = field.default_factory
    if field.validate_default or (factory is None and (field.default is PydanticUndefined or field.default is None)):
        return False
    if factory is None or factory in _CONTAINERS:
        annotated: Any = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
        try:
            value = TypeAdapter(annotated, config=cls.model_config).validate_python(
                field.default if factory is None else factory()
            )
            hash(value)  # what has none would be copied each time
        except Exception:  # noqa: BLE001 - a type that is not defined yet, or a default that is no value: pydantic says which
            pass
        else:
            has_changed = factory is not None or value is not field.default
            field.default, field.default_factory = value, None
            return has_changed
    field.validate_default = True
    return True


def _parts(annotation: Any) -> Iterator[Any]:
    """What an annotation is made of, itself included."""
    yield annotation
    if typing.get_origin(annotation) is not typing.Literal:
        for argument in typing.get_args(annotation):
            yield from _parts(argument)


def _is_immutable(annotation: Any) -> bool:
    """Can no value of this annotation be changed in place? Freezing it, and thawing it to write it, would be for nothing."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _is_immutable(arguments[0])
    if origin is typing.Literal:
        return True
    if origin in (typing.Union, types.UnionType):
        return all(map(_is_immutable, arguments))
    if origin is tuple:
        return all(argument is ... or _is_immutable(argument) for argument in arguments)
    if not isinstance(annotation, type):
        return False
    # What is in a frozen model is for its own class to protect.
    is_frozen = issubclass(annotation, BaseModel) and annotation.model_config.get("frozen", False)
    return is_frozen or issubclass(annotation, _SCALARS)


def is_untyped(annotation: Any) -> bool:
    """Does it say nothing of what is in there: `Any`, `object`, or a container of nobody says what?"""
    return any(
        part is Any
        or part is object
        or (not typing.get_args(part) and (part in _BARE or typing.get_origin(part) in _BARE))  # `dict`, `typing.Dict`
        for part in _parts(annotation)
    )
