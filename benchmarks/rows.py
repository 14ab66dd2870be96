"""Rows: what is measured and what is asked of it, as values. Knows nothing of clocks, loops or tables."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import NamedTuple

Now = Callable[[], float]
Run = Callable[[int, Now], Awaitable[float]]
"""One way to do the work: gets a number of events and a clock, returns the seconds an event took, or a figure in the row's unit."""


class Place(NamedTuple):
    """Where a figure was measured: prices differ by interpreter and loop."""

    python: tuple[int, int]
    loop: str

    def __str__(self) -> str:
        return f"{self.python[0]}.{self.python[1]} {self.loop}"


@dataclass(frozen=True, slots=True)
class Aim:
    """What a figure is to reach: at least or at most a number."""

    number: float
    is_floor: bool
    unit: str = ""  # none: a ratio
    newer: float | None = None  # from Python 3.12 on, where context variables are dearer
    uvloop: float | None = None

    def at(self, place: Place) -> float:
        if self.uvloop is not None and place.loop == "uvloop":
            return self.uvloop
        if self.newer is not None and place.python >= (3, 12):
            return self.newer
        return self.number

    def is_reached(self, figure: float, place: Place) -> bool:
        return figure >= self.at(place) if self.is_floor else figure <= self.at(place)

    def __str__(self) -> str:
        words = [f"{self.number:,g}"]
        if self.newer is not None:
            words.append(f"{self.newer:,g} from 3.12")
        if self.uvloop is not None:
            words.append(f"{self.uvloop:,g} on uvloop")
        sign, unit = (">=" if self.is_floor else "<="), self.unit or ("" if self.is_floor else "times")
        return f"{sign} {', '.join(words)} {unit}".rstrip()


def speed(number: float, *, newer: float | None = None, uvloop: float | None = None) -> Aim:
    """At least so many times the speed of the baseline."""
    return Aim(number, is_floor=True, newer=newer, uvloop=uvloop)


def times(number: float) -> Aim:
    """At most so many times the time of the baseline."""
    return Aim(number, is_floor=False)


def at_most(number: float, unit: str) -> Aim:
    return Aim(number, is_floor=False, unit=unit)


def at_least(number: float, unit: str) -> Aim:
    return Aim(number, is_floor=True, unit=unit)


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of the table. Without a baseline `bus` returns it as it is, else it is the ratio of the two."""

    name: str
    aim: Aim
    bus: Run
    baseline: Run | None = None
    _: KW_ONLY
    against: str = "queue"  # what the baseline is, in a word
    count: int = 20_000  # events a turn
    rounds: int | None = None  # at most
    clock: str = "cpu"
    is_alone: bool = False  # in a process of its own: nothing else has touched its memory
    peers: Mapping[str, Run] = field(default_factory=dict)
