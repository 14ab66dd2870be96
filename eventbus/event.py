"""Event: the frozen fact that travels, its header, and the registry of event types.

Everybody holds one of these in hand; it knows nobody. A typed event is a pydantic model with a dotted wire name; an ad-hoc
event carries its type and payload as data and needs no class.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, ClassVar, Generic, NamedTuple, Self, TypeVar
from weakref import WeakValueDictionary

import uuid_utils
from pydantic import BaseModel, ConfigDict, Field

from eventbus.bounds import seconds, whole
from eventbus.errors import CodecError, DuplicateEventType, InvalidEventType
from eventbus.fields import OrDefault, freeze_fields
from eventbus.frozen import EMPTY, FixOffset, freeze, plain
from eventbus.kind import EventSpec, Kind
from eventbus.tagged import Untyped

_WIRE_NAME = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
_AD_HOC = "ad-hoc"  # stands where a class has its wire name; the type of such an event is data

utc_now: Callable[[], datetime] = partial(datetime.now, UTC)


def new_event_id() -> str:
    """A UUIDv7 as text: unique, and increasing within this process."""
    return str(uuid_utils.uuid7())


def _correlate(header: dict[str, Any]) -> str:
    return typing.cast(str, header["event_id"])


def _wire_name(name: object) -> str:
    if isinstance(name, str) and _WIRE_NAME.fullmatch(name):
        return name
    raise InvalidEventType(name)


def _name_from_class(name: str) -> str:
    """`TradeExecutedEvent` is `trade.executed`."""
    stem = name.removesuffix("Event") or name
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", ".", stem.lstrip("_")).lower()


class Codec(NamedTuple):
    """How events become bytes and come back."""

    encode: Callable[[Event], bytes]
    decode: Callable[[bytes], Event]


class Event(BaseModel):
    """A fact. Subclass it with a wire name, or make an ad-hoc one: `Event("desk.opened", payload={"desk": 3})`.

    Class arguments: `type` (dotted wire name; from the class name if left out), `version`, `kind`, `key` (field that orders
    and conflates), `retain` (the bus keeps the last per key), `max_age` (seconds). Raises `DuplicateEventType` when another
    class has the type, `InvalidEventType` when the name is none, `pydantic.ValidationError` for unknown or wrong fields.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        arbitrary_types_allowed=True,
        cache_strings="keys",
        ser_json_bytes="base64",
        val_json_bytes="base64",
    )

    __event__: ClassVar[EventSpec] = EventSpec(type="")
    __form__: ClassVar[Any] = None  # the codec's: how events of exactly this class are written
    __codec__: ClassVar[Codec]  # set by the codec, which knows this class
    type: ClassVar[str]

    event_id: str = Field(default_factory=new_event_id)
    timestamp: Annotated[datetime, FixOffset("timestamp"), OrDefault()] = Field(default_factory=utc_now)
    source: Annotated[str, OrDefault()] = ""
    correlation_id: Annotated[str, OrDefault()] = Field(
        default_factory=_correlate
    )  # of a root: its own event_id; shared by its whole causal chain
    causation_id: str | None = None  # the event whose handler published this one; None at the root
    metadata: Annotated[Mapping[str, Any], Untyped("metadata")] = EMPTY  # shared: nobody can change it

    def __init__(
        self,
        type: str = "",
        timestamp: datetime | None = None,
        payload: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> None:
        if timestamp is not None:
            fields["timestamp"] = timestamp
        if self.__class__ is Event:  # an ad-hoc event: it becomes one here, so that no typed one pays for it
            object.__setattr__(self, "__class__", AdHocEvent)
        elif self.__class__ is not AdHocEvent:  # of a class with an __init__ of its own, which comes up here
            BaseModel.__init__(self, **fields)
            return
        BaseModel.__init__(self, type=_wire_name(type), data=EMPTY if payload is None else payload, **fields)

    def __init_subclass__(
        cls,
        *,
        type: str | None = None,
        version: int = 1,
        kind: Kind | None = None,
        key: str | None = None,
        retain: bool | None = None,
        max_age: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init_subclass__(**kwargs)
        if cls.__init__ is Event.__init__ and type != _AD_HOC:
            cls.__init__ = BaseModel.__init__  # type: ignore[assignment,method-assign] # pydantic fills in a model that has it at once
        inherited = cls.__event__
        cls.__form__ = None
        cls.__event__ = EventSpec(
            type=_wire_name(type if type is not None else _name_from_class(cls.__name__)),
            version=whole("version", version),
            kind=inherited.kind if kind is None else Kind(kind),
            key=inherited.key if key is None else key,
            retain=inherited.retain if retain is None else retain,
            max_age=inherited.max_age if max_age is None else seconds("max_age", max_age),
        )

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        spec = cls.__event__
        domain = tuple(name for name in cls.model_fields if name not in Event.model_fields)
        if spec.key is not None and spec.key not in domain and spec.key not in Event.model_fields:
            raise TypeError(
                f"{cls.__name__}: key={spec.key!r} is not a field; choose one of {', '.join(domain) or 'its fields'}"
            )
        cls.__event__ = replace(spec, fields=domain)
        if spec.type != _AD_HOC:
            if not {"type", "payload"}.isdisjoint(domain):
                raise TypeError(f"{cls.__name__}: 'type' and 'payload' are names of the event itself; rename the field")
            cls.type = spec.type
            _register(cls)
        if freeze_fields(cls, domain):
            super().model_rebuild(force=True, raise_errors=False)

    @classmethod
    def model_rebuild(cls, *, _parent_namespace_depth: int = 2, **options: Any) -> bool | None:
        """As in pydantic, which calls it for a class whose fields name types that came later."""
        depth = _parent_namespace_depth + 1  # where the caller of this looks for them
        outcome = super().model_rebuild(_parent_namespace_depth=depth, **options)
        if cls.__pydantic_complete__ and freeze_fields(cls, cls.__event__.fields):
            outcome = super().model_rebuild(**options | {"force": True}, _parent_namespace_depth=depth)
        return outcome

    @classmethod
    def create(cls, *args: Any, **fields: Any) -> Self:
        """The same as calling the class."""
        return cls(*args, **fields)

    def to_json(self) -> str:
        """The event as JSON, with its type: what `from_json` reads. Raises `CodecError` for what could not be read back."""
        return self.__codec__.encode(self).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """The event that `to_json` made this of; of a type without a class here, an ad-hoc event.

        Raises `CodecError` for what is no event, and, called on a subclass, for an event of another class.
        """
        try:
            event = cls.__codec__.decode(text.encode() if isinstance(text, str) else bytes(text))
        except UnicodeEncodeError as error:
            raise CodecError(f"not an event: {error}") from error
        if isinstance(event, cls):
            return event
        raise CodecError(f"{event.type} is read by {type(event).__name__}, which is no {cls.__name__}")

    @property
    def payload(self) -> dict[str, Any]:
        """The domain part as a fresh plain dict, enum members as their values: changing it changes nothing for anybody else."""
        values = self.__dict__
        return {name: plain(values[name]) for name in self.__event__.fields}

    def __getitem__(self, name: str) -> Any:
        """The payload's value of that name. Raises `KeyError`."""
        if name in self.__event__.fields:
            return self.__dict__[name]
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        return name in self.__event__.fields

    def get(self, name: str, default: Any = None) -> Any:
        """The payload's value of that name, or `default`."""
        try:
            return self[name]
        except KeyError:
            return default

    def __hash__(self) -> int:
        return hash(self.event_id)

    def __str__(self) -> str:
        return f"{self.type} {self.event_id}"


class AdHocEvent(Event, type=_AD_HOC):
    """An event without a class of its own: what `Event(type, payload=...)` makes. Reads like a mapping."""

    type: str  # type: ignore[misc] # the one class whose type is data
    data: Annotated[Mapping[str, Any], Untyped("payload")] = EMPTY

    @property
    def payload(self) -> dict[str, Any]:
        """The payload as a fresh plain dict."""
        return typing.cast(dict[str, Any], plain(self.data))

    def __getitem__(self, name: str) -> Any:
        return self.data[name]

    def __contains__(self, name: object) -> bool:
        return name in self.data


Answer = TypeVar("Answer")


def stamp(event: Event, *, cause: Event, event_id: str | None = None) -> None:
    """Fill in what an event published by a handler still lacks: its cause, the correlation it shares with it, and the id
    that it is to have instead of a random one."""
    given = event.model_fields_set
    header = event.__dict__  # the one place that writes into a frozen event: before anybody else has seen it
    has_correlation = "correlation_id" in given and header["correlation_id"] != header["event_id"]
    if event_id is not None:
        header["event_id"] = event_id
        given |= {"event_id"}
    if "causation_id" not in given and event is not cause:
        header["causation_id"] = cause.event_id
        if not has_correlation:
            header["correlation_id"] = cause.correlation_id
        given |= {"causation_id", "correlation_id"}


def add_metadata(event: Event, **more: str) -> None:
    """Say more in its metadata before it is published: who waits for an answer, what it is traced by. What it says already stands."""
    given = event.__dict__["metadata"]
    if more.keys() - given.keys():
        event.__dict__["metadata"] = freeze({**more, **given})
        event.model_fields_set.add("metadata")


def tell_hops(event: Event, hops: int) -> None:
    """Say in its metadata how many causes there are between the root and an event, before it is published."""
    event.__dict__["metadata"] = freeze({**event.__dict__["metadata"], _HOPS: hops})
    event.model_fields_set.add("metadata")


def hops_of(event: Event) -> int:
    """What was said so in the process that published it."""
    hops = event.metadata.get(_HOPS, 0)
    return hops if type(hops) is int else 0


_HOPS = "hops"


def event_key(event: Event, name: str | None) -> Any:
    """The value of the field that orders and conflates; None when the event has no such field."""
    return None if name is None else event.get(name)


# --- the registry --------------------------------------------------------------------------------------------------

_registry: WeakValueDictionary[str, type[Event]] = WeakValueDictionary()


def event_class(type_name: str) -> type[Event] | None:
    """The class registered for a wire name, or None."""
    return _registry.get(type_name)


def event_of(event: Event | str, payload: Mapping[str, Any] | None) -> Event:
    """What a publisher gives: an event, or the type and payload of an ad-hoc one. Raises `TypeError` for anything else."""
    if isinstance(event, Event):
        if payload is not None:
            raise TypeError("payload is for an event given by its type; this one has its own")
        return event
    if isinstance(event, str):
        if payload is not None and not isinstance(payload, Mapping):
            raise TypeError(f"payload takes a mapping, not {type(payload).__name__}")
        return Event(event, payload=payload)
    raise TypeError(f"publish takes an Event, or a type and a payload, not {type(event).__name__}")


def event_types() -> Iterator[type[Event]]:
    """Every registered class, by wire name."""
    for _name, cls in sorted(_registry.items()):
        yield cls


def _register(cls: type[Event]) -> None:
    existing = _registry.get(cls.type)
    # The same definition run again (a reloaded module, a class inside a function) replaces what it defined before.
    if existing is not None and (existing.__module__, existing.__qualname__) != (cls.__module__, cls.__qualname__):
        raise DuplicateEventType(cls.type, _title(existing), _title(cls))
    _registry[cls.type] = cls


def _title(cls: type[Event]) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


class Request(Event, Generic[Answer], type="eventbus.request"):
    """An event that is asked about: `class CheckRisk(Request[bool], type="risk.check")`, and `await bus.request(CheckRisk())` is a bool.

    The answer's type is for type checkers; nothing is checked when the answer comes.
    """

    def __class_getitem__(cls, answer: Any) -> type[Self]:
        return cls
