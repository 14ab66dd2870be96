"""Event: the frozen fact, its header, its kinds, and the registry of types."""

from __future__ import annotations

import gc
import pickle
from collections.abc import Mapping
from contextvars import copy_context
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, ValidationError

from eventbus import (
    DuplicateEventType,
    Event,
    InvalidEventType,
    Kind,
    PolicyConflict,
    Request,
    event_class,
    event_types,
)
from eventbus.event import AdHocEvent, stamp
from eventbus.frozen import FrozenDict


class Side(StrEnum):
    BUY = "buy"
    SELL = "sell"


class TradeMadeEvent(Event, type="test.trade.made", version=2, kind=Kind.EXECUTION, key="order_id"):
    """A fill."""

    order_id: str
    side: Side
    size: Decimal
    tags: list[str] = Field(default_factory=list)
    extra: dict[str, Any] = Field(default_factory=dict)


def trade(**fields: Any) -> TradeMadeEvent:
    return TradeMadeEvent(**{"order_id": "o1", "side": Side.BUY, "size": Decimal("1.5"), **fields})


# --- header ----------------------------------------------------------------------------------------------------------


def test_header_fills_itself() -> None:
    before = datetime.now(UTC)
    event = trade()
    assert UUID(event.event_id).version == 7
    assert before <= event.timestamp <= datetime.now(UTC)
    assert event.timestamp.utcoffset() == timedelta(0)
    assert event.correlation_id == event.event_id
    assert event.causation_id is None
    assert event.source == ""
    assert event.metadata == {}


def test_ids_increase() -> None:
    ids = [Event("a.b").event_id for _ in range(5_000)]
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)


def test_timestamp_of_the_caller_is_kept_as_given() -> None:
    moment = datetime(2020, 5, 4, 12, tzinfo=timezone(timedelta(hours=2)))
    assert trade(timestamp=moment).timestamp == moment
    assert Event("a.b", moment).timestamp.tzinfo == moment.tzinfo
    assert Event(type="a.b", timestamp=moment, payload={"n": 1}).timestamp == moment


def test_none_for_a_timestamp_is_now() -> None:
    for event in (Event("a.b", None, {"n": 1}), trade(timestamp=None)):
        assert abs(datetime.now(UTC) - event.timestamp) < timedelta(minutes=1)


def test_none_for_source_or_correlation_is_the_same_as_leaving_it_out() -> None:
    for event in (Event("a.b", source=None, correlation_id=None), trade(source=None, correlation_id=None)):
        assert (event.source, event.correlation_id) == ("", event.event_id)
        stamp(event, cause=(cause := Event("a.cause")))
        assert (event.correlation_id, event.causation_id) == (cause.event_id, cause.event_id)


def test_a_correlation_of_ones_own_is_kept() -> None:
    event = trade(correlation_id="mine")
    stamp(event, cause=Event("a.cause"), event_id="new")
    assert (event.correlation_id, event.event_id) == ("mine", "new")


def test_header_fields_are_accepted_by_both_kinds_of_event() -> None:
    header: dict[str, Any] = {
        "source": "desk",
        "correlation_id": "c1",
        "causation_id": "e0",
        "metadata": {"k": [1, 2]},
        "event_id": "mine",
    }
    for event in (trade(**header), Event("a.b", payload={}, **header)):
        assert {name: getattr(event, name) for name in header} == header


# --- class ------------------------------------------------------------------------------------------------------------


def test_class_says_what_it_is() -> None:
    spec = TradeMadeEvent.__event__
    assert (spec.type, spec.version, spec.kind, spec.key) == ("test.trade.made", 2, Kind.EXECUTION, "order_id")
    assert TradeMadeEvent.type == trade().type == "test.trade.made"
    assert spec.fields == ("order_id", "side", "size", "tags", "extra")


def test_type_follows_from_the_name_if_left_out() -> None:
    class PortfolioMTMUpdatedEvent(Event):
        value: float

    class Heartbeat(Event):
        pass

    assert PortfolioMTMUpdatedEvent.type == "portfolio.mtm.updated"
    assert Heartbeat.type == "heartbeat"


def test_subclass_inherits_the_delivery_class_not_the_type() -> None:
    class SpecialTrade(TradeMadeEvent, type="test.trade.special"):
        bonus: int = 0

    spec = SpecialTrade.__event__
    assert (spec.type, spec.version, spec.kind, spec.key) == ("test.trade.special", 1, Kind.EXECUTION, "order_id")


def test_two_classes_with_one_type_are_an_error_that_names_both() -> None:
    with pytest.raises(DuplicateEventType, match=r"test\.trade\.made.*TradeMadeEvent") as caught:

        class Other(Event, type="test.trade.made"):
            pass

    assert caught.value.type == "test.trade.made"
    assert event_class("test.trade.made") is TradeMadeEvent


def test_same_definition_run_again_replaces_itself() -> None:
    def define() -> type[Event]:
        class Local(Event, type="test.local.again"):
            pass

        return Local

    first, second = define(), define()
    assert first is not second
    assert event_class("test.local.again") is second


