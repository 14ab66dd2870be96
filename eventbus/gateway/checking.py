"""Checking: from what a client sent to events that may be published: the type, the scopes, the version, the payload, the size.

Knows who asks and what is taken here; publishes nothing.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import ValidationError
from pydantic_core import to_json

from eventbus import Event
from eventbus.gateway.given import NewEvent
from eventbus.gateway.money import check_money
from eventbus.gateway.problems import Problem, not_allowed, of_validation

if TYPE_CHECKING:
    from eventbus.gateway.auth import Auth, Principal
    from eventbus.gateway.settings import Limits


class Checked(NamedTuple):
    """An event that may be published, and what of it was given, as one hash."""

    event: Event
    asked: NewEvent
    sign: bytes

    @property
    def can_come_again(self) -> bool:
        """Was its id chosen by the client, in one way or the other?"""
        return "event_id" in self.event.model_fields_set


class Checking:
    """Of one gateway."""

    def __init__(self, auth: Auth, limits: Limits) -> None:
        self._auth = auth
        self._limits = limits

    def check(self, items: Sequence[Any], who: Principal, key: str | None, trace: Mapping[str, str]) -> list[Checked]:
        """What the items are, each with its id. Raises `Problem`; of several items it names the first that is wrong.

        With a `key` of the client's own, items without an id get one that the same key gives again. `trace` is said in their metadata.
        """
        checked: list[Checked] = []
        signs: dict[str, bytes] = {}
        for index, item in enumerate(items):
            at = "" if len(items) == 1 else f"events[{index}]"
            try:
                one = self._one(item, who, key and f"{who.id}/{key}/{index}", at, trace)
                if signs.setdefault(one.event.event_id, one.sign) != one.sign:
                    raise Problem(409, "id_conflict", "two events of one request have one id")
            except ValidationError as error:
                raise _named(of_validation(error, NewEvent.model_fields, at=at), index, len(items)) from error
            except Problem as problem:
                raise _named(problem, index, len(items)) from problem
            checked.append(one)
        return checked

    def _one(self, item: Any, who: Principal, key: str | None, at: str, trace: Mapping[str, str]) -> Checked:
        asked = NewEvent.model_validate(item)
        if not self._auth.publishable(asked.type):
            raise Problem(403, "not_publishable", "events of this type are not taken here: --publishable lists them")
        if not who.may_publish(asked.type):
            raise not_allowed("publish: for this type")
        header: dict[str, Any] = {"event_id": asked.event_id or (key and _id_of(key))}
        header |= {
            "metadata": {**trace},
            "timestamp": asked.timestamp,
            "correlation_id": asked.correlation_id,
            "source": asked.source,
        }
        header = {name: value for name, value in header.items() if value}
        cls = self._auth.class_of(asked.type)
        if cls is not None:
            event = _typed(cls, asked, header, f"{at}.payload" if at else "payload")
        elif asked.version is None:
            event = Event(asked.type, payload=asked.payload, **header)
        else:
            raise _unsupported()
        if len(event.to_json()) > self._limits.event_bytes:
            raise Problem(413, "too_large", f"an event has at most {self._limits.event_bytes} bytes")
        return Checked(event, asked, _sign(asked))


def _typed(cls: type[Event], asked: NewEvent, header: dict[str, Any], field: str) -> Event:
    """An event of a class, which checks it."""
    spec = cls.__event__
    version = asked.version or spec.version
    if version > spec.version:
        raise _unsupported()
    body = to_json(asked.payload | header)
    try:
        if version < spec.version:
            return Event.from_json(b'{"type":%b,"version":%d,"event":%b}' % (to_json(spec.type), version, body))
        if not asked.payload.keys() <= {*spec.fields}:
            raise Problem(422, "invalid", f"{field}: unknown field; there are {', '.join(sorted(spec.fields))}")
        event = cls.model_validate_json(body, strict=True)
        check_money(asked.payload, event.payload, field)
    except Problem:
        raise
    except ValidationError as error:
        raise of_validation(error, spec.fields, at=field) from error
    except Exception as error:  # the validators of a class are somebody's own code
        raise Problem(422, "invalid", f"{field}: it does not fit version {version} of its type") from error
    return event


def _sign(asked: NewEvent) -> bytes:
    given = asked.model_dump(mode="json", exclude={"event_id"}, exclude_unset=True)
    return hashlib.sha256(json.dumps(given, sort_keys=True).encode()).digest()


def _id_of(key: str) -> str:
    return str(uuid.UUID(bytes=hashlib.sha256(key.encode()).digest()[:16], version=5))


def _unsupported() -> Problem:
    return Problem(409, "unsupported_version", "this version of the type is not known here: /api/v1/types names it")


def _named(problem: Problem, index: int, count: int) -> Problem:
    extra = problem.extra if count == 1 else problem.extra | {"index": index}
    return Problem(problem.status, problem.code, problem.detail, headers=problem.headers, **extra)
