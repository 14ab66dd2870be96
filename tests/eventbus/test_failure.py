"""Failure: an exception as text, with the user's line; whatever the exception does when it is looked at."""

from __future__ import annotations

import gc
import inspect
import json
import weakref
from typing import Any

from eventbus import Event, InMemoryEventBus
from eventbus.failure import Failure, describe, leaves, place_of
from eventbus.wording import TEXT_CAP


def raised(function: Any, *arguments: Any) -> BaseException:
    try:
        function(*arguments)
    except Exception as error:  # noqa: BLE001 - any will do
        return error
    raise AssertionError("it raised nothing")


def break_down() -> None:
    raise ValueError("no such desk")


def parse() -> None:
    json.loads("{")


LINE = inspect.getsourcelines(break_down)[1] + 1
PARSE_LINE = inspect.getsourcelines(parse)[1] + 1


def test_it_names_the_error_and_its_line() -> None:
    assert describe(raised(break_down)) == f"ValueError: no such desk (in break_down, {__file__}:{LINE})"


def test_the_line_is_the_users_and_not_the_librarys() -> None:
    place = place_of(raised(parse))
    assert place is not None
    assert (place.function, place.line) == ("parse", PARSE_LINE)


async def test_frames_of_the_bus_are_left_out(event_bus: InMemoryEventBus) -> None:
    async def handle(_event: Event) -> None:
        parse()

    event_bus.subscribe("failure.*", handle)
    await event_bus.publish_and_wait("failure.parse")
    (letter,) = await event_bus.dead_letters.list()
    assert f"(in parse, {__file__}:{PARSE_LINE})" in letter.error
    assert letter.traceback.startswith(f'Traceback (most recent call last):\n  File "{__file__}"')
    assert 'json.loads("{")' in letter.traceback
    assert letter.traceback.endswith(letter.error.partition(" (in ")[0])


def test_an_error_that_was_never_raised_has_no_line() -> None:
    assert describe(ValueError("x")) == "ValueError: x"
    assert Failure.of(ValueError("x")).traceback == "ValueError: x"


def test_each_leaf_of_a_group_is_told_with_its_line() -> None:
    group = BaseExceptionGroup("unhandled errors", [raised(break_down), ExceptionGroup("in", [OSError("gone")])])
    failure = Failure.of(group)
    assert failure.kind == "ExceptionGroup(ValueError, OSError)"
    expected = (
        f"ExceptionGroup: unhandled errors: ValueError: no such desk (in break_down, {__file__}:{LINE}); OSError: gone"
    )
    assert failure.text == expected
    assert leaves(group) == (group.exceptions[0], group.exceptions[1].exceptions[0])  # type: ignore[union-attr] # a group
    assert "raise ValueError" in failure.traceback


def test_causes_are_told_before_what_they_led_to() -> None:
    def lead() -> None:
        try:
            break_down()
        except ValueError as error:
            raise LookupError("order 7") from error

    told = Failure.of(raised(lead)).traceback
    assert told.index("ValueError: no such desk") < told.index("direct cause") < told.index("LookupError: order 7")


def test_text_is_capped() -> None:
    failure = Failure.of(ValueError("x" * 100_000))
    assert len(failure.text) == len(failure.traceback) == TEXT_CAP


class Hostile(Exception):
    """Whatever looks at it is sorry."""

    __hash__ = None  # type: ignore[assignment] # on purpose

    def __str__(self) -> str:
        raise KeyboardInterrupt

    def __repr__(self) -> str:
        raise RuntimeError("no")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no")

    @property
    def __cause__(self) -> Any:  # type: ignore[override] # on purpose
        raise RuntimeError("no")


class HostileGroup(ExceptionGroup[Exception]):
    """A group that lies about its members."""

    @property
    def exceptions(self) -> Any:
        raise RuntimeError("no")


def test_an_error_that_cannot_be_looked_at_is_told_all_the_same() -> None:
    assert describe(Hostile()) == "Hostile: <its str() raised KeyboardInterrupt>"
    assert Failure.of(Hostile()).kind == "Hostile"
    assert "Hostile" in Failure.of(Hostile()).traceback + Failure.of(Hostile()).text
    group = HostileGroup("lies", [Hostile(), ValueError("x")])
    assert Failure.of(group).text == "HostileGroup: lies: Hostile: <its str() raised KeyboardInterrupt>; ValueError: x"


def test_a_circle_of_causes_ends() -> None:
    one, other = raised(break_down), raised(parse)
    one.__cause__, other.__cause__ = other, one
    assert Failure.of(one).traceback.count("ValueError: no such desk") == 1


def test_neither_the_error_nor_its_frames_are_held() -> None:
    class Big:
        pass

    def fail() -> weakref.ref[Big]:
        big = Big()
        kept.append(Failure.of(raised(lambda held: break_down(), big)))
        return weakref.ref(big)

    kept: list[Failure] = []
    seen = fail()
    gc.collect()
    assert seen() is None
    assert "no such desk" in kept[0].text
