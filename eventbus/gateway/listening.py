"""Listening: what a client asked for: a topic with its filter, its rate and its batches; a control chart.

Values: they tell whether an event is wanted, and know neither the client nor how it is sent.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any

from eventbus import Event, InvalidSelector, Selector
from eventbus.gateway.wire import Refused, Scalar, Subscribe

CHART_FIELDS = frozenset({"severity", "rule_id"})
"""What violations of a control chart can be filtered by."""

CHART_TYPE = "spc.sample_processed"
"""Who may read this type may listen to control charts."""

Allowed = tuple[tuple[str, frozenset[tuple[type, Any]]], ...]


class Pacing:
    """The rate that the topics of one request share: values are conflated to it."""

    __slots__ = ("max_rate",)

    def __init__(self, max_rate: float) -> None:
        self.max_rate = max_rate


class Topic:
    """One topic of one subscription. `since` is the number after which it listens; what was before was asked for, or not."""

    __slots__ = ("batch_ms", "id", "is_plain", "pacing", "selector", "since", "topic", "where")

    def __init__(
        self, topic: str, id: str | None, where: Allowed, pacing: Pacing | None, batch_ms: int | None, since: int
    ) -> None:
        self.topic = topic
        self.id = id
        self.where = where
        self.pacing = pacing
        self.batch_ms = batch_ms
        self.since = since
        self.selector = Selector(topic)
        self.is_plain = not (where or pacing or batch_ms)

    def begin(self, since: int) -> None:
        """Listen after this number."""
        self.since = since

    def fits(self, type_name: str) -> bool:
        """Do events of this type go to it?"""
        return self.selector.matches(Event, type_name)

    def wants(self, event: Event) -> bool:
        """Is it one of those it was filtered for?"""
        return all(is_one_of(event.get(field), values) for field, values in self.where)


class Chart:
    """One control chart of one client."""

    __slots__ = ("id", "topic", "where")

    def __init__(self, characteristic_id: int, id: str | None, where: Allowed) -> None:
        self.id = id
        self.topic = str(characteristic_id)
        self.where = where

    def wants(self, payload: Mapping[str, Any]) -> bool:
        """Is it one of those it was filtered for? What lacks the field was not meant by the filter."""
        return all(field not in payload or is_one_of(payload[field], values) for field, values in self.where)


def topics_of(asked: Subscribe, since: int) -> list[Topic]:
    """The topics of a request. Raises `Refused` for one that is none."""
    where = allowed(asked.where)
    pacing = None if asked.max_rate is None else Pacing(asked.max_rate)
    found: dict[str, Topic] = {}
    for index, topic in enumerate(asked.topics):
        try:
            found[topic] = Topic(topic, asked.id, where, pacing, asked.batch_ms, since)
        except InvalidSelector as error:
            raise Refused(
                "bad_topic",
                f"topics[{index}] is no topic: up to 128 of A-Z a-z 0-9 _ . : - and the wildcards * ? [...]",
                asked.id,
            ) from error
    return [*found.values()]


def charts_of(asked: Subscribe) -> dict[int, Chart]:
    """The control charts of a request. Raises `Refused` for a filter that charts do not have."""
    if not asked.characteristic_ids:
        return {}
    if not CHART_FIELDS.issuperset(asked.where):
        raise Refused("bad_message", "where: control charts are filtered by severity and rule_id only", asked.id)
    where = allowed(asked.where)
    return {number: Chart(number, asked.id, where) for number in asked.characteristic_ids}


def ids_of(topics: Iterable[Topic]) -> list[str]:
    """The ids that these were given, each once."""
    return [*dict.fromkeys(one.id for one in topics if one.id is not None)]


def key_of(event: Event) -> Hashable:
    """What a newer value replaces an older one by."""
    spec = event.__event__
    key = event.type, None if spec.key is None else event.get(spec.key)
    try:
        hash(key)
    except Exception:  # noqa: BLE001 - as above: then it replaces nothing
        return event.type, event.event_id
    return key


def allowed(where: Mapping[str, Scalar | list[Scalar]]) -> Allowed:
    """The values that each field may have."""
    return tuple(
        (field, frozenset(map(_comparable, values if isinstance(values, list) else [values])))
        for field, values in where.items()
    )


def is_one_of(value: Any, values: frozenset[tuple[type, Any]]) -> bool:
    """Is it one of them, as JSON sees it? True is no 1 there, and 1 is 1.0."""
    try:
        return _comparable(value) in values
    except Exception:  # noqa: BLE001 - a list is none of them, nor is an object, whatever it does when it is asked
        return False


def _comparable(value: Any) -> tuple[type, Any]:
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, bool) or value is None:
        return type(value), value
    if isinstance(value, int | float):
        return float, value
    if isinstance(value, Decimal):
        return str, str(value)
    if isinstance(value, date | datetime):
        return str, value.isoformat()
    return str, value
