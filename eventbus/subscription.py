"""Subscription: the handle a subscriber holds: cancel, pause, resume, statistics.

The movement behind it is its worker. A handle can be awaited, for code that is used to subscribing being asynchronous.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from eventbus.bounds import patience
from eventbus.errors import PolicyConflict, ReentrantStop
from eventbus.road.context import inside

if TYPE_CHECKING:
    from eventbus.policy import Policy
    from eventbus.road.worker import Worker
    from eventbus.selector import Selector
    from eventbus.stats import SubscriptionStats


class Subscription:
    """A standing request for events. Made by `bus.subscribe`."""

    __slots__ = ("_remove", "error", "worker")

    def __init__(self, worker: Worker, remove: Callable[[Subscription], None]) -> None:
        self.worker = worker
        self.error: BaseException | None = None  # why it ended by itself
        self._remove = remove

    @property
    def name(self) -> str:
        return self.worker.name

    @property
    def selector(self) -> Selector:
        return self.worker.selector

    @property
    def handler(self) -> Callable[..., Any]:
        return self.worker.handler

    @property
    def policy(self) -> Policy:
        return self.worker.policy

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
        patience("grace", grace)
        self._remove(self)
        return Cancellation(self.worker, self.worker.lifetime.grace if grace is None else grace)

    def fail(self, error: BaseException) -> None:
        """It cannot go on: it ends, and `error` says why."""
        if self.error is None:
            self.error = error
        self._remove(self)

    def pause(self) -> None:
        """Start no attempt until `resume()`; events keep arriving and wait."""
        self.worker.pause()

    def resume(self) -> None:
        """Go on where `pause()` stopped."""
        self.worker.resume()

    def stats(self) -> SubscriptionStats:
        """The counts at this moment."""
        return self.worker.stats()

    def __await__(self) -> Generator[Any, None, Subscription]:
        """Ready at once, but for a group that other processes share: then it is there when this returns. Raises why it cannot be."""
        if self.worker.feed is not None:
            yield from self.worker.feed.ready().__await__()
        if self.error is not None:
            raise self.error
        return self

    def __repr__(self) -> str:
        return f"<Subscription {self.name!r} to {self.selector.title!r}>"


class Cancellation:
    """A cancelled subscription; await it to know that nothing runs any more."""

    def __init__(self, worker: Worker, grace: float) -> None:
        self._worker = worker
        self._grace = grace

    def __await__(self) -> Generator[Any, Any, tuple[str, ...]]:
        mark = inside()
        if mark is not None and mark[0].worker is self._worker:
            raise ReentrantStop("subscription.cancel()")
        return self._wait().__await__()

    async def _wait(self) -> tuple[str, ...]:
        return tuple(event.event_id for event in await self._worker.running.quiet(self._grace))


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
