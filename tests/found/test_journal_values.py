"""Values on their way through a journal: what comes back is what was given, type by type; anything else is refused, with its path."""

from __future__ import annotations

import asyncio
import datetime as dt
import math
import uuid
from collections.abc import Callable
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from itertools import count
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from eventbus import CodecError, Event, create_event_bus
from eventbus.codec import decode, encode

_numbers = count()


def case(*values: object, name: str) -> Any:
    return pytest.param(*values, id=name)


class Colour(Enum):
    RED = "red"
    PAIR = (1, 2)
    PRICE = Decimal("1.10")


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Side(StrEnum):
    BUY = "buy"
    SELL = "sell"


class Inner(BaseModel):
    at: dt.datetime
    price: Decimal
    extra: Any = None


# --- what is the same -------------------------------------------------------------------------------------------------


def same(one: Any, other: Any) -> bool:
    """Equal, and of the same type, at any depth: 1 is not 1.0, and 2.20 is not 2.2."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return math.copysign(1, one) == math.copysign(1, other) and one == other
    if isinstance(one, Decimal):
        return bool(one.as_tuple() == other.as_tuple())
    if isinstance(one, dt.datetime | dt.time):
        return bool(one.replace(tzinfo=None) == other.replace(tzinfo=None) and one.utcoffset() == other.utcoffset())
    if isinstance(one, dict):
        return len(one) == len(other) and all(
            same(a, b) and same(one[a], other[b]) for a, b in zip(one, other, strict=True)
        )
    if isinstance(one, BaseModel):
        return all(same(getattr(one, name), getattr(other, name)) for name in type(one).model_fields)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, frozenset | set):
        return one == other and sorted(map(_typed, one)) == sorted(map(_typed, other))
    return bool(one == other)


def _typed(value: object) -> str:
    return f"{type(value).__name__}:{value!r}"


def test_same_tells_apart_what_equals() -> None:
    pairs: list[tuple[Any, Any]] = [
        (1, 1.0),
        (1, True),
        (0.0, -0.0),
        (Decimal("2.20"), Decimal("2.2")),
        ((1,), [1]),
        (frozenset({1}), frozenset({1.0})),
    ]
    assert not any(same(one, other) for one, other in pairs)
    assert all(same(one, one) for pair in pairs for one in pair)


# --- J6: typed fields -------------------------------------------------------------------------------------------------

ZONES = st.builds(dt.timezone, st.timedeltas(dt.timedelta(hours=-23), dt.timedelta(hours=23)))
INTS = st.one_of(st.integers(), st.integers(2**53, 2**200), st.integers(-(2**70), -(2**62)))
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
DECIMALS = st.decimals(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
DATETIMES = st.datetimes(timezones=st.one_of(st.just(dt.UTC), ZONES))
NAIVE = st.datetimes()
TIMES = st.one_of(st.times(), st.times(timezones=ZONES))
SPANS = st.timedeltas()
INNER = st.builds(Inner, at=DATETIMES, price=DECIMALS)


@pytest.mark.parametrize(
    ("annotation", "values"),
    [
        case(int, INTS, name="int"),
        case(float, FLOATS, name="float"),
        case(bool, st.booleans(), name="bool"),
        case(str, TEXTS, name="str"),
        case(bytes, st.binary(), name="bytes"),
        case(Decimal, DECIMALS, name="Decimal"),
        pytest.param(dt.datetime, DATETIMES, id="datetime"),
        case(dt.datetime, NAIVE, name="naive datetime"),
        case(dt.date, st.dates(), name="date"),
        pytest.param(dt.time, TIMES, id="time"),
        case(dt.timedelta, SPANS, name="timedelta"),
        case(uuid.UUID, st.uuids(), name="UUID"),
        pytest.param(Colour, st.sampled_from(Colour), id="Enum"),
        case(Level, st.sampled_from(Level), name="IntEnum"),
        case(Side, st.sampled_from(Side), name="StrEnum"),
        case(Literal[1, "1"], st.sampled_from([1, "1"]), name="Literal"),
        pytest.param(Inner, INNER, id="model"),
        case(int | str, st.one_of(INTS, TEXTS), name="int or str"),
        case(Decimal | float, st.one_of(DECIMALS, FLOATS), name="Decimal or float"),
        pytest.param(dt.datetime | str, st.one_of(DATETIMES, TEXTS), id="datetime or str"),
        pytest.param(bytes | str, st.one_of(st.binary(), TEXTS), id="bytes or str"),
        case(list[Decimal], st.lists(DECIMALS), name="list of Decimal"),
        case(tuple[int, ...], st.lists(INTS).map(tuple), name="tuple"),
        case(set[Decimal], st.sets(DECIMALS), name="set of Decimal"),
        case(frozenset[dt.date], st.frozensets(st.dates()), name="frozenset of date"),
        case(dict[str, Decimal], st.dictionaries(TEXTS, DECIMALS), name="dict"),
        case(dict[int, str], st.dictionaries(INTS, TEXTS), name="dict by int"),
        case(dict[dt.date, int], st.dictionaries(st.dates(), INTS), name="dict by date"),
        pytest.param(dict[Side, Inner], st.dictionaries(st.sampled_from(Side), INNER), id="dict of models"),
    ],
)
def test_a_typed_event_comes_back_as_it_was(annotation: Any, values: st.SearchStrategy[Any]) -> None:
    cls: type[Event] = type(
        "Carried",
        (Event,),
        {"__annotations__": {"value": annotation}, "__module__": __name__},
        type=f"j6.n{next(_numbers)}",
    )

    @settings(derandomize=True, max_examples=100, database=None, phases=[Phase.explicit, Phase.generate])
    @given(values)
    def round_trip(value: Any) -> None:
        _assert_comes_back(cls, value)

    round_trip()


def _assert_comes_back(cls: type[Event], value: Any) -> None:
    try:
        event = cls(value=value)
        body = encode(event)
    except (CodecError, ValidationError):
        return  # refused: that is said before anything is kept
    back = decode(body)
    assert type(back) is cls
    assert same(vars(back)["value"], vars(event)["value"])
    assert encode(back) == body


@settings(derandomize=True, max_examples=100, database=None, phases=[Phase.explicit, Phase.generate])
@given(DATETIMES, TEXTS, st.dictionaries(TEXTS, st.one_of(TEXTS, INTS, DECIMALS, DATETIMES)))
def _header_comes_back(timestamp: dt.datetime, source: str, metadata: dict[str, Any]) -> None:
    try:
        event = Event("j6.header", timestamp=timestamp, payload={}, source=source, metadata=metadata)
        body = encode(event)
    except (CodecError, ValidationError):
        return
    back = decode(body)
    assert same(back.timestamp, event.timestamp)
    assert back.source == event.source
    assert same(dict(back.metadata), dict(event.metadata))


def test_a_header_comes_back_as_it_was() -> None:
    _header_comes_back()


# --- J6 and J16: untyped values ---------------------------------------------------------------------------------------


class Anything(Event, type="j6.any"):
    """A typed event with a field of any type."""

    value: Any


AS_PAYLOAD_AND_FIELD = pytest.mark.parametrize(
    "make",
    [lambda value: Event("j16.adhoc", payload={"value": value}), lambda value: Anything(value=value)],
    ids=["adhoc", "field"],
)
KEPT = [
    case(None, name="None"),
    case(True, name="bool"),
    case(2**100, name="big int"),
    case(-0.0, name="minus zero"),
    case(5e-324, name="tiny float"),
    case("é\u2028\x1b", name="str"),
    case([1, [2.0, "3"]], name="list"),
    case({"a": {"b": [None]}}, name="dict"),
    case(Decimal("2.20"), name="Decimal"),
    case(Decimal("-0E+5"), name="Decimal with an exponent"),
    case(dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC), name="datetime"),
    case(
        dt.datetime(1880, 1, 1, tzinfo=dt.timezone(dt.timedelta(minutes=19, seconds=32))),
        name="datetime of old Amsterdam",
    ),
    case(dt.datetime(2026, 1, 1, 12), name="naive datetime"),  # noqa: DTZ001 - it may come without a zone
    case(dt.date(2026, 1, 1), name="date"),
    case(dt.time(9, 30), name="time"),
    case(uuid.UUID(int=7), name="UUID"),
    case(b"\xff\x00", name="bytes"),
    case({1, 2}, name="set"),
    case(frozenset({Decimal("1.0"), "x"}), name="frozenset of several types"),
    case((1, 2), name="tuple"),
    case((), name="empty tuple"),
    case({"deep": [({Decimal("1.10")}, dt.date(2026, 1, 1))]}, name="deep"),
    case({"$decimal": "1.1"}, name="what looks like a tag"),
    case({"type": "Decimal", "value": "1.1"}, name="what looks like a tagged value"),
]
REFUSED = [
    case(object(), name="object"),
    case(1j, name="complex"),
    case(dt.timedelta(seconds=1), name="timedelta"),
    case(Path("/tmp"), name="Path"),
    case(range(3), name="range"),
    case(Inner(at=dt.datetime(2026, 1, 1, tzinfo=dt.UTC), price=Decimal(1)), name="model"),
    case("\ud800", name="surrogate"),
]
REFUSED_OR_KEPT = [
    case(Colour.RED, name="Enum"),
    case(Level.LOW, name="IntEnum"),
    case(Side.BUY, name="StrEnum"),
    case(bytearray(b"x"), name="bytearray"),
    case(Decimal("NaN"), name="Decimal nan"),
]


UNLIKE_JSON = [
    case({1: "one"}, name="dict by int"),
    case({Decimal(1): "one"}, name="dict by Decimal"),
    case(float("nan"), name="nan"),
    case(float("inf"), name="inf"),
]


async def _live_and_again(path: Path, event: Event) -> tuple[list[Any], list[Any]]:
    """What a durable handler gets live, and what another one gets from the journal after a restart."""
    live: list[Any] = []
    again: list[Any] = []
    for found, group in ((live, "live"), (again, "again")):
        bus = create_event_bus(f"sqlite:///{path}")
        bus.subscribe(event.type, lambda seen, found=found: found.append(_value(seen)), group=group, start="beginning")
        async with bus:
            if found is live:
                await bus.publish(event)
            assert await bus.drain(60)
    return live, again


def _value(event: Event) -> Any:
    return event.value if isinstance(event, Anything) else event["value"]


@AS_PAYLOAD_AND_FIELD
@pytest.mark.parametrize("value", KEPT)
async def test_a_durable_handler_gets_the_same_after_a_restart(tmp_path: Path, value: Any, make: Any) -> None:
    live, again = await _live_and_again(tmp_path / "run.db", make(value))
    assert len(live) == len(again) == 1
    assert same(live[0], again[0])


@pytest.mark.parametrize("value", KEPT)
def test_an_event_in_a_journal_keeps_untyped_metadata(value: Any) -> None:
    event = Event("j16.meta", payload={}, metadata={"value": value})
    assert same(decode(encode(event)).metadata["value"], event.metadata["value"])


@AS_PAYLOAD_AND_FIELD
@pytest.mark.parametrize("value", REFUSED)
async def test_what_cannot_be_kept_exactly_is_refused_at_publish_with_its_path(
    tmp_path: Path, value: Any, make: Any
) -> None:
    async with create_event_bus(f"sqlite:///{tmp_path / 'run.db'}") as bus:
        try:
            event = make(value)
        except (CodecError, ValidationError) as error:
            assert "value" in str(error)  # noqa: PT017 - either place may refuse it
            return
        with pytest.raises(CodecError, match="value"):
            await bus.publish(event)


@AS_PAYLOAD_AND_FIELD
@pytest.mark.parametrize("value", REFUSED_OR_KEPT)
async def test_an_odd_value_is_refused_with_its_path_or_is_the_same_after_a_restart(
    tmp_path: Path, value: Any, make: Any
) -> None:
    await _assert_refused_or_same(tmp_path / "run.db", lambda: make(value))


@pytest.mark.parametrize("value", UNLIKE_JSON)
async def test_a_payload_unlike_json_is_refused_with_its_path_or_is_the_same_after_a_restart(
    tmp_path: Path, value: Any
) -> None:
    await _assert_refused_or_same(tmp_path / "run.db", lambda: Event("j16.adhoc", payload={"value": value}))


@pytest.mark.parametrize("value", UNLIKE_JSON)
async def test_a_field_unlike_json_is_refused_with_its_path_or_is_the_same_after_a_restart(
    tmp_path: Path, value: Any
) -> None:
    await _assert_refused_or_same(tmp_path / "run.db", lambda: Anything(value=value))


async def _assert_refused_or_same(path: Path, make: Callable[[], Event]) -> None:
    try:
        live, again = await _live_and_again(path, make())
    except (CodecError, ValidationError) as error:
        assert "value" in str(error)  # noqa: PT017 - either is right, but it has to say where
    else:
        assert same(live[0], again[0])


async def test_a_key_that_is_no_text_is_refused_with_its_path(tmp_path: Path) -> None:
    async with create_event_bus(f"sqlite:///{tmp_path / 'run.db'}") as bus:
        with pytest.raises(CodecError, match="value"):
            await bus.publish(Event("j16.adhoc", payload={"value": {"\ud800": 1}}))


async def test_a_handler_computes_with_a_price_after_a_restart_as_it_did_live(tmp_path: Path) -> None:
    live, again = await _live_and_again(tmp_path / "run.db", Event("j16.px", payload={"value": Decimal("1.10")}))
    assert [str(price * 2) for price in live + again] == ["2.20", "2.20"]


# --- J14: limits ------------------------------------------------------------------------------------------------------


class Priced(Event, type="j14.priced"):
    """A typed event with money in it."""

    price: Decimal


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


async def _publish(tmp_path: Path, make: Any) -> None:
    async with create_event_bus(f"sqlite:///{tmp_path / 'run.db'}") as bus:
        await bus.publish(make())


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: Event("j14.deep", payload={"value": nested(5_000)}), id="payload 5,000 deep"),
        case(lambda: Event("j14.deep", payload={"value": nested(101)}), name="payload 101 deep"),
        case(lambda: Anything(value=nested(5_000)), name="field 5,000 deep"),
        pytest.param(lambda: Event("j14.long", payload={"value": Decimal("1" * 2_000)}), id="Decimal of 2,000 digits"),
        pytest.param(lambda: Event("j14.long", payload={"value": 10**2_000}), id="int of 2,001 digits"),
        pytest.param(lambda: Anything(value=10**2_000), id="field int of 2,001 digits"),
        pytest.param(lambda: Event("j14.big", payload={"value": "x" * (8 * 1024 * 1024 + 1)}), id="more than 8 MiB"),
    ],
)
async def test_what_is_beyond_a_limit_is_refused_with_its_path(tmp_path: Path, make: Any) -> None:
    with pytest.raises((CodecError, ValidationError), match=r"value|bytes"):  # a field may be refused where it is made
        await _publish(tmp_path, make)


@pytest.mark.parametrize(
    "price", [pytest.param("1" * 5_000_000, id="text"), pytest.param(Decimal("1" * 2_000), id="number")]
)
async def test_a_price_of_too_many_digits_is_refused_with_its_field(tmp_path: Path, price: Any) -> None:
    with pytest.raises((CodecError, ValidationError), match="price"):
        await _publish(tmp_path, lambda: Priced(price=price))


@pytest.mark.parametrize(
    "value",
    [
        case(b"[" * 5_000 + b"]" * 5_000, name="5,000 deep"),
        case(b"1" * 100_000, name="a number of 100,000 digits"),
        pytest.param(b'"' + b"x" * (8 * 1024 * 1024) + b'"', id="more than 8 MiB"),
    ],
)
@pytest.mark.parametrize("type_name", ["j6.any", "j14.unknown"])
def test_bytes_beyond_a_limit_are_no_event(type_name: str, value: bytes) -> None:
    body = (
        encode(Anything(value="here")) if type_name == "j6.any" else encode(Event(type_name, payload={"value": "here"}))
    )
    with pytest.raises(CodecError):
        decode(body.replace(b'"here"', value))


async def test_an_event_within_the_limits_is_kept(tmp_path: Path) -> None:
    await _publish(tmp_path, lambda: Event("j14.fits", payload={"value": [nested(90), 10**900, Decimal("1" * 900)]}))


def test_a_refused_event_leaves_the_loop_free() -> None:
    async def refused() -> None:
        async with create_event_bus() as bus:
            with pytest.raises(CodecError):
                await bus.publish(Event("j14.deep", payload={"value": nested(5_000)}))
            assert (await bus.publish("j14.fine")).event_id

    asyncio.run(refused())
