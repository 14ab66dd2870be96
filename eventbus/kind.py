"""Kind: what a class says of its events, apart from their fields: one word for how they are delivered, and what goes with it.

Policies and stations decide by it, and need not know what an event is made of.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """The delivery class of an event: one word that sets lane, overflow, order, durability and retry."""

    EVENT = "event"  # an ordinary fact: lossless, in order per subscription
    QUOTE = "quote"  # a value that the next one replaces: newest per key when a subscription is behind
    SIGNAL = "signal"  # a decision that goes stale: lossless until its max_age, then expired
    EXECUTION = "execution"  # money moved: never dropped, in order by key, durable first, refused while halted
    CONTROL = "control"  # policy, health, kill switch: its own lane, overtakes, never dropped


@dataclass(frozen=True, slots=True)
class EventSpec:
    """What a class says about its events, apart from their fields. Read it as `MyEvent.__event__`."""

    type: str
    version: int = 1
    kind: Kind = Kind.EVENT
    key: str | None = None  # the field that orders and conflates
    retain: bool = False  # keep the last event per key
    max_age: float | None = None  # seconds until an undelivered event expires
    fields: tuple[str, ...] = ()  # domain fields, in order
