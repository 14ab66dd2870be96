"""Exact: what is accepted comes back from bytes as it was, type by type; what would not is refused with its place."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, Flag, IntEnum, StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, NewType
from uuid import UUID

import pytest
from hypothesis import given, reject
from hypothesis import strategies as st
from pydantic import BaseModel, Field, PlainSerializer, field_validator

from eventbus import CodecError, Event, upcast
from eventbus.codec import MAX_BYTES, decode, decoder, encode
from eventbus.exact import is_exact


class Side(StrEnum):
    BUY = "buy"


class Colour(Enum):
    RED = "red"


class OpenEvent(Event, type="test.exact.open"):
    """Fields that say nothing of what is in them."""

    anything: Any
    options: Mapping[str, Any]
    bare: dict  # type: ignore[type-arg] # on purpose
    thing: object = None
    items: list[Any] = Field(default_factory=list)


class TimesEvent(Event, type="test.exact.times"):
    """Times of every sort, and bytes."""

    at: datetime
    perhaps: datetime | None = None
    clock: time | None = None
    pause: timedelta = timedelta()
    several: tuple[datetime, ...] = ()
    by_name: Mapping[str, datetime] = {}
    raw: bytes = b""


class DoubtfulEvent(Event, type="test.exact.doubtful"):
    """Types of which JSON keeps less than Python."""

    either: Decimal | str
    number: int | float | None = None
    keys: Mapping[int | str, int] = {}


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NUMBER = st.decimals(allow_nan=False, allow_infinity=False)
OFFSETS = st.builds(timezone, st.timedeltas(timedelta(hours=-23, minutes=-59), timedelta(hours=23, minutes=59)))
ZONES = st.one_of(st.none(), st.just(UTC), OFFSETS, st.timezones())
MOMENTS = st.datetimes(timezones=ZONES)
CLOCKS = st.times(timezones=st.one_of(st.none(), st.just(UTC), st.timezones()))
HASHABLE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(10**999), 10**999),
    st.floats(allow_nan=False, allow_infinity=False),
    TEXT,
    NUMBER,
    MOMENTS,
    st.dates(),
    CLOCKS,
    st.uuids(),
    st.binary(max_size=20),
)
NAMES = TEXT | st.sampled_from(["$decimal", "$object", "$x", "$"])
UNTYPED = st.recursive(
    HASHABLE,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.frozensets(HASHABLE, max_size=3),
        st.dictionaries(NAMES, inner, max_size=3),
    ),
    max_leaves=12,
)


def made(make: Callable[[], Event]) -> Any:
    """An event, unless one of its times has an offset that cannot be told so near the end of time."""
    try:
        return make()
    except CodecError as error:
        assert "whole number of minutes" in str(error)  # noqa: PT017 - anything else is a failure
        reject()


def alike(one: Any, other: Any) -> bool:
    """Are they equal, and of the same types throughout?"""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, frozenset):
        return one == other and sorted(type(each).__name__ for each in one) == sorted(
            type(each).__name__ for each in other
        )
    return bool(one == other) and str(one) == str(other)


# --- values that no class describes -------------------------------------------------------------------------------------


@given(st.dictionaries(NAMES, UNTYPED, max_size=4), st.dictionaries(NAMES, UNTYPED, max_size=2))
def test_an_untyped_value_comes_back_exactly(payload: dict[str, Any], metadata: dict[str, Any]) -> None:
    event = made(lambda: Event("a.b", payload=payload, metadata=metadata))
    raw = encode(event)
    again: Any = decode(raw)
    assert alike(again.data, event.data)
    assert alike(again.metadata, event.metadata)
    assert again == event
    assert encode(again) == raw


@given(UNTYPED, st.dictionaries(NAMES, UNTYPED, max_size=3), st.lists(UNTYPED, max_size=3))
def test_an_open_field_comes_back_exactly(value: Any, options: dict[str, Any], items: list[Any]) -> None:
    event = made(lambda: OpenEvent(anything=value, options=options, bare=options, thing=value, items=items))
    again = decode(encode(event))
    for name in event.__event__.fields:
        assert alike(again[name], event[name]), name
    assert again == event


@pytest.mark.parametrize(
    ("payload", "place"),
    [
        ({"a": [object()]}, "payload.a[0]"),
        ({"a": Colour.RED}, "payload.a"),
        ({"a": Side.BUY}, "payload.a"),
        ({"a": {"b": timedelta(1)}}, "payload.a.b"),
        ({"a": ({1, 2}, 1j)}, "payload.a[1]"),
        ({"a": Decimal("nan")}, "payload.a"),
        ({"a": float("inf")}, "payload.a"),
        ({"a": 10**1000}, "payload.a"),
        ({"a": [Decimal(10**1000)]}, "payload.a[0]"),
        ({"a": "\ud800"}, "payload.a"),
        ({"a": {3: 4}}, "payload.a"),
    ],
)
def test_what_a_journal_could_not_keep_is_refused_with_its_place(payload: dict[str, Any], place: str) -> None:
    for event, name in (
        (Event("a.b", payload=payload), "payload"),
        (Event("a.b", metadata=payload), "metadata"),
        (OpenEvent(anything=1, options=payload, bare={}), "options"),
    ):
        with pytest.raises(CodecError) as caught:
            encode(event)
        assert caught.value.field == place.replace("payload", name)


def test_a_tag_that_nobody_wrote_is_a_codec_error() -> None:
    body = '{"type":"a.b","version":0,"event":{"type":"a.b","data":{"a":%s}}}'
    bad = ['{"$x":1}', '{"$decimal":1}', '{"$decimal":"x"}', '{"$bytes":"?"}', '{"$date":"1"}']
    for each in (
        *bad,
        '{"$decimal":"%s"}' % ("1" * 1001),
        "1" * 1001,
        '{"$uuid":null}',
        '{"$object":{"$decimal":{"$":1}}}',
    ):
        with pytest.raises(CodecError):
            Event.from_json(body % each)
    assert Event.from_json(body % '{"$object":{"$x":1}}').payload == {"a": {"$x": 1}}


# --- times -----------------------------------------------------------------------------------------------------------------


@given(
    st.fixed_dictionaries(
        {
            "timestamp": MOMENTS,
            "at": MOMENTS,
            "perhaps": st.none() | MOMENTS,
            "clock": st.none() | CLOCKS,
            "pause": st.timedeltas(),
            "several": st.lists(MOMENTS, max_size=2),
            "by_name": st.dictionaries(TEXT, MOMENTS, max_size=2),
            "raw": st.binary(max_size=20),
        }
    )
)
def test_a_time_comes_back_as_it_was_whatever_its_zone(fields: dict[str, Any]) -> None:
    event = made(lambda: TimesEvent(**fields))
    again: Any = decode(encode(event))
    assert again == event
    for name in ("timestamp", "at", "perhaps", "clock"):
        assert str(getattr(again, name)) == str(getattr(event, name)), name
    assert [*map(str, again.several)] == [*map(str, event.several)]


def test_a_zone_becomes_the_offset_it_has_at_that_time() -> None:
    zone = timezone(timedelta(hours=2, seconds=30))
    event = TimesEvent(at=datetime(2026, 1, 1, tzinfo=zone), several=(datetime(2026, 1, 1, tzinfo=UTC),))
    assert event.at == datetime(2026, 1, 1, tzinfo=zone)
    assert event.at.utcoffset() == timedelta(0)


# --- classes -----------------------------------------------------------------------------------------------------------------


class Part(BaseModel):
    n: int
    more: Part | None = None


class Switch(Flag):
    ON = 1


class Number(IntEnum):
    ONE = 1


Price = NewType("Price", Decimal)


@pytest.mark.parametrize(
    "annotation",
    [
        str,
        Decimal | None,
        Literal["a", 1],
        tuple[int, ...],
        Mapping[str, Sequence[Decimal]],
        frozenset[UUID],
        Side,
        Number,
        dict[Side, date],
        Part,
        Annotated[int, "unit"],
        Price,
        dict[int, bytes],
        Colour,
        Literal["a"] | None,
    ],
)
def test_annotations_of_which_every_value_comes_back(annotation: Any) -> None:
    assert is_exact(annotation)


@pytest.mark.parametrize(
    "annotation",
    [
        int | str,
        Decimal | float,
        Mapping[float, int],
        Path,
        complex,
        Switch,
        Annotated[int, PlainSerializer(str)],
        Literal[b"a"],
        dict[str, int | str],
        dict[Number, int],
        type,
        "Forward",
    ],
)
def test_annotations_of_which_some_value_may_not(annotation: Any) -> None:
    assert not is_exact(annotation)


@given(
    NUMBER | TEXT | NUMBER.map(str),
    st.none() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    st.dictionaries(st.integers() | TEXT, st.integers(), max_size=2),
)
def test_what_would_come_back_changed_is_refused_with_its_field(either: Any, number: Any, keys: Any) -> None:
    event = DoubtfulEvent(either=either, number=number, keys=keys)
    try:
        raw = encode(event)
    except CodecError as error:
        assert error.field in {"either", "number", "keys"}  # noqa: PT017 - one of two right answers
    else:
        assert decode(raw) == event


def test_of_two_values_that_are_written_alike_one_is_refused() -> None:
    refused = []
    for either in ("1.5", Decimal("1.5")):
        try:
            assert decode(encode(DoubtfulEvent(either=either)))["either"] == either
        except CodecError as error:
            refused.append(error.field)
    assert refused == ["either"]


class SetsEvent(Event, type="test.exact.sets"):
    """Sets of every sort, which are all held frozen."""

    words: set[str] = Field(default_factory=set)
    numbers: dict[str, set[Decimal]] = Field(default_factory=dict)
    either: set[int] | frozenset[str] = frozenset()
    open: set[Any] = Field(default_factory=set)
    perhaps: set[Side] | None = None


@given(
    st.builds(
        SetsEvent,
        words=st.sets(TEXT, max_size=3),
        numbers=st.dictionaries(TEXT, st.sets(NUMBER, max_size=3), max_size=2),
        either=st.sets(st.integers(), max_size=2),
        open=st.sets(HASHABLE.filter(lambda value: not isinstance(value, datetime | time)), max_size=3),
        perhaps=st.none() | st.sets(st.sampled_from(Side)),
    )
)
def test_a_set_comes_back_frozen_as_it_was(event: SetsEvent) -> None:
    again = decode(encode(event))
    assert again == event
    assert all(alike(again[name], event[name]) for name in ("words", "numbers", "open", "perhaps"))
    assert event.model_dump()["words"] == event.words


# --- limits ------------------------------------------------------------------------------------------------------------------


class LongEvent(Event, type="test.exact.long"):
    amount: Decimal = Decimal(0)
    count: int = 0
    by_name: Mapping[str, Decimal] = {}


@pytest.mark.parametrize("digits", [1_001, 5_000_000])
def test_a_number_that_is_too_long_is_refused_with_its_place(digits: int) -> None:
    amount = Decimal("1" * digits)
    for fields, place in (
        ({"amount": amount}, "amount"),
        ({"by_name": {"a": amount}}, "by_name.a"),
        ({"count": 1 << 4 * digits}, "count"),
    ):
        with pytest.raises(CodecError, match="1000 digits") as caught:
            encode(LongEvent(**fields))
        assert caught.value.field == place


def test_a_number_of_a_thousand_digits_is_kept() -> None:
    event = LongEvent(amount=Decimal("9" * 1000), count=10**999, by_name={"a": Decimal("0." + "1" * 999)})
    assert decode(encode(event)) == event


def test_an_event_is_bounded_in_bytes_both_ways() -> None:
    with pytest.raises(CodecError, match="bytes, more than"):
        encode(Event("a.b", payload={"a": "x" * MAX_BYTES}))
    body = b'{"type":"a.b","version":0,"event":{"type":"a.b","data":{"a":"%b"}}}'
    with pytest.raises(CodecError, match="bytes, more than"):
        decode(body % (b"x" * MAX_BYTES))
    assert decode(body % b"x").payload == {"a": "x"}


def circle() -> dict[str, Any]:
    it: dict[str, Any] = {"a": [1]}
    it["a"].append(it)
    return it


def deep(levels: int) -> dict[str, Any]:
    it: dict[str, Any] = {}
    for _ in range(levels):
        it = {"d": it}
    return it


@pytest.mark.parametrize("payload", [circle(), deep(5_000), deep(101)], ids=["circle", "deep", "just too deep"])
def test_what_is_too_deep_is_refused_with_its_place(payload: dict[str, Any]) -> None:
    for name in ("payload", "metadata"):
        header: dict[str, Any] = {name: payload}
        with pytest.raises(CodecError, match="deeper than") as caught:
            Event("a.b", **header)
        assert (caught.value.field or "").startswith(f"{name}.")
    with pytest.raises(CodecError, match="deeper than") as caught:
        OpenEvent(anything=1, options=payload, bare={})
    assert (caught.value.field or "").startswith("options.")


@pytest.mark.parametrize("around", [lambda it: (it,), lambda it: {"$x": it}], ids=["tuples", "escapes"])
def test_what_takes_two_levels_of_json_may_be_half_as_deep(around: Callable[[Any], Any]) -> None:
    it: Any = 1
    for _ in range(48):
        it = around(it)
    event = Event("a.b", payload={"a": it})
    assert alike(decode(encode(event))["a"], event["a"])
    for _ in range(10):
        it = around(it)
    with pytest.raises(CodecError, match="deeper than") as caught:
        encode(Event("a.b", payload={"a": it}))
    assert (caught.value.field or "").startswith("payload.a")


def test_a_payload_of_a_hundred_levels_is_kept() -> None:
    event = Event("a.b", payload=deep(100))
    assert decode(encode(event)) == event


# --- reading -----------------------------------------------------------------------------------------------------------------


class Unusual(Exception):
    """Nobody expects it."""


class MoodyEvent(Event, type="test.exact.moody"):
    """Its validator has moods."""

    n: int

    @field_validator("n")
    @classmethod
    def _look(cls, n: int) -> int:
        if MOOD:
            raise MOOD[0]
        return n


MOOD: list[type[BaseException]] = []


@pytest.mark.parametrize("error", [Unusual, RecursionError, asyncio.CancelledError, GeneratorExit, MemoryError])
def test_whatever_a_validator_raises_on_reading_is_a_codec_error(
    error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    raw, read = encode(MoodyEvent(n=1)), decoder()
    read(raw)
    monkeypatch.setitem(globals(), "MOOD", [error])
    for reader in (decode, read):
        with pytest.raises(CodecError, match=r"test\.exact\.moody"):
            reader(raw)


def test_an_event_writes_itself_with_its_type_and_is_read_back() -> None:
    event = TimesEvent(at=datetime(2026, 1, 1, tzinfo=UTC))
    text = event.to_json()
    assert text.startswith('{"type":"test.exact.times","version":1,')
    assert Event.from_json(text) == TimesEvent.from_json(text) == Event.from_json(text.encode()) == event
    with pytest.raises(CodecError, match="OpenEvent"):
        OpenEvent.from_json(text)
    stranger = Event.from_json('{"type":"test.exact.stranger","version":3,"event":{"n":1}}')
    assert (stranger.type, stranger.payload) == ("test.exact.stranger", {"n": 1})
    for broken in ("", "{}", "\ud800", "null", text[:-1]):
        with pytest.raises(CodecError):
            Event.from_json(broken)


class LaterEvent(Event, type="test.exact.later", version=2):
    at: datetime
    size: Decimal
    raw: bytes
    options: Mapping[str, Any]


@upcast("test.exact.later", 1)
def _with_size(fields: dict[str, Any]) -> dict[str, Any]:
    return fields | {"size": Decimal("1.50")}


def test_an_older_version_is_read_as_exactly_as_a_new_one() -> None:
    new = LaterEvent(at=datetime(2026, 1, 1), size=Decimal("1.50"), raw=b"\xff", options={"d": Decimal(1)})  # noqa: DTZ001 - naive on purpose
    old = encode(new).replace(b'"version":2', b'"version":1').replace(b'"size":"1.50",', b"")
    assert decode(old) == new