def test_class_that_is_gone_frees_its_type() -> None:
    def define() -> None:
        class Fleeting(Event, type="test.fleeting"):
            pass

    define()
    gc.collect()
    assert event_class("test.fleeting") is None


def test_registry_lists_classes_by_wire_name() -> None:
    names = [cls.type for cls in event_types()]
    assert "test.trade.made" in names
    assert names == sorted(names)


@pytest.mark.parametrize("name", ["", "two words", "a/b", "ä", "x" * 129, "a\n", None, 3])
def test_bad_wire_name_is_refused(name: Any) -> None:
    with pytest.raises(InvalidEventType, match="wire name"):
        Event(name)
    if name is not None:
        with pytest.raises(InvalidEventType):
            type("Bad", (Event,), {}, type=name)


@pytest.mark.parametrize(
    ("argument", "value"),
    [("version", 0), ("version", "1"), ("version", True), ("max_age", 0), ("max_age", float("nan")), ("max_age", "1")],
)
def test_senseless_class_arguments_are_refused(argument: str, value: Any) -> None:
    with pytest.raises(PolicyConflict) as caught:
        type("Bad", (Event,), {"__module__": __name__}, type="test.senseless", **{argument: value})
    assert caught.value.argument == argument


def test_an_ad_hoc_event_is_one_however_it_is_made() -> None:
    for event in (Event("a.b"), Event.create("a.b"), Event(type="a.b")):
        assert type(event) is AdHocEvent
    assert not isinstance(trade(), AdHocEvent)


def test_a_class_may_have_an_init_of_its_own() -> None:
    class OwnInit(Event, type="test.own.init"):
        n: int

        def __init__(self, n: int, **header: Any) -> None:
            super().__init__(n=n + 1, **header)

    assert OwnInit(1, source="s").payload == {"n": 2}


def test_a_request_says_what_it_is_answered_with() -> None:
    class AskedEvent(Request[int], type="test.asked"):
        n: int

    assert AskedEvent(n=1).payload == {"n": 1}
    assert event_class("test.asked") is AskedEvent


def test_a_class_may_name_types_of_the_function_it_is_defined_in() -> None:
    class Part(BaseModel):
        n: int

    class WithParts(Event, type="test.parts"):
        parts: list[Part] = Field(default_factory=lambda: [Part(n=1)])

    assert WithParts().payload == {"parts": [{"n": 1}]}
    assert not changeable(WithParts().parts)


def test_the_schema_of_an_event_says_what_its_fields_are() -> None:
    said = TradeMadeEvent.model_json_schema()["properties"]
    assert [said[name]["type"] for name in ("metadata", "order_id", "tags", "extra")] == [
        "object",
        "string",
        "array",
        "object",
    ]


def test_key_must_be_a_field() -> None:
    with pytest.raises(TypeError, match="order_nr"):

        class Typo(Event, type="test.typo", key="order_nr"):
            order_id: str


@pytest.mark.filterwarnings("ignore:Field name")
@pytest.mark.parametrize("name", ["type", "payload"])
def test_fields_may_not_take_the_names_of_the_event(name: str) -> None:
    with pytest.raises((TypeError, NameError), match=name):
        type("Taken", (Event,), {"__annotations__": {name: int}, "__module__": __name__}, type=f"test.taken.{name}")


# --- fields -----------------------------------------------------------------------------------------------------------


def test_unknown_field_is_refused() -> None:
    with pytest.raises(ValidationError, match="colour"):
        trade(colour="red")


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), Decimal("NaN"), Decimal("Infinity")])
def test_nan_and_infinity_are_refused(bad: Any) -> None:
    with pytest.raises(ValidationError, match="size"):
        trade(size=bad)


def test_create_is_the_same_as_calling() -> None:
    assert TradeMadeEvent.create(order_id="o1", side="buy", size=1).order_id == "o1"
    assert Event.create("a.b", payload={"n": 1})["n"] == 1


def test_payload_is_plain_and_fresh() -> None:
    event = trade(tags=["x"], extra={"deep": {"list": [Side.SELL]}})
    assert event.payload == {
        "order_id": "o1",
        "side": "buy",
        "size": Decimal("1.5"),
        "tags": ["x"],
        "extra": {"deep": {"list": ["sell"]}},
    }
    assert type(event.payload["side"]) is str
    event.payload["extra"]["deep"]["list"].append("more")
    event.payload["tags"].clear()
    assert event.payload["extra"] == {"deep": {"list": ["sell"]}}
    assert event.payload["tags"] == ["x"]


def test_ad_hoc_event_reads_like_a_mapping() -> None:
    event = Event("a.b", payload={"n": 1, "deep": {"m": [1, 2]}})
    assert event.type == "a.b"
    assert event["n"] == 1
    assert event.get("n", 0) == 1
    assert event.get("missing", 7) == 7
    assert event.get("missing") is None
    assert "n" in event
    assert "missing" not in event
    assert event.payload == {"n": 1, "deep": {"m": [1, 2]}}
    with pytest.raises(KeyError):
        _ = event["missing"]


