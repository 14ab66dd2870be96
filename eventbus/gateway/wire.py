"""Wire: the messages of the WebSocket, in and out. What comes in is checked field by field; an event goes out as written once.

Knows no connection: text in, a message or a `Refused`; a message in, bytes out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic_core import from_json, to_json

if TYPE_CHECKING:
    from eventbus import Event

PROTOCOL = 1
SUBPROTOCOL = "eventbus.v1"

Id = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.:-]+$")]
Name = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_.:-]+$")]
Number = Annotated[int, Field(ge=0, le=2**63 - 1)]
Scalar = Annotated[str, Field(max_length=256)] | bool | Annotated[int, Field(ge=-(2**63), le=2**63 - 1)] | float | None
OneOf = Annotated[list[Scalar], Field(min_length=1, max_length=32)]
Where = Annotated[dict[Name, Scalar | OneOf], Field(max_length=8)]


class Refused(Exception):
    """A message that cannot be followed. `code` is fixed, `detail` names the field and the remedy, and never what was sent."""

    def __init__(self, code: str, detail: str, id: str | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.id = id


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Auth(_Message):
    """Who it is: the first message where tokens are on."""

    type: Literal["auth"]
    token: Annotated[str, Field(max_length=512)]


class Subscribe(_Message):
    """Listen to topics (wildcards), control charts and views, from now on or after a number of an epoch."""

    type: Literal["subscribe"]
    id: Id | None = None
    topics: Annotated[list[str], Field(max_length=1_000)] = []
    characteristic_ids: Annotated[list[Number], Field(max_length=1_000)] = []
    views: Annotated[list[Name], Field(max_length=100)] = []
    after: Number | None = None
    epoch: Annotated[str, Field(max_length=64)] | None = None
    where: Where = {}
    max_rate: Annotated[float, Field(gt=0, le=1_000)] | None = None  # messages a second
    batch_ms: Annotated[int, Field(ge=10, le=1_000)] | None = None

    @model_validator(mode="after")
    def _of_something(self) -> Self:
        if not (self.topics or self.characteristic_ids or self.views):
            raise ValueError("give topics, characteristic_ids or views")
        return self


class Unsubscribe(_Message):
    """Listen no more: to what is named, or to all of a subscription."""

    type: Literal["unsubscribe"]
    id: Id | None = None
    topics: Annotated[list[str], Field(max_length=1_000)] = []
    characteristic_ids: Annotated[list[Number], Field(max_length=1_000)] = []
    views: Annotated[list[Name], Field(max_length=100)] = []

    @model_validator(mode="after")
    def _of_something(self) -> Self:
        if not (self.id or self.topics or self.characteristic_ids or self.views):
            raise ValueError("give topics, characteristic_ids, views or the id of a subscription")
        return self


class Ping(_Message):
    """Are you there, and how far am I?"""

    type: Literal["ping"]
    id: Id | None = None
    t: Annotated[str, Field(max_length=64)] | int | float | None = None


Incoming = Auth | Subscribe | Unsubscribe | Ping

_incoming: TypeAdapter[Incoming] = TypeAdapter(Annotated[Incoming, Field(discriminator="type")])
_TYPES = "auth, subscribe, unsubscribe or ping"


def parse(text: str) -> Incoming:
    """The message that a client sent. Raises `Refused`."""
    try:
        return _incoming.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        raise _refusal(first["type"], first["loc"], first["msg"], _id_of(text)) from error


def _refusal(kind: str, place: tuple[int | str, ...], said: str, id: str | None) -> Refused:
    if kind == "json_invalid":
        return Refused("bad_json", "the frame is not one JSON object")
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return Refused("unknown_type", f"type must be {_TYPES}", id)
    if kind in ("model_attributes_type", "model_type", "dict_type") and len(place) <= 1:
        return Refused("bad_message", "a message is one JSON object", id)
    if kind == "extra_forbidden":  # its name is the client's, and is not said back
        return Refused("bad_message", f"{place[0]} has a field that is not known: leave it out", id)
    names = ".".join(part for part in place[1:] if isinstance(part, str) and part in _FIELDS)
    return Refused("bad_message", f"{names or place[0]}: {said.removeprefix('Value error, ').lower()}", id)


_FIELDS = {name for model in (Auth, Subscribe, Unsubscribe, Ping) for name in model.model_fields}


def _id_of(text: str) -> str | None:
    """The id of a message that is otherwise wrong, so that its sender finds out which it was."""
    try:
        found = from_json(text)
        return TypeAdapter(Id).validate_python(found["id"])
    except (ValueError, TypeError, KeyError):
        return None


# --- out -----------------------------------------------------------------------------------------------------------------


def body_of(event: Event) -> bytes:
    """An event as clients see it. What it holds that is no JSON is named instead of shown."""
    header = {
        "type": event.type,
        "event_id": event.event_id,
        "timestamp": event.timestamp.isoformat(),
        "kind": event.__event__.kind,
        "version": event.__event__.version,
        "source": event.source,
        "correlation_id": event.correlation_id,
        "causation_id": event.causation_id,
    }
    if event.metadata:
        header["metadata"] = dict(event.metadata)
    try:
        return to_json(header | {"payload": event.payload}, bytes_mode="base64", serialize_unknown=True)
    except Exception:  # noqa: BLE001 - what a payload does when it is read is its own, and nobody else's event suffers
        return to_json(header | {"metadata": {}, "payload": None, "unreadable": True}, serialize_unknown=True)


def item_of(seq: int, ids: Iterable[str], body: bytes) -> bytes:
    """An event with its number: an item of a page or a batch."""
    return b"{" + _inside(seq, ids, body)


def event_message(seq: int, ids: Iterable[str], body: bytes) -> bytes:
    """The message that carries one event."""
    return b'{"type":"event",' + _inside(seq, ids, body)


def batch_message(items: Iterable[bytes]) -> bytes:
    """The message that carries several, each an `item_of`."""
    return b'{"type":"batch","events":[' + b",".join(items) + b"]}"


def _inside(seq: int, ids: Iterable[str], body: bytes) -> bytes:
    subs = to_json(ids) if (ids := tuple(ids)) else b""
    return b'"seq":%d,%b"payload":%b}' % (seq, b'"subs":%b,' % subs if subs else b"", body)


def framed(text: bytes) -> bytes:
    """A message as the socket carries it: what is the same for everybody is made once (RFC 6455, a whole text frame)."""
    size = len(text)
    if size < 126:
        return b"\x81%c%b" % (size, text)
    if size < 65_536:
        return b"\x81\x7e%b%b" % (size.to_bytes(2, "big"), text)
    return b"\x81\x7f%b%b" % (size.to_bytes(8, "big"), text)


def message(type: str, fields: Mapping[str, Any]) -> bytes:
    """Any other message; what is None is left out."""
    return to_json({"type": type} | {name: value for name, value in fields.items() if value is not None})


def view_message(view: str, rev: int, at: str, data: bytes) -> bytes:
    """A view, whole."""
    return b'{"type":"view","view":%b,"rev":%d,"at":%b,"data":%b}' % (to_json(view), rev, to_json(at), data)


def append_message(view: str, rev: int, base: int, at: str, rows: bytes) -> bytes:
    """What a view has had since `base`."""
    head = b'{"type":"view","view":%b,"rev":%d,"base":%d,"at":%b' % (to_json(view), rev, base, to_json(at))
    return head + b',"append":%b}' % rows
