"""Reading: the routes that show the bus: events and their causes, who listens to what, dead letters, named views.

A token sees what its scopes cover; everything else is left out, not refused, so that nobody learns what there is.
"""

from __future__ import annotations

from datetime import datetime
from itertools import accumulate
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response
from pydantic import AwareDatetime
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import from_json, to_json

from eventbus import DeadLetter, Explanation, SubscriptionStats
from eventbus.gateway.access import Here, Reader
from eventbus.gateway.auth import Principal
from eventbus.gateway.bodies import (
    EventBody,
    HandledBody,
    Item,
    LetterBody,
    Letters,
    Node,
    Page,
    StatsBody,
    SubscriptionBody,
    Subscriptions,
    Tree,
)
from eventbus.gateway.documents import answers
from eventbus.gateway.feed import Gone
from eventbus.gateway.gateway import Gateway
from eventbus.gateway.patterns import PATTERN, matches
from eventbus.gateway.problems import Problem, not_allowed
from eventbus.gateway.wire import body_of, item_of

router = APIRouter(prefix="/api/v1")

_MOST = 2**63 - 1
_LOOKED_AT = 10_000  # events that one request looks at
_PAGE_BYTES = 4 * 1024 * 1024  # of events in one answer; the first is in it whatever its size
_NODES = 1_000

Limit = Annotated[int, Query(ge=1, le=1_000, description="At most so many.")]
After = Annotated[int, Query(ge=0, le=_MOST, description="Those that follow this number; 0: from the oldest kept.")]
ViewName = Annotated[str, Path(pattern=r"^[a-z_]{1,64}(:[A-Za-z0-9_.\-]{1,64})?$")]
EventId = Annotated[str, Path(pattern=r"^[A-Za-z0-9_.:\-]{1,128}$")]
Pattern = Annotated[str, Query(alias="type", pattern=PATTERN, description="A type or a wildcard.")]
Since = Annotated[
    AwareDatetime | SkipJsonSchema[None], Query(description="Those of this time or later: ISO 8601 with an offset.")
]
Epoch = Annotated[str | SkipJsonSchema[None], Query(max_length=64, description="Which log `after` is a number of.")]


@router.get("/events", tags=["events"], response_model=Page, responses=answers(410, 422))
async def events(
    gateway: Here,
    who: Reader,
    after: After = 0,
    limit: Limit = 100,
    pattern: Pattern = "*",
    since: Since = None,
    epoch: Epoch = None,
) -> Response:
    """Events, oldest first. A page may be shorter than asked for although there is more: `next` tells."""
    if epoch is not None and epoch != gateway.ring.epoch:
        raise Problem(410, "gone", "this is another log than the one that was counted", oldest=gateway.feed.oldest)
    at = await _start(gateway, after, since)
    found: list[bytes] = []
    size = 0
    until = min(gateway.ring.head, at + _LOOKED_AT)
    while at < until and len(found) < limit and size < _PAGE_BYTES:
        try:
            items, reached = await gateway.feed.read(at, until)
        except Gone as error:
            raise _gone(gateway) from error
        for item in items:
            if len(found) == limit or size >= _PAGE_BYTES:
                reached = item.seq - 1
                break
            is_late = since is None or item.event.timestamp >= since
            if is_late and matches(pattern, item.event.type) and who.may_read(item.event.type):
                found.append(item.piece(()))
                size += len(found[-1])
        at = reached
    following = at if at < gateway.ring.head else None
    return _raw(
        b'{"events":[%b],"next":%b,"epoch":%b}' % (b",".join(found), to_json(following), to_json(gateway.ring.epoch))
    )


@router.get("/views/{name}", tags=["bus"], responses=answers(404, 422))
async def view(name: ViewName, gateway: Here, who: Reader) -> dict[str, Any]:
    """A named view as it is now: the same as its message over the WebSocket."""
    if not who.may_view(name):
        raise not_allowed(f"read:view.{name}")
    try:
        return await gateway.sockets.views.snapshot(name)
    except LookupError as error:
        known = ", ".join(gateway.sockets.views.names)
        raise Problem(404, "unknown_view", f"there is no view of this name; there are {known}") from error


async def _start(gateway: Gateway, after: int, since: datetime | None) -> int:
    oldest = gateway.feed.oldest
    if 0 < after < oldest - 1:
        raise _gone(gateway)
    if after > gateway.ring.head:
        raise Problem(410, "gone", "the log is shorter than that: it is another one", oldest=oldest)
    at = max(after, oldest - 1)
    if since is not None and (follower := gateway.sockets.follower) is not None:
        return max(at, min(await follower.seek(int(since.timestamp() * 1e9)), gateway.ring.head))
    if since is not None and gateway.has_journal:
        at = max(at, min(await gateway.bus.journal.seek(int(since.timestamp() * 1e9)), gateway.ring.head))
    return at