def test_typed_event_gives_its_fields_by_name_too() -> None:
    assert trade()["order_id"] == "o1"
    assert trade().get("nothing", 5) == 5
    with pytest.raises(KeyError):
        _ = trade()["event_id"]  # of the header, not of the payload


def test_payload_must_be_a_mapping() -> None:
    with pytest.raises(ValidationError):
        Event("a.b", payload=[1, 2])  # type: ignore[arg-type] # the point


# --- frozen -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("event", [trade(tags=["a"], extra={"k": {"l": [1]}}), Event("a.b", payload={"k": {"l": [1]}})])
def test_nothing_of_an_event_can_be_changed(event: Event) -> None:
    inner = event["extra"]["k"] if "extra" in event.payload else event["k"]
    with pytest.raises(ValidationError):
        event.source = "x"  # type: ignore[misc] # the point
    with pytest.raises(ValidationError):
        event.anything = 1  # type: ignore[attr-defined] # the point
    with pytest.raises(TypeError, match="immutable"):
        inner["new"] = 1
    with pytest.raises((TypeError, AttributeError)):
        inner["l"].append(2)
    with pytest.raises(TypeError):
        event.metadata["x"] = 1  # type: ignore[index] # the point


class DefaultsEvent(Event, type="test.defaults"):
    """Containers of every sort that nobody gave."""

    made: list[int] = Field(default_factory=list)
    made_odd: list[list[int]] = Field(default_factory=lambda: [[1]])
    given: dict[str, list[int]] = {"a": [1]}  # noqa: RUF012 - pydantic's way
    kept: set[int] = {1}  # noqa: RUF012 - as above
    perhaps: list[int] | None = None
    coerced: tuple[Decimal, ...] = ("1.5",)  # type: ignore[assignment] # on purpose
    later: list[Later] = Field(default_factory=list)
    open: Any = Field(default_factory=dict)


class Later(BaseModel):
    """Not there when its event is defined."""


def changeable(value: Any) -> bool:
    """Is there anything in it that can be changed in place?"""
    if isinstance(value, Mapping):
        return type(value) is not FrozenDict or any(map(changeable, value.values()))
    if isinstance(value, (tuple, frozenset)):
        return any(map(changeable, value))
    return isinstance(value, (list, set, bytearray))


def test_defaults_are_held_as_given_values_are() -> None:
    DefaultsEvent.model_rebuild()
    one, other = DefaultsEvent(), DefaultsEvent()
    assert not any(map(changeable, vars(one).values()))
    assert one.payload == other.payload == DefaultsEvent(**one.payload).payload
    assert one.coerced == (Decimal("1.5"),)
    assert (one.made, one.made_odd, one.given, one.kept) == ([], [[1]], {"a": [1]}, {1})
    assert one.model_fields_set == set()


@given(st.data())
def test_no_registered_class_has_a_default_that_can_be_changed(data: st.DataObject) -> None:
    import quantum_trader.events  # noqa: F401 - registers its classes

    for cls in event_types():
        if cls.__module__.startswith("quantum_trader"):
            try:
                event = copy_context().run(data.draw, st.builds(cls))  # with what is required only
            except (ValueError, TypeError):
                continue  # a combination that the class itself refuses
            unset = event.__dict__.keys() - event.model_fields_set
            assert not any(changeable(event.__dict__[name]) for name in unset), cls


def test_what_the_publisher_changes_afterwards_changes_no_event() -> None:
    tags, payload = ["a"], {"list": [1]}
    typed, ad_hoc = trade(tags=tags), Event("a.b", payload=payload)
    tags.append("b")
    payload["list"].append(2)
    assert typed.payload["tags"] == ["a"]
    assert ad_hoc.payload == {"list": [1]}


def test_what_can_be_changed_inside_a_tuple_is_frozen_too() -> None:
    class PathFoundEvent(Event, type="test.path.found"):
        names: tuple[str, ...]
        steps: tuple[tuple[int, list[int]], ...]

    step = [1, 2]
    event = PathFoundEvent(names=("a", "b"), steps=((0, step),))
    step.append(3)
    assert event.payload == {"names": ["a", "b"], "steps": [[0, [1, 2]]]}
    with pytest.raises((TypeError, AttributeError)):
        event.steps[0][1].append(4)


def test_events_can_be_hashed_and_printed() -> None:
    event = trade()
    assert {event: 1}[event] == 1
    assert str(event) == f"test.trade.made {event.event_id}"
    assert isinstance(event.metadata, Mapping)


def test_events_survive_copying() -> None:
    event = trade(tags=["a"])
    assert pickle.loads(pickle.dumps(event)) == event  # noqa: S301 - multiprocessing does so, the bus never
    assert event.model_copy(update={"source": "x"}).source == "x"
