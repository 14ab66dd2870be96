"""Bodies: what routes answer, as models, for the document of the routes and for whoever makes them. They know nothing."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Seq = Annotated[int, Field(ge=0, le=2**63 - 1, description="The number of an event in its log.")]


class Told(BaseModel):
    """What is answered."""

    model_config = ConfigDict(extra="forbid")


class Health(Told):
    """Is it well?"""

    status: str


class Status(Told):
    """Where the log stands, what can be done here, and whether the bus is halted."""

    epoch: str = Field(description="Which log the numbers are of.")
    seq: Seq = Field(description="The newest number.")
    oldest: Seq
    capabilities: list[str]
    views: list[str]
    halted: bool
    reason: str | None
    version: str


class ReceiptBody(Told):
    """The event was accepted. `seq` is known where there is a journal."""

    event_id: str
    seq: int | None
    durability: str


class Receipts(Told):
    """In the order of what was sent."""

    receipts: list[ReceiptBody]


class EventBody(BaseModel):
    """An event as clients see it."""

    model_config = ConfigDict(extra="allow")

    type: str
    event_id: str
    timestamp: str
    payload: dict[str, Any] | None


class Item(BaseModel):
    """An event with its number; none where it is not known."""

    model_config = ConfigDict(extra="allow")

    seq: int | None
    payload: EventBody


class Page(Told):
    """Events, oldest first. `next` is what to ask after for more; null at the end."""

    events: list[Item]
    next: int | None
    epoch: str


class HandledBody(Told):
    """What one subscription made of an event."""

    subscription: str
    status: str
    attempts: int
    queued_s: float | None
    ran_s: float | None


class Node(Told):
    """An event of the tree."""

    depth: int
    event: EventBody
    after_cause_s: float | None
    handled: list[HandledBody]


class Tree(Told):
    """Causes before effects. `hidden` counts events that the token may not read, and those for which there was no room."""

    event_id: str
    nodes: list[Node]
    hidden: int


class TypeBody(Told):
    """A registered event type."""

    type: str
    version: int
    kind: str
    key: str | None
    retain: bool
    publishable: bool
    description: str
    payload_schema: dict[str, Any]


class Types(Told):
    """Every registered type, by name."""

    types: list[TypeBody]


class SubscriptionBody(Told):
    """Who listens to what, and how far it is."""

    name: str
    selector: str
    accepted: int
    succeeded: int
    dead_lettered: int
    dropped: int
    expired: int
    pending: int
    queued: int
    in_flight: int
    errors: int
    retried: int
    oldest_age_s: float
    p50_ms: float
    p99_ms: float


class Subscriptions(Told):
    """The subscriptions of the bus."""

    subscriptions: list[SubscriptionBody]


class StatsBody(BaseModel):
    """The bus in a few numbers, and how many clients are connected."""

    model_config = ConfigDict(extra="allow")

    published: int
    dispatched: int
    clients: int


class LetterBody(Told):
    """A delivery that nobody could handle."""

    id: int
    subscription: str
    reason: str
    error: str
    attempts: int
    first_failed: str
    last_failed: str
    event: EventBody


class Letters(Told):
    """Dead letters, oldest first, and how many there are in all. `next` is what to ask after for more."""

    letters: list[LetterBody]
    total: int
    next: int | None


class Redriven(Told):
    """It is delivered again; how that ends comes as an event of type `system.dead_letter.redriven`."""

    redriven: int


class Purged(Told):
    """So many were removed."""

    purged: int


class Halt(Told):
    """The bus is halted; the token re-arms it."""

    token: str
    reason: str
    since: str


class Rearmed(Told):
    """The bus takes everything again."""

    halted: bool


class Ticket(Told):
    """Shown once instead of a token, by a page of the origin that asked."""

    ticket: str
    expires_in: int