def _gone(gateway: Gateway) -> Problem:
    return Problem(410, "gone", "these events are no longer kept: go on from oldest", oldest=gateway.feed.oldest)


@router.get("/events/{event_id}", tags=["events"], response_model=Item, responses=answers(404, 422))
async def event(event_id: EventId, gateway: Here, who: Reader) -> Response:
    """One event."""
    seq, found = await gateway.find(event_id)
    if found is None or not who.may_read(found.type):
        raise _unknown_event()
    return _raw(item_of(seq, (), body_of(found)) if seq else b'{"seq":null,"payload":%b}' % body_of(found))


@router.get("/events/{event_id}/explain", tags=["events"], responses=answers(404, 422))
async def explain(event_id: EventId, gateway: Here, who: Reader) -> Tree:
    """The causal tree of an event: its causes up to the root, then what came of it, and who made what of each."""
    try:
        explanation = await gateway.explain(event_id)
    except LookupError as error:
        raise _unknown_event() from error
    if not who.may_read(explanation.event.type):
        raise _unknown_event()
    return _tree(explanation, who)


def _unknown_event() -> Problem:
    return Problem(404, "unknown_event", "no event of this id is kept")


def _tree(explanation: Explanation, who: Principal) -> Tree:
    walked = explanation.walk()
    readable = [(depth, event) for depth, event in walked if who.may_read(event.type)]
    shown = _fitting([body_of(event) for _, event in readable[:_NODES]])
    nodes = [
        Node(
            depth=depth,
            event=_shown(body),
            after_cause_s=explanation.after_cause_s(event),
            handled=[HandledBody(**made._asdict()) for made in explanation.handled.get(event.event_id, ())],
        )
        for (depth, event), body in zip(readable, shown, strict=False)
    ]
    return Tree(event_id=explanation.event.event_id, nodes=nodes, hidden=len(walked) - len(nodes))


@router.get("/subscriptions", tags=["bus"])
async def subscriptions(gateway: Here, _who: Reader) -> Subscriptions:
    """Who listens to what, and how far it is."""
    return Subscriptions(subscriptions=[_row(row) for row in gateway.bus.stats().subscriptions])


def _row(row: SubscriptionStats) -> SubscriptionBody:
    return SubscriptionBody(**{name: getattr(row, name) for name in SubscriptionBody.model_fields})


@router.get("/stats", tags=["bus"])
async def stats(gateway: Here, _who: Reader) -> StatsBody:
    """The bus in a few numbers, and how many clients are connected."""
    return StatsBody.model_validate({**gateway.bus.get_stats(), "clients": len(gateway.sockets.hub)})


@router.get("/dead-letters", tags=["dead letters"], responses=answers(422))
async def dead_letters(gateway: Here, who: Reader, after: After = 0, limit: Limit = 100) -> Letters:
    """What nobody could handle, oldest first."""
    letters = [letter for letter in await gateway.bus.dead_letters.list() if who.may_read(letter.event.type)]
    later = [letter for letter in letters if letter.id > after]
    bodies = _fitting([body_of(letter.event) for letter in later[:limit]])
    page = [_letter(letter, body) for letter, body in zip(later, bodies, strict=False)]
    following = page[-1].id if len(later) > len(page) else None
    return Letters(letters=page, total=len(letters), next=following)


def _letter(letter: DeadLetter, body: bytes) -> LetterBody:
    return LetterBody(
        id=letter.id,
        subscription=letter.subscription,
        reason=letter.reason.partition("\n")[0],
        error=letter.error.partition("\n")[0],
        attempts=letter.attempts,
        first_failed=letter.first_failed.isoformat(),
        last_failed=letter.last_failed.isoformat(),
        event=_shown(body),
    )


def _fitting(bodies: list[bytes]) -> list[bytes]:
    """Those that one answer has room for: the first, and what fits behind it."""
    sizes = accumulate(map(len, bodies), initial=0)
    return [body for body, before in zip(bodies, sizes, strict=False) if before < _PAGE_BYTES]


def _shown(body: bytes) -> EventBody:
    fields: dict[str, Any] = from_json(body)
    return EventBody.model_construct(None, **fields)


def _raw(body: bytes) -> Response:
    return Response(body, media_type="application/json")
