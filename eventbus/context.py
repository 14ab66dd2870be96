"""Context: what a handler sees of its publisher, and how the bus knows that a publish comes from inside a handler.

A handler runs in a copy of the context its publisher had, with a fresh decimal context; what it changes there is seen by
nobody else. `Cell` is the mark that a running delivery leaves in that copy: child tasks and threads inherit it.
"""

from __future__ import annotations

import decimal
import gc
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, ContextVar, copy_context
from typing import Any

from eventbus.event import Event


class Cell:
    """The delivery that this code runs inside of: its event, how far it is from the root, and whether it still runs.

    Deliveries one after the other may share a cell, and the context that it marks, for as long as none of them leaves anything
    behind there.
    """

    __slots__ = ("base", "content", "event", "hops", "live", "subscription")

    def __init__(self, event: Event | None, hops: int, subscription: str) -> None:
        self.event = event
        self.hops = hops
        self.subscription = subscription
        self.live = True
        self.base: Context | None = None  # of a shared context: what it is a copy of
        self.content: object = (
            None  # and what its own copies share with it: its reference count tells how many there are
        )

    def shared_context(self, base: Context) -> Context:
        """A copy of `base` for deliveries that share this cell."""
        context = base.copy()
        context.run(CURRENT.set, self)
        self.base, self.content = base, _content(context)
        return context

    def base_of_effects(self) -> Context | None:
        """What handlers of an event published here and now get a copy of, if the shared context is still as it was."""
        return self.base if self.base is not None and _content(copy_context()) is self.content else None


CURRENT: ContextVar[Cell | None] = ContextVar("eventbus_current", default=None)


def _content(context: Context) -> object:
    """The immutable mapping inside a context that nobody is in. Copies share it until they are written to."""
    return gc.get_referents(context)[-1]


def _decimal_variable() -> ContextVar[Any]:
    scratch = Context()
    scratch.run(decimal.getcontext)
    return next(iter(scratch))


_DECIMAL = _decimal_variable()
_IMMUTABLE: tuple[type, ...] = (str, int, float, bool, bytes, type(None))


def without_decimal(context: Context) -> Context:
    """`context` without its decimal context.

    That one is mutable and shared by every copy of a context: a handler that sets its precision would round somebody
    else's money. Where it is unset, the first use of `decimal` makes a fresh one.
    """
    if _DECIMAL not in context:
        return context
    bare = Context()
    for variable, value in context.items():
        if variable is not _DECIMAL:
            bare.run(variable.set, value)
    return bare


def is_comparable(context: Context) -> bool:
    """May equality stand for identity in this context? Only where no value could equal another object and yet differ."""
    return all(type(value) in _IMMUTABLE or _compares_by_identity(type(value)) for value in context.values())


def _compares_by_identity(cls: type) -> bool:
    equality: object = cls.__eq__
    return equality is object.__eq__


def same_context(one: Context, other: Context) -> bool:
    """Are they equal? Values that cannot even be compared make them different."""
    try:
        return one == other
    except Exception:  # noqa: BLE001 - a value's own __eq__ may raise anything, as arrays do
        return False


def inside_delivery() -> bool:
    """Is this code running inside a handler, directly, in a child task, or in a thread that copied the context?"""
    cell = CURRENT.get()
    return cell is not None and cell.live


class InContext:
    """Await a coroutine inside a context of its own, in the task that awaits.

    `on_suspend` is called once, before the first time the task is given up to the loop.
    """

    __slots__ = ("_context", "_coroutine", "_on_suspend")

    def __init__(
        self, coroutine: Coroutine[Any, Any, Any], context: Context, on_suspend: Callable[[], None] | None = None
    ) -> None:
        self._coroutine = coroutine
        self._context = context
        self._on_suspend = on_suspend

    def __await__(self) -> Generator[Any, Any, Any]:
        try:
            waiting = self._context.run(self._coroutine.send, None)
        except StopIteration as end:
            return end.value
        if self._on_suspend is not None:
            self._on_suspend()
        return (yield from resume(self._coroutine, self._context, waiting))


def resume(coroutine: Coroutine[Any, Any, Any], context: Context, waiting: Any) -> Generator[Any, Any, Any]:
    """Go on with a coroutine that waits for `waiting`, in its context, in the task that drives this; returns its result."""
    run, send, throw = context.run, coroutine.send, coroutine.throw
    try:
        while True:
            try:
                value = yield waiting
            except GeneratorExit:
                run(coroutine.close)
                raise
            except BaseException as thrown:  # noqa: BLE001 - whatever the loop throws in belongs to the coroutine
                waiting = run(throw, thrown)
            else:
                waiting = run(send, value)
    except StopIteration as end:
        return end.value
