"""Codec: event to bytes and back. The same event gives the same bytes, and what was readable once stays readable.

An ad-hoc event is readable for ever; a typed one whose class is gone comes back as an ad-hoc event. Bytes that cannot be read,
or come from a newer version than the class, raise `CodecError` and nothing else. What would come back changed is not written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from pydantic_core import SchemaSerializer, from_json, to_json

from eventbus.errors import CodecError
from eventbus.event import AdHocEvent, Codec, Event, event_class
from eventbus.exact import admits, is_exact
from eventbus.fields import is_untyped
from eventbus.tagged import DIGITS, check_number, locate, untag
from eventbus.wording import capped, text_of

MAX_BYTES = 8 * 1024 * 1024
"""The most bytes an event may take."""

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
    """The event as JSON bytes. Raises `CodecError`, naming the field, for what could not be read back as it is: NaN, cycles,
    unknown objects, numbers of more than 1,000 digits, more than 8 MiB."""
    return encode_as(form_of(event), event)


def encode_as(form: Form, event: Event) -> bytes:
    """`encode`, for who has the form of the event."""
    fields = event.__dict__
    for name in form.ints:  # before it is written: that alone may take seconds
        _check_numbers(fields[name], name)
    try:
        if form.write is not None and not fields["metadata"]:
            body = form.write(fields)
        else:
            body = event.__pydantic_serializer__.to_json(event, exclude=None if fields["metadata"] else _METADATA)
    except Exception as error:
        for name in ("metadata", *form.untyped):
            locate(fields[name], _PLACES.get(name, name))
        _locate_text(event)
        raise CodecError(f"{event.type} cannot be written as JSON: {capped(text_of(error), 500)}") from error
    if len(body) > DIGITS:
        for name in form.decimals:
            _check_numbers(fields[name], name)
    raw = b"".join((form.head or _head(event.type, 0), body, b"}"))
    if len(raw) > MAX_BYTES:
        raise CodecError(f"{event.type} takes {len(raw)} bytes, more than {MAX_BYTES}")
    if form.doubtful:
        _read_again(event, raw, form.doubtful)
    return raw


_PLACES = {"data": "payload"}


def _check_numbers(value: Any, where: str) -> None:
    """Refuse a number that is too long."""
    if isinstance(value, (int, float, Decimal)):
        check_number(value, where)
    elif isinstance(value, dict):
        for name, item in value.items():
            _check_numbers(name, where)
            _check_numbers(item, f"{where}.{name}")
    elif isinstance(value, (tuple, frozenset)):
        for index, item in enumerate(value):
            _check_numbers(item, f"{where}[{index}]")


def _locate_text(event: Event) -> None:
    """Raise `CodecError` for a field that is the one that cannot be written."""
    for name, value in event.__dict__.items():
        try:
            to_json(value, fallback=str)
        except Exception as error:
            raise CodecError(f"cannot be written: {capped(text_of(error), 500)}", name) from error


def _read_again(event: Event, raw: bytes, doubtful: tuple[str, ...]) -> None:
    """Refuse an event that would come back changed: its class has fields of which that is not known beforehand."""
    again = decode(raw)
    for name in doubtful:
        if again.__dict__.get(name) != event.__dict__[name] or type(again.__dict__[name]) is not type(
            event.__dict__[name]
        ):
            raise CodecError("would be read back changed: give it one type, or a serializer with its validator", name)


def decode(raw: bytes) -> Event:
    """The event that `encode` made these bytes from. Raises `CodecError`, whatever a class's own validators raise."""
    at = raw.find(_BODY)
    if at < 0 or not raw.endswith(b"}"):
        raise CodecError("not an event: the bytes end early")
    if len(raw) > MAX_BYTES:
        raise CodecError(f"not an event: {len(raw)} bytes, more than {MAX_BYTES}")
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
    except (CodecError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        raise CodecError(f"{type_name} version {version} cannot be read: {text_of(error)}") from error


@dataclass(frozen=True, slots=True)
class Form:
    """How the events of one class are written. `type` and `head` are None where each event has a type of its own.

    `version` is that of the class; 0 for an ad-hoc event, which has none and needs none to be read.
    """

    type: str | None
    version: int
    kind: str
    head: bytes | None  # what stands before the fields
    untyped: tuple[str, ...]  # fields that are written tagged
    ints: tuple[str, ...]  # fields with numbers that may be too long
    decimals: tuple[str, ...]  # the same, of a sort that is written fast, however long
    doubtful: tuple[str, ...]  # fields of which nobody knows beforehand whether they come back as they were
    write: Callable[[dict[str, Any]], bytes] | None  # a quicker way to write them than the serializer of the class


def form_of(event: Event) -> Form:
    """How this event is written; worked out once for each class."""
    return event.__form__ or _form(type(event))


def _form(cls: type[Event]) -> Form:
    kind, version = str(cls.__event__.kind), cls.__event__.version
    if cls is AdHocEvent:
        form = Form(None, 0, kind, None, ("data",), (), (), (), _quick_writer(cls))
    else:
        fields = {name: cls.model_fields[name].annotation for name in cls.__event__.fields}
        untyped = tuple(name for name, annotation in fields.items() if is_untyped(annotation))
        typed = {name: annotation for name, annotation in fields.items() if name not in untyped}
        has_own_way = bool(
            cls.__pydantic_decorators__.field_serializers or cls.__pydantic_decorators__.model_serializers
        )
        form = Form(
            cls.type,
            version,
            kind,
            _head(cls.type, version),
            untyped,
            tuple(name for name, annotation in typed.items() if admits(annotation, int)),
            tuple(name for name, annotation in typed.items() if admits(annotation, Decimal)),
            tuple(fields if has_own_way else (name for name, each in typed.items() if not is_exact(each))),
            _quick_writer(cls),
        )
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
    return SchemaSerializer({"type": "typed-dict", "fields": written}, {"ser_json_bytes": "base64"}).to_json


def _is_odd(schema: Any) -> bool:
    """Is the field written by a method of its class, or described elsewhere?"""
    text = repr(schema)
    return "is_field_serializer" in text or "definition-ref" in text


def decoder() -> Callable[[bytes], Event]:
    """`decode` for many events in a row: each label and its class are looked up once, and not forgotten while it is used."""
    known: dict[bytes, Callable[[bytes], Event]] = {}
    head = b""  # of the record before: many come in a row
    validate: Callable[[bytes], Event] = decode

    def read(raw: bytes) -> Event:
        nonlocal head, validate
        if not (head and raw.startswith(head)):
            start = raw[: raw.find(_BODY) + len(_BODY)]
            if start not in known:
                return learn(raw, start)
            head, validate = start, known[start]
        if raw[-1] == _END:
            try:
                return validate(raw[len(head) : -1])
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException:  # noqa: BLE001 - whatever is wrong, `decode` says it
                pass
        return decode(raw)

    def learn(raw: bytes, start: bytes) -> Event:
        event = decode(raw)
        cls, label = type(event), _labels.get(start.removesuffix(_BODY))
        if cls is not AdHocEvent and label == (cls.type, cls.__event__.version) and len(known) < _LABELS:
            known[start] = cls.__pydantic_validator__.validate_json
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
    if "metadata" in header:
        header["metadata"] = untag(header["metadata"])
    if version == 0 and (fields.get("type") != type_name or fields.keys() != {"type", "data"}):
        raise CodecError("not an event: an ad-hoc event holds its type and its data")
    if version == 0:
        return Event(type_name, payload=untag(fields["data"]), **header)
    _check_numbers(fields, "payload")
    return Event(type_name, payload=fields, **header)


def _upgrade(cls: type[Event], version: int, body: bytes) -> Event:
    known = cls.__event__.version
    if version > known:
        raise CodecError(f"{cls.type} version {version} is newer than version {known}, the one known here")
    fields = _fields(body)
    for older in range(version, known):
        function = _upcasts.get((cls.type, older))
        if function is not None:  # without one, new fields have defaults
            try:
                fields = function(fields)
            except Exception as error:
                raise CodecError(f"the upcast of {cls.type} from version {older} raised {error!r}") from error
    return cls.__pydantic_validator__.validate_json(to_json(fields))  # type: ignore[no-any-return] # the validator is untyped


def _fields(body: bytes) -> dict[str, Any]:
    fields = from_json(body, allow_inf_nan=False)
    if not isinstance(fields, dict):
        raise CodecError("not an event: its fields are no object")
    return fields


Event.__codec__ = Codec(encode, decode)  # an event that is to write itself finds its codec there
