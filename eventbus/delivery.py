"""Delivery: one event on its way to one subscription, what the mailbox holds and the worker runs.

A handler that takes two arguments gets it as its second.
"""

from __future__ import annotations

from collections.abc import Hashable
from contextvars import Context
from datetime import datetime
from typing import Any

from eventbus.event import Event
from eventbus.receipt import Flight


class Delivery:
    """One handing-over of an event. Handlers may read `event`, `subscription`, `attempt` (from 1), `deadline` (loop time at which
    this attempt is cancelled, or None), and answer a request with `reply(value)`."""

    __slots__ = (
        "accepted_ns",
        "attempt",
        "broken",
        "context",
        "deadline",
        "error",
        "event",
        "first_failed",
        "flight",
        "heir",
        "hops",
        "is_lossless",
        "is_urgent",
        "key",
        "max_age",
        "offset",
        "order",
        "queued_ns",
        "reply_value",
        "subscription",
    )

    def __init__(
        self,
        event: Event,
        *,
        subscription: str,
        context: Context,
        hops: int,
        accepted_ns: int,
        flight: Flight | None,
        order: int = 0,
        is_lossless: bool = True,
        is_urgent: bool = False,
        key: Hashable = None,
        max_age: float | None = None,
        offset: int | None = None,
    ) -> None:
        self.event = event
        self.subscription = subscription
        self.context = context
        self.hops = hops
        self.accepted_ns = accepted_ns
        self.flight = flight
        self.order = order  # grows with acceptance
        self.is_lossless = is_lossless
        self.is_urgent = is_urgent
        self.key = key
        self.max_age = max_age
        self.offset = offset
        self.attempt = 0
        self.broken: BaseException | None = None  # what working out its key raised: it gets no attempt
        self.queued_ns = 0
        self.deadline: float | None = None
        self.first_failed: datetime | None = None
        self.error = ""
        self.heir: Delivery | None = None  # the newer value that took this one's place in the mailbox
        self.reply_value: Any = None

    def reply(self, value: Any) -> None:
        """Answer a request: what `await bus.request(...)` returns."""
        self.reply_value = value

    def __repr__(self) -> str:
        return f"Delivery({self.event}, subscription={self.subscription!r}, attempt={self.attempt})"
