"""Codec: event to bytes and back. The same event gives the same bytes, and what was readable once stays readable.

An ad-hoc event is readable for ever; a typed one whose class is gone comes back as an ad-hoc event. Bytes that cannot be read,
or come from a newer version than the class, raise `CodecError` and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError, SchemaSerializer, from_json, to_json

from eventbus.errors import CodecError
from eventbus.event import AdHocEvent, Event, event_class

MAX_BYTES = 64 * 1024 * 1024
_DEPTH = 64
_METADATA = {"metadata"}
_PLAIN = {"type", "schema", "metadata"}  # what a field of a core schema has that is written as it is
_BODY = b',"event":'
_END = ord("}")
_LABELS = 1_000

Upcast = Callable[[dict[str, Any]], dict[str, Any]]
_upcasts: dict[tuple[str, int], Upcast] = {}
_labels: dict[bytes, tuple[str, int]] = {}  # what was read once: most records begin with one of a few labels


def upcast(type_name: str, from_version: int) -> Callable[[Upcast], Upcast]:
    """Register how the fields of an event of `from_version` become those of the next version.

    @upcast("trade.executed", 1)
    def with_venue(fields): return fields | {"venue": "paper"}
    """

    def register(function: Upcast) -> Upcast:
        if (type_name, from_version) in _upcasts:
            raise CodecError(f"an upcast of {type_name} from version {from_version} is registered already")
        _upcasts[type_name, from_version] = function
        return function

    return register


def encode(event: Event) -> bytes:
    """The event as JSON bytes. Raises `CodecError`, naming the field, for what JSON cannot hold: NaN, cycles, unknown objects."""
    form = form_of(event)
    fields = event.__dict__
    metadata = fields["metadata"]
    if metadata:
        _check(metadata, "metadata", 0)
    if type(event) is AdHocEvent:
        _check(event.data, "payload", 0)
    try:
        if form.write is not None and not metadata:
            body = form.write(fields)
        else:
            body = event.__pydantic_serializer__.to_json(event, exclude=None if metadata else _METADATA)
    except (PydanticSerializationError, ValueError, RecursionError) as error:
        raise CodecError(f"{event.type} cannot be written as JSON: {error}") from error
    if len(body) > MAX_BYTES:
        raise CodecError(f"{event.type} takes {len(body)} bytes, more than {MAX_BYTES}")
    return b"%b%b}" % (form.head or _head(event.type, 0), body)


def decode(raw: bytes) -> Event:
    """The event that `encode` made these bytes from. Raises `CodecError`."""
    at = raw.find(_BODY)
    if at < 0 or not raw.endswith(b"}"):
        raise CodecError("not an event: the bytes end early")
    head = raw[:at]
    type_name, version = _labels.get(head) or _read_label(head)
    cls = event_class(type_name)
    body = raw[at + len(_BODY) : -1]
    try:
        if cls is None or version == 0:
            return _as_ad_hoc(type_name, version, body)
        if version == cls.__event__.version:
            return cls.__pydantic_validator__.validate_json(body)  # type: ignore[no-any-return] # the validator is untyped
        return _upgrade(cls, version, body)
    except (ValidationError, ValueError, TypeError, RecursionError) as error:
        if isinstance(error, CodecError):
            raise
        raise CodecError(f"{type_name} version {version} cannot be read: {error}") from error


class Form(NamedTuple):
    """How the events of one class are written. `type` and `head` are None where each event has a type of its own.

    `version` is that of the class; 0 for an ad-hoc event, which has none and needs none to be read.
    """

    type: str | None
    version: int
    kind: str
    head: bytes | None  # what stands before the fields
    write: Callable[[dict[str, Any]], bytes] | None  # a quicker way to write them than the serializer of the class


def form_of(event: Event) -> Form:
    """How this event is written; worked out once for each class."""
    return event.__form__ or _form(type(event))


def _form(cls: type[Event]) -> Form:
    kind, version = str(cls.__event__.kind), cls.__event__.version
    if cls is AdHocEvent:
        form = Form(None, 0, kind, None, _quick_writer(cls))
    else:
        form = Form(cls.type, version, kind, _head(cls.type, version), _quick_writer(cls))
    cls.__form__ = form
    return form


def _head(type_name: str, version: int) -> bytes:
    return b'{"type":%b,"version":%d%b' % (to_json(type_name), version, _BODY)


def _quick_writer(cls: type[Event]) -> Callable[[dict[str, Any]], bytes] | None:
    """Writes the fields of an event without metadata, which are seldom there and dear to leave out by asking.

    The same bytes as the serializer of the class; None for a class that has wishes of its own about how it is written.
    """
    schema: Any = cls.__pydantic_core_schema__
    fields = schema.get("schema", {})
    if schema["type"] != "model" or "serialization" in schema or fields.get("type") != "model-fields":
        return None
    plain = {name: field for name, field in fields["fields"].items() if name not in _METADATA}
    if fields.get("computed_fields") or any(
        set(field) - _PLAIN or _is_odd(field["schema"]) for field in plain.values()
    ):
        return None
    written = {name: {"type": "typed-dict-field", "schema": field["schema"]} for name, field in plain.items()}
    return SchemaSerializer({"type": "typed-dict", "fields": written}).to_json


def _is_odd(schema: Any) -> bool:
    """Is the field written by a method of its class, or described elsewhere?"""
    text = repr(schema)
    return "is_field_serializer" in text or "definition-ref" in text


def decoder() -> Callable[[bytes], Event]:
    """`decode` for many events in a row: each label and its class are looked up once, and not forgotten while it is used."""
    known: dict[bytes, Callable[[bytes], Event]] = {}
    skip = len(_BODY)

    def read(raw: bytes) -> Event:
        at = raw.find(_BODY)
        validate = known.get(raw[:at])
        if validate is not None and raw[-1] == _END:
            try:
                return validate(raw[at + skip : -1])
            except ValueError:  # whatever is wrong, `decode` says it
                pass
        event = decode(raw)
        cls, label = type(event), _labels.get(raw[:at])
        if cls is not AdHocEvent and label == (cls.type, cls.__event__.version) and len(known) < _LABELS:
            known[raw[:at]] = cls.__pydantic_validator__.validate_json
        return event

    return read


def _read_label(head: bytes) -> tuple[str, int]:
    try:
        label = from_json(head + b"}", allow_inf_nan=False)
        type_name, version = label["type"], label["version"]
    except (ValueError, KeyError, TypeError) as error:
        raise CodecError("not an event: the bytes do not start with its type and version") from error
    if not isinstance(type_name, str) or type(version) is not int or version < 0:
        raise CodecError("not an event: type and version are a string and a number from 0")
    if len(_labels) < _LABELS:
        _labels[head] = type_name, version
    return type_name, version


def _as_ad_hoc(type_name: str, version: int, body: bytes) -> Event:
    """An event without a class here: its header as it was, everything else its payload."""
    fields = _fields(body)
    header = {name: fields.pop(name) for name in Event.model_fields if name in fields}
    if version == 0 and (fields.get("type") != type_name or fields.keys() != {"type", "data"}):
        raise CodecError("not an event: an ad-hoc event holds its type and its data")
    payload = fields["data"] if version == 0 else fields
    _check(payload, "payload", 0)
    return Event(type_name, payload=payload, **header)


def _upgrade(cls: type[Event], version: int, body: bytes) -> Event:
    known = cls.__event__.version
    if version > known:
        raise CodecError(f"{cls.type} version {version} is newer than version {known}, the one known here")
    fields = _fields(body)
    for step in range(version, known):
        function = _upcasts.get((cls.type, step))
        if function is not None:  # without one, new fields have defaults
            try:
                fields = function(fields)
            except Exception as error:
                raise CodecError(f"the upcast of {cls.type} from version {step} raised {error!r}") from error
    return cls(**fields)


def _fields(body: bytes) -> dict[str, Any]:
    fields = from_json(body, allow_inf_nan=False)
    if not isinstance(fields, dict):
        raise CodecError("not an event: its fields are no object")
    return fields


def _check(value: Any, where: str, depth: int) -> None:
    """Refuse what JSON would change silently. Raises `CodecError` naming the place."""
    if depth > _DEPTH:
        raise CodecError(f"nested deeper than {_DEPTH}", where)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise CodecError(f"{value} is no JSON number", where)
    elif isinstance(value, Mapping):
        for name, item in value.items():
            if not isinstance(name, str):
                raise CodecError(f"key {name!r} is no string", where)
            _check(item, f"{where}.{name}", depth + 1)
    elif isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        for index, item in enumerate(value):
            _check(item, f"{where}[{index}]", depth + 1)
