"""Problems: how the gateway says no: a code that programs know, a detail that helps, and nothing of what was sent.

Raised by whoever refuses, told by the guard as a JSON problem body, by a socket as an error frame. Knows no route.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails, to_json

from eventbus import (
    BusStopped,
    CodecError,
    DeliveryError,
    EventBusError,
    GatewayError,
    Halted,
    IdConflict,
    JournalError,
    OffsetGone,
    OutcomeUnknown,
    PolicyConflict,
    PublishTimeout,
    QueueFull,
)

MEDIA_TYPE = "application/problem+json"

# What of pydantic's own words may carry what was sent: of validators that somebody wrote, and names that a client made up.
_OF_OTHERS = {"value_error", "assertion_error", "custom_error"}


class ProblemBody(BaseModel):
    """What is answered instead of what was asked for."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"additionalProperties": True})

    type: str = Field(description="A fixed code, such as `unknown_type`.")
    title: str
    status: int
    detail: str = Field(description="What is wrong, and the remedy; nothing of what was sent.")
    request_id: str = Field(description="Under which it stands in the log.")


class Problem(GatewayError):
    """A request, or a frame, is refused. `status` is HTTP's; `extra` are further members of the body."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(f"{code}: {detail}")
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = dict(headers or {})
        self.extra = extra

    def response(self, request_id: str) -> Response:
        """It as a problem body."""
        body = {
            "type": self.code,
            "title": self.code.replace("_", " "),
            "status": self.status,
            "detail": self.detail,
            "request_id": request_id,
        }
        return Response(to_json(body | self.extra), self.status, headers=self.headers, media_type=MEDIA_TYPE)


def later(status: int, code: str, detail: str, after_s: float) -> Problem:
    """Refused for now: `Retry-After` says for how long."""
    return Problem(status, code, detail, headers={"Retry-After": str(max(1, round(after_s + 0.499)))})


def not_allowed(scope: str) -> Problem:
    """Whoever asks is known, and may not do this."""
    return Problem(403, "missing_scope", f"this needs a token with the scope {scope}")


def of_bus(error: EventBusError) -> Problem:
    """What the bus answered, as a problem."""
    match error:
        case Problem():
            return error
        case Halted():
            return Problem(409, "halted", "events of kind EXECUTION are refused until the bus is re-armed")
        case PublishTimeout() | QueueFull():
            return later(
                503, "overloaded", "the bus has no room: send the same again later, its id may be used again", 1
            )
        case BusStopped():
            return stopping()
        case IdConflict():
            return Problem(409, "id_conflict", "an event with this id has another body: give the new fact a new id")
        case OutcomeUnknown():
            return later(503, "outcome_unknown", "it may be accepted or not: send the same again, an id counts once", 1)
        case OffsetGone():
            return Problem(410, "gone", "these events are no longer kept", oldest=error.oldest)
        case JournalError():
            return later(503, "journal_unavailable", "the journal takes nothing now; nothing was accepted", 5)
        case CodecError():
            return Problem(422, "bad_payload", f"the payload cannot be written: {_cut(error.reason)}")
        case PolicyConflict():
            return Problem(409, "not_supported", "this bus cannot do that: see its capabilities in /api/v1/status")
        case DeliveryError():
            return later(503, "overloaded", "the bus takes nothing now: send the same again later", 1)
        case _:
            return internal()


def stopping() -> Problem:
    """The gateway is about to end."""
    return later(503, "stopping", "the gateway is stopping: try again, perhaps elsewhere", 5)


def internal() -> Problem:
    """Our fault; the log says more under the request's id."""
    return Problem(500, "internal", "a fault of the gateway: its log says more under this request_id")


def of_validation(
    error: ValidationError | Iterable[Mapping[str, Any]], known: Iterable[str], *, at: str = ""
) -> Problem:
    """What does not fit a model. `known` are the names that may be told; any other came from the client and is not."""
    found: Any = (
        error.errors(include_url=False, include_input=False) if isinstance(error, ValidationError) else [*error]
    )
    names = frozenset(known)
    first = found[0]
    detail = f"{_place(first, names, at)}: {_said(first, names)}"
    if len(found) > 1:
        detail += f" (and {len(found) - 1} more)"
    return Problem(422, "invalid", detail)


def _place(error: ErrorDetails, known: frozenset[str], at: str) -> str:
    parts = [at] if at else []
    for part in error["loc"]:
        if isinstance(part, int):
            parts.append(str(part))
        elif part in known:
            parts.append(part)
        else:
            break
    return ".".join(parts) or "the request"


def _said(error: ErrorDetails, known: frozenset[str]) -> str:
    if error["type"] == "extra_forbidden":
        return f"unknown field; there are {', '.join(sorted(known))}"
    if error["type"] in _OF_OTHERS:
        return "this value is not accepted"
    return error["msg"].lower()


def _cut(text: str) -> str:
    return text.partition("\n")[0][:120]
