"""Context: what a handler sees of its publisher, and how the bus knows that something happens inside a delivery.

A handler runs in a copy of the context its publisher had, without the decimal context; what it changes there is seen by nobody
else. `CURRENT` holds the mark that a running delivery leaves in that copy: whatever the handler starts inherits it.
"""

from __future__ import annotations

import decimal
from contextvars import Context, ContextVar, copy_context
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from eventbus.event import Event
    from eventbus.road.worker import Worker


class Cell:
    """The inside of deliveries of one subscription, one after the other.

    What a handler leaves running keeps this alive, never the burst. `at` is the place of the event whose attempt runs, -1 when
    none does; a mark made for that place is inside, one made for an earlier place is not.
    """

    __slots__ = ("at", "base", "clean", "hops", "look", "started_ns", "worker")

    def __init__(self, base: Context, hops: int, worker: Worker) -> None:
        self.base = base  # what the handlers get a copy of
        self.hops = hops  # causes between the root and the events handled here
        self.worker = worker
        self.at = -1
        self.look = False  # something must be looked at before the next event
        self.clean: Context | None = None  # the running context as the handler found it
        self.started_ns = 0

    def enter(self, place: int, now_ns: int) -> None:
        """The attempt of the event at that place begins."""
        self.at, self.started_ns = place, now_ns

    def leave_clean(self, context: Context) -> None:
        """That is the context as the handler finds it."""
        self.clean = context

    def close(self) -> None:
        """No attempt runs here any more."""
        self.at, self.clean = -1, None

    def interrupt(self) -> None:
        """Look up before the next event starts."""
        self.look = True


OUTSIDE: Final = Cell.__new__(Cell)  # stands where no attempt runs any more
OUTSIDE.at = -1
Mark = tuple[Cell, int, "Event"]  # who, which place, which event

CURRENT: ContextVar[Mark | None] = ContextVar("eventbus_current", default=None)


class Publishers:
    """The contexts of those who publish into one bus. They change seldom: the last one is kept."""

    def __init__(self) -> None:
        self._last: tuple[Context, Context, bool] = (Context(), Context(), True)

    def context(self, mark: Mark | None) -> tuple[Context, Context, bool]:
        """Of whoever publishes now; what handlers get of it; and whether equality may stand for identity there."""
        context = copy_context()
        last, base, exact = self._last
        if mark is None and exact and is_same(context, last):
            return self._last
        if mark is not None and mark[0].at == mark[1] and is_same(context, mark[0].clean):
            # The handler changed nothing: what it publishes has the context of its own publisher.
            return context, mark[0].base, exact if mark[0].base is base else is_exact(mark[0].base)
        if not exact or not is_same(context, last):
            self._last = context, without_decimal(context), is_exact(context)
        return self._last


def inside() -> Mark | None:
    """The running delivery that this code is inside of: in its handler, a child task, or a thread that copied the context."""
    mark = CURRENT.get()
    return mark if mark is not None and mark[0].at == mark[1] else None


def _decimal_variable() -> ContextVar[Any]:
    scratch = Context()
    scratch.run(decimal.getcontext)
    return next(iter(scratch))


DECIMAL = _decimal_variable()
_IMMUTABLE = frozenset({str, int, float, bool, bytes, type(None)})


def without_decimal(context: Context) -> Context:
    """`context` without its decimal context.

    That one is mutable and shared by every copy of a context: a handler that sets its precision would round somebody
    else's money. Where it is unset, the first use of `decimal` makes a fresh one.
    """
    if DECIMAL not in context:
        return context
    bare = Context()
    for variable, value in context.items():
        if variable is not DECIMAL:
            bare.run(variable.set, value)
    return bare


def is_exact(context: Context) -> bool:
    """May equality stand for identity in this context? Only where no value could equal another object and yet differ."""
    return all(
        variable in (CURRENT, DECIMAL) or type(value) in _IMMUTABLE or _compares_by_identity(type(value))
        for variable, value in context.items()
    )


def _compares_by_identity(cls: type) -> bool:
    equality: object = cls.__eq__
    return equality is object.__eq__


def is_same(one: Context, other: Context | None) -> bool:
    """Are they equal? Values that cannot even be compared make them different."""
    try:
        return one == other
    except BaseException:  # noqa: BLE001 - a value's own __eq__ may raise anything, as arrays do
        return False
