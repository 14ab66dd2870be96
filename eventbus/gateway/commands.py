"""Commands: the routes that change something: publish, redrive, purge, halt, re-arm, a ticket for a page.

Each may be sent again: with an `event_id` or an `Idempotency-Key` it counts once.
"""

from __future__ import annotations

import logging
import re
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Header, Path
from fastapi.requests import Request
from pydantic import ValidationError

from eventbus import PolicyConflict
from eventbus.gateway.access import Admin, Here, Reader, Who
from eventbus.gateway.auth import TICKET_S
from eventbus.gateway.bodies import Halt, Purged, Rearmed, Receipts, Redriven, Ticket
from eventbus.gateway.documents import answers, takes
from eventbus.gateway.gateway import Gateway
from eventbus.gateway.given import Because, Given, NewEvent, Rearm
from eventbus.gateway.limits import read_body
from eventbus.gateway.parsing import parse_json
from eventbus.gateway.problems import Problem, of_validation

log = logging.getLogger("eventbus.gateway")

router = APIRouter(prefix="/api/v1")

G = TypeVar("G", bound=Given)
Key = Annotated[
    str | None,
    Header(alias="Idempotency-Key", min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_.:\-]+$"),
]
_PARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_STATE = re.compile(r"[\x20-\x7e]{1,512}")
LetterId = Annotated[int, Path(ge=1, le=2**63 - 1)]


@router.post(
    "/events",
    tags=["events"],
    openapi_extra=takes(NewEvent, several=1_000),
    responses=answers(400, 403, 404, 409, 413, 415, 422, 503),
)
async def publish(request: Request, gateway: Here, who: Who, key: Key = None) -> Receipts:
    """Publish one event, or a list of up to 1,000: all of it or nothing."""
    given = await _json(request, gateway)
    gateway.must_take_events()
    items: list[Any] = given if isinstance(given, list) else [given]
    if not 1 <= len(items) <= gateway.settings.limits.events:
        raise Problem(422, "invalid", f"send one event, or a list of 1 to {gateway.settings.limits.events}")
    return Receipts(receipts=await gateway.publishing.publish(items, who, key, _trace(request)))


def _trace(request: Request) -> dict[str, str]:
    """The W3C trace context that a request belongs to; one that is none is no fault of the request."""
    parent, state = request.headers.get("traceparent", ""), request.headers.get("tracestate", "")
    if not _PARENT.fullmatch(parent):
        return {}
    return {"traceparent": parent} | ({"tracestate": state} if _STATE.fullmatch(state) else {})


@router.post(
    "/dead-letters/{letter_id}/redrive",
    tags=["dead letters"],
    status_code=202,
    responses=answers(404, 409),
)
async def redrive(letter_id: LetterId, gateway: Here, who: Admin, key: Key = None) -> Redriven:
    """Deliver a dead letter again to the subscription that failed."""
    gateway.must_own_bus()
    return Redriven(
        redriven=await gateway.once(key, ("redrive", who.id, letter_id), lambda: gateway.letters.redrive(letter_id))
    )


@router.delete("/dead-letters/{letter_id}", tags=["dead letters"], responses=answers(404, 409))
async def purge(letter_id: LetterId, gateway: Here, who: Admin, key: Key = None) -> Purged:
    """Remove a dead letter for good."""
    gateway.must_own_bus()
    return Purged(
        purged=await gateway.once(key, ("purge", who.id, letter_id), lambda: gateway.letters.purge(letter_id))
    )


@router.post("/halt", tags=["kill switch"], openapi_extra=takes(Because), responses=answers(400, 409, 413, 415, 422))
async def halt(request: Request, gateway: Here, who: Admin) -> Halt:
    """Refuse events of kind EXECUTION until `rearm`. Halting again keeps the first reason, and gives the same token."""
    asked = await given(Because, request, gateway)
    gateway.must_take_events()
    token = gateway.halt(asked.reason)
    log.warning("bus halted by %s: %s", who.id, asked.reason, extra={"by": who.id, "reason": asked.reason})
    return Halt(token=token, reason=gateway.bus.halt_reason or asked.reason, since=gateway.halted_since)


@router.post("/rearm", tags=["kill switch"], openapi_extra=takes(Rearm), responses=answers(400, 409, 413, 415, 422))
async def rearm(request: Request, gateway: Here, who: Admin, key: Key = None) -> Rearmed:
    """Clear the halt."""
    asked = await given(Rearm, request, gateway)
    gateway.must_take_events()

    async def clear() -> int:
        if not gateway.bus.is_halted:
            raise Problem(409, "not_halted", "the bus is not halted: there is nothing to re-arm")
        try:
            await gateway.bus.rearm(asked.token)
        except PolicyConflict as error:
            detail = "this is not the token that the halt gave: halting again gives it"
            raise Problem(409, "wrong_rearm_token", detail) from error
        log.warning("bus re-armed by %s: %s", who.id, asked.reason, extra={"by": who.id, "reason": asked.reason})
        return 1

    await gateway.once(key, ("rearm", who.id, asked.token), clear)
    return Rearmed(halted=gateway.bus.is_halted)


@router.post("/ticket", tags=["access"], responses=answers(403))
async def ticket(request: Request, gateway: Here, who: Reader) -> Ticket:
    """A one-use ticket for a page of the same origin: it is the token of a WebSocket that the page opens next."""
    origin = request.headers.get("origin", "")
    return Ticket(ticket=gateway.auth.ticket(who, origin), expires_in=TICKET_S)


async def _json(request: Request, gateway: Gateway) -> Any:
    limits = gateway.settings.limits
    return parse_json(await read_body(request, limits.body_bytes), limits)


async def given(model: type[G], request: Request, gateway: Gateway) -> G:
    """The body of a request. Raises `Problem`: it is no JSON, too much of it, or not what the model says."""
    try:
        return model.model_validate(await _json(request, gateway))
    except ValidationError as error:
        raise of_validation(error, model.model_fields) from error
