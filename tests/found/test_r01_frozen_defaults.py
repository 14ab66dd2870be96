"""R1: what a field holds by default is as frozen as what it was given."""

from __future__ import annotations

import enum
import typing
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import pytest
from pydantic import BaseModel, Field

from eventbus import DeadLetter, Event, InMemoryEventBus, Retry, Status, create_event_bus, event_types
from quantum_trader import events as trading_events

pytestmark = pytest.mark.virtual_time

Letters = Callable[[Any], Awaitable[list[DeadLetter]]]


class BasketFilled(Event, type="found.basket.filled"):
    """Every way to give a container by default."""

    made: list[int] = Field(default_factory=list)
    written: dict[str, int] = {}  # noqa: RUF012 - written so by those who trust the event to freeze it
    inner: dict[str, list[int]] = Field(default_factory=lambda: {"a": [1]})
    tags: set[str] = Field(default_factory=set)
    anything: Any = Field(default_factory=list)
    optional: list[int] | None = Field(default_factory=list)


class LargeBasketFilled(BasketFilled, type="found.basket.large"):
    """Inherits them, and has one more."""

    more: list[int] = []  # noqa: RUF012 - the same


DEFAULTED = ["made", "written", "inner", "tags", "anything", "optional"]


def given(**fields: Any) -> BasketFilled:
    """The same values as by default, handed in."""
    return BasketFilled.model_validate(
        {"made": [], "written": {}, "inner": {"a": [1]}, "tags": set(), "anything": [], "optional": [], **fields}
    )


@pytest.mark.parametrize("name", DEFAULTED)
def test_a_default_is_held_as_a_given_value_is(name: str) -> None:
    assert type(BasketFilled()[name]) is type(given()[name])
    assert BasketFilled()[name] == given()[name]


@pytest.mark.parametrize("name", ["made", "more"])
def test_an_inherited_default_is_frozen_too(name: str) -> None:
    assert mutable_in(LargeBasketFilled()[name]) == []


@pytest.mark.parametrize("make", [BasketFilled, BasketFilled.create, lambda: BasketFilled.model_validate({})])
def test_however_an_event_is_made_nobody_can_append_to_its_default(make: Callable[[], BasketFilled]) -> None:
    made = make()
    with pytest.raises((AttributeError, TypeError)):
        typing.cast(Any, made.made).append(1)


def test_a_container_within_a_default_is_frozen() -> None:
    with pytest.raises((AttributeError, TypeError)):
        typing.cast(Any, BasketFilled().inner["a"]).append(2)


async def test_a_default_reads_as_what_was_written() -> None:
    basket = BasketFilled()
    assert (basket.made, basket.written, basket.inner, basket.tags) == ([], {}, {"a": [1]}, set())
    assert basket.payload["inner"] == {"a": [1]}


async def test_the_next_handler_sees_the_default_as_it_was(event_bus: InMemoryEventBus) -> None:
    seen: list[int] = []

    async def append(event: BasketFilled) -> None:
        event.made.append(1)

    async def look(event: BasketFilled) -> None:
        seen.append(len(event.made))

    event_bus.subscribe(BasketFilled, append)
    event_bus.subscribe(BasketFilled, look)
    await event_bus.publish(BasketFilled())
    await event_bus.drain()
    assert seen == [0]


async def test_the_retry_and_the_dead_letter_hold_the_default_as_it_was(
    event_bus: InMemoryEventBus, letters_of: Letters
) -> None:
    seen: list[int] = []

    async def append(event: BasketFilled) -> None:
        seen.append(len(event.made))
        event.made.append(1)
        raise ValueError("after it appended")

    event_bus.subscribe(BasketFilled, append, retry=Retry(attempts=3))
    (outcome,) = await (await event_bus.publish(BasketFilled()))
    (letter,) = await letters_of(event_bus)
    assert outcome.status is Status.DEAD_LETTERED
    assert seen == [0, 0, 0]
    assert letter.event["made"] == []


@pytest.mark.virtual_time(only=False)
async def test_an_event_whose_handler_tried_to_change_a_default_may_be_published_again(tmp_path: Path) -> None:
    errors: list[BaseException] = []

    async def append(event: BasketFilled) -> None:
        event.made.append(1)

    async with create_event_bus(f"sqlite:///{tmp_path}/run.db") as bus:
        bus.subscribe(BasketFilled, append)
        basket = BasketFilled()
        await bus.publish(basket)
        await bus.drain()
        try:
            await bus.publish(basket)
        except Exception as error:  # noqa: BLE001 - whichever it is, there must be none
            errors.append(error)
    assert errors == []


# --- every class there is --------------------------------------------------------------------------------------------


def mutable_in(value: Any) -> list[Any]:
    """The containers in `value`, at any depth, that somebody could change."""
    if isinstance(value, Mapping):
        inside = [item for entry in value.items() for item in entry]
    elif isinstance(value, list | tuple | set | frozenset):
        inside = list(value)
    elif isinstance(value, BaseModel):
        inside = [item for _name, item in value]
        return [found for item in inside for found in mutable_in(item)]
    else:
        return [value] if isinstance(value, bytearray) else []
    own = [value] if type(value) in (dict, list, set) else []
    return own + [found for item in inside for found in mutable_in(item)]


def sample(annotation: Any) -> Any:
    """Some value of an annotation, for the fields that have no default."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return sample(arguments[0])
    if origin is Literal:
        return arguments[0]
    if origin is tuple:
        return () if arguments[-1:] == (...,) else tuple(map(sample, arguments))
    if origin is not None and isinstance(origin, type) and issubclass(origin, typing.Iterable):
        return {} if issubclass(origin, Mapping) else []
    if origin is not None:  # a union
        return sample(next(argument for argument in arguments if argument is not type(None)))
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return next(iter(annotation))
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation.model_validate(required(annotation))
    plain = {
        str: "AAPL",
        int: 1,
        float: 0.5,
        bool: True,
        bytes: b"",
        Decimal: Decimal(1),
        datetime: datetime(2030, 1, 1, tzinfo=UTC),
        date: date(2030, 1, 1),
        timedelta: timedelta(1),
        UUID: UUID(int=0),
        list: [],
        dict: {},
    }
    return plain.get(annotation, "AAPL")


def required(cls: type[BaseModel]) -> dict[str, Any]:
    return {name: sample(field.annotation) for name, field in cls.model_fields.items() if field.is_required()}


def defaulted() -> Iterator[tuple[type[Event], dict[str, Any]]]:
    """Every class that ships, with what its fields hold by default."""
    for cls in event_types():
        if cls.__module__.startswith(("eventbus.", "quantum_trader.")):
            made = cls.model_validate(required(cls))
            yield cls, {name: made[name] for name in cls.__event__.fields if not cls.model_fields[name].is_required()}


def test_no_registered_class_has_a_default_that_can_be_changed() -> None:
    walked = [*defaulted()]
    assert any(cls.__module__.startswith(f"{trading_events.__name__}.") for cls, _fields in walked)
    assert [
        f"{cls.__name__}.{name}" for cls, fields in walked for name, value in fields.items() if mutable_in(value)
    ] == []
