"""Given: what clients send, as models: nothing unknown, nothing converted, nothing infinite. They know nothing."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from eventbus.gateway.patterns import TYPE

_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ].{5,40}")
_MOST = 2**63 - 1


def _text_only(value: Any) -> Any:
    """A time is ISO 8601: a number would be taken for seconds since 1970."""
    if isinstance(value, str) and not _MOMENT.fullmatch(value):
        return None
    return value if isinstance(value, str | datetime) else None


def _whole(value: Any) -> Any:
    """1.0 is an integer in JSON, as its schemas have it."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:\-]{1,128}$", description="Letters, digits and _ . : -")]
Type = Annotated[str, Field(pattern=TYPE, description="The wire name of an event type.")]
Line = Annotated[str, Field(max_length=256, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$", description="One line of text.")]
Reason = Annotated[str, Field(min_length=1, max_length=512, pattern=r"^[^\x00-\x1f\x7f-\x9f]*[^\x00-\x20\x7f-\x9f]$")]
Moment = Annotated[
    AwareDatetime, BeforeValidator(_text_only), Field(strict=False, description="ISO 8601 with an offset.")
]


class Given(BaseModel):
    """What a client sends: nothing unknown, nothing converted, nothing infinite."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class NewEvent(Given):
    """An event to publish. With an `event_id` it may be sent again: it counts once."""

    type: Type
    payload: dict[str, Any] = Field(default_factory=dict, max_length=256)
    event_id: Id | None = None
    timestamp: Moment | None = None
    source: Line = ""
    correlation_id: Id | None = None
    version: Annotated[int, Field(ge=1, le=_MOST), BeforeValidator(_whole)] | None = None


class Because(Given):
    """Why."""

    reason: Reason


class Rearm(Because):
    """Why, and the token that the halt gave."""

    token: Annotated[str, Field(min_length=1, max_length=128)]
