"""Subscription: the handle a subscriber holds: cancel, pause, resume, statistics.

The movement behind it is its worker. A handle can be awaited, for code that is used to subscribing being asynchronous.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator
from typing import Any

from eventbus.context import CURRENT
from eventbus.errors import PolicyConflict, ReentrantStop
from eventbus.hands import LeaderHand, TaskHand
from eventbus.policy import Policy
from eventbus.runtime import Runtime
from eventbus.selector import Selector
from eventbus.stats import SubscriptionStats
from eventbus.threads import ThreadHand
from eventbus.worker import Worker


class Subscription:
    """A standing request for events. Made by `bus.subscribe`."""

    def __init__(
        self,
        selector: Selector,
        handler: Callable[..., Any],
        *,
        name: str,
        policy: Policy,
        runtime: Runtime,
        remove: Callable[[Subscription], None],
    ) -> None:
        self.selector = selector
        self.handler = handler
        self.policy = policy
        self._remove = remove
        self._runtime = runtime
        self.worker = Worker(
            handler,
            name=name,
            listens_to=selector.title,
            policy=policy,
            runtime=runtime,
            takes_delivery=takes_delivery(handler),
        )
        if not is_async(handler):
            self.worker.hand = ThreadHand(self.worker)
        elif policy.needs_task:
            self.worker.hand = TaskHand(self.worker)
        else:
            self.worker.hand = LeaderHand(self.worker)

    @property
    def name(self) -> str:
        return self.worker.name

    @property
    def is_gate(self) -> bool:
        """Do publishers have to wait for its queue?"""
        return self.policy.is_gate

    @property
    def is_active(self) -> bool:
        """Does it still receive events?"""
        return not self.worker.is_cancelled

    @property
    def is_paused(self) -> bool:
        return self.worker.is_paused

    def cancel(self, *, grace: float | None = None) -> Cancellation:
        """End it at once: no attempt starts any more, what waits is settled as cancelled.

        Await the result to wait for an attempt that is running, at most `grace` seconds (the bus's grace if left out); it gives
        the ids of events whose attempts still ran then. Raises `ReentrantStop` when awaited by its own handler.
        """
        self._remove(self)
        self.worker.cancel()
        return Cancellation(self, self._runtime.grace if grace is None else grace)

    def pause(self) -> None:
        """Start no attempt until `resume()`; events keep arriving and wait."""
        self.worker.is_paused = True
        self.worker.hand.recall()
        self._runtime.interrupt()

    def resume(self) -> None:
        """Go on where `pause()` stopped."""
        self.worker.is_paused = False
        self.worker.pump()

    def stats(self) -> SubscriptionStats:
        """The counts at this moment."""
        return self.worker.stats()

    def __await__(self) -> Generator[Any, None, Subscription]:
        yield from ()  # ready at once
        return self

    def __repr__(self) -> str:
        return f"<Subscription {self.name!r} to {self.selector.title!r}>"


class Cancellation:
    """A cancelled subscription; await it to know that nothing runs any more."""

    def __init__(self, subscription: Subscription, grace: float) -> None:
        self._worker = subscription.worker
        self._grace = grace

    def __await__(self) -> Generator[Any, Any, tuple[str, ...]]:
        cell = CURRENT.get()
        if cell is not None and cell.live and cell.subscription == self._worker.name:
            raise ReentrantStop("subscription.cancel()")
        return self._wait().__await__()

    async def _wait(self) -> tuple[str, ...]:
        return tuple(event.event_id for event in await self._worker.quiet(self._grace))


def is_async(handler: Callable[..., Any]) -> bool:
    """Is it sure to return an awaitable? Partials, bound methods and callable objects included."""
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(type(handler).__call__)


def takes_delivery(handler: Callable[..., Any]) -> bool:
    """Does it want `(event, delivery)`: two required positional parameters? Raises `PolicyConflict` for what cannot be called so."""
    try:
        parameters = inspect.signature(handler).parameters.values()
    except (TypeError, ValueError):
        return False  # a builtin without a signature takes the event
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = sum(p.default is p.empty for p in positional)
    keyword_only = any(p.kind is p.KEYWORD_ONLY and p.default is p.empty for p in parameters)
    if required > 2 or keyword_only or not (positional or any(p.kind is p.VAR_POSITIONAL for p in parameters)):
        raise PolicyConflict("handler", f"{handler!r} must take (event) or (event, delivery)")
    return required == 2


def title_of(handler: Callable[..., Any]) -> str:
    """A readable name for statistics and logs."""
    inner = getattr(handler, "func", handler)
    return getattr(inner, "__qualname__", None) or type(inner).__qualname__
