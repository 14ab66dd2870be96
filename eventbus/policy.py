"""Policy: what a subscription wants, as values. Decisions are made here and acted on elsewhere.

What makes no sense is refused when the value is made.
The worker asks `Policy.after(failure)`; the mailbox asks `Policy.overflow_for(spec)`. Knows no queue, no loop, no handler.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from eventbus.bounds import CENTURY, callable_with, number, seconds, whole, word
from eventbus.errors import PolicyConflict, Reject, RetryLater
from eventbus.failure import leaves
from eventbus.kind import EventSpec, Kind
from eventbus.wording import shown, text_of

if TYPE_CHECKING:
    from eventbus.event import Event

UNPLANNED_ATTEMPTS = 10
"""What RetryLater may ask for, and what processes may die of, where no retry policy says otherwise."""


class Overflow(StrEnum):
    """What a full mailbox does."""

    BLOCK = "block"  # lossless: the door makes publishers wait
    REJECT = "reject"  # lossless for what is accepted: publish raises QueueFull
    DROP_OLDEST = "drop_oldest"
    DROP_NEWEST = "drop_newest"
    LATEST_BY_KEY = "latest_by_key"  # the newest value per key replaces the one that waits

    @property
    def is_lossy(self) -> bool:
        return self in _LOSSY


_LOSSY = frozenset({Overflow.DROP_OLDEST, Overflow.DROP_NEWEST, Overflow.LATEST_BY_KEY})
_NEVER_DROPPED = frozenset({Kind.EXECUTION, Kind.CONTROL})


class OnFailure(StrEnum):
    """What becomes of a delivery that failed for good."""

    DEAD_LETTER = "dead_letter"  # kept, listed, can be redriven
    DROP = "drop"  # counted and logged only
    HALT = "halt"  # kept, and the bus halts: EXECUTION events are refused until rearmed


class Default(Enum):
    """Stands where an argument was left out whose `None` has a meaning of its own."""

    DEFAULT = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """When to try again: at most `attempts` in all, `delay * factor ** n` seconds apart, with full jitter.

    A pause is never longer than `max_delay`: 30 seconds, or `delay` if that is longer; None is without end. `on` names the
    exceptions worth another attempt (any iterable of classes; a group is retried when every exception in it may be). A
    retrying event blocks its key unless `out_of_order`. Raises `PolicyConflict` for what cannot be.
    """

    attempts: int = 3
    delay: float = 0.05
    factor: float = 2.0
    max_delay: float | Default | None = Default.DEFAULT
    jitter: bool = True
    on: Iterable[type[BaseException]] = (Exception,)
    out_of_order: bool = False

    def __post_init__(self) -> None:
        whole("retry.attempts", self.attempts)
        seconds("retry.delay", self.delay, zero=True)
        number("retry.factor", self.factor, least=1)
        for name in ("jitter", "out_of_order"):
            if not isinstance(getattr(self, name), bool):
                raise PolicyConflict(f"retry.{name}", f"{shown(getattr(self, name))} is neither True nor False")
        if isinstance(self.max_delay, Default):
            object.__setattr__(self, "max_delay", max(_MAX_DELAY, self.delay))
        elif self.max_delay is not None and seconds("retry.max_delay", self.max_delay, zero=True) < self.delay:
            raise PolicyConflict("retry.max_delay", f"{self.max_delay:g} is less than delay, which is {self.delay:g}")
        object.__setattr__(self, "on", _exceptions(self.on))

    def pause(self, attempt: int, rng: random.Random) -> float:
        """Seconds to wait after attempt number `attempt` (from 1) failed."""
        longest = self.max_delay if isinstance(self.max_delay, int | float) else CENTURY
        try:
            ceiling = min(longest, self.delay * self.factor ** (attempt - 1))
        except OverflowError:  # beyond any float, and any cap
            ceiling = longest
        return rng.uniform(0.0, ceiling) if self.jitter else ceiling

    def covers(self, failure: BaseException) -> bool:
        """Is this exception (no group) worth another attempt?"""
        return isinstance(failure, tuple(self.on))


_MAX_DELAY = 30.0


def _exceptions(on: object) -> tuple[type[BaseException], ...]:
    try:
        classes: tuple[object, ...] = () if isinstance(on, str | type) else tuple(on)  # type: ignore[arg-type] # tried
    except Exception as error:
        raise PolicyConflict("retry.on", f"{shown(on)} is no list of exceptions: use on=(OSError,)") from error
    if not classes or not all(isinstance(one, type) and issubclass(one, BaseException) for one in classes):
        raise PolicyConflict("retry.on", f"{shown(on)} is no list of exceptions: use on=(OSError,)")
    if any(issubclass(one, BaseExceptionGroup) for one in classes):  # type: ignore[arg-type] # looked at above
        raise PolicyConflict("retry.on", "a group is looked into: name the exceptions that it may hold")
    return classes  # type: ignore[return-value] # looked at above


@dataclass(frozen=True, slots=True)
class RetryIn:
    """Try again after so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """No further attempt; the reason goes into the dead letter."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Everything a subscription may ask for. Raises `PolicyConflict`, naming the argument, for what cannot be."""

    where: Callable[[Any], bool] | None = None
    concurrency: int = 1
    key: str | Callable[[Any], Any] | None = None  # deliveries of one key run one after another
    timeout: float | None = None  # seconds an attempt may run
    retry: Retry | None = None
    overflow: Overflow | None = None  # None: as the kind of each event says
    queue_size: int | None = None
    max_age: float | None = None  # seconds an event may wait
    on_failure: OnFailure = OnFailure.DEAD_LETTER
    isolation: Literal["auto", "task"] = "auto"

    def __post_init__(self) -> None:
        """What is of no use is refused now, not when an event comes. A word stands for its enum member."""
        whole("concurrency", self.concurrency)
        if self.queue_size is not None:
            whole("queue_size", self.queue_size)
        if self.timeout is not None:
            seconds("timeout", self.timeout)
        if self.max_age is not None:
            seconds("max_age", self.max_age)
        if self.overflow is not None:
            object.__setattr__(self, "overflow", _member("overflow", Overflow, self.overflow))
        object.__setattr__(self, "on_failure", _member("on_failure", OnFailure, self.on_failure))
        isolation: object = self.isolation
        if not isinstance(isolation, str) or isolation not in ("auto", "task"):
            raise PolicyConflict("isolation", f"{shown(isolation)} is unknown: use 'auto' or 'task'")
        if self.retry is not None and not isinstance(self.retry, Retry):
            raise PolicyConflict("retry", f"{shown(self.retry)} is no Retry: use Retry(attempts=3)")
        if self.where is not None:
            callable_with("where", self.where, "an event")
        if self.key is not None and not callable(self.key):
            word("key", self.key)
        if self.overflow in (Overflow.DROP_OLDEST, Overflow.DROP_NEWEST, Overflow.REJECT) and self.queue_size is None:
            raise PolicyConflict("overflow", f"{self.overflow} needs queue_size, the size at which it acts")

    def check_kind(self, spec: EventSpec) -> None:
        """Raise `PolicyConflict` if events of this class may not be treated so."""
        if spec.kind in _NEVER_DROPPED:
            if self.overflow is not None and self.overflow.is_lossy:
                raise PolicyConflict(
                    "overflow", f"{spec.type} is of kind {spec.kind}, which is never dropped: use block"
                )
            if self.max_age is not None and spec.kind is Kind.EXECUTION:
                raise PolicyConflict(
                    "max_age", f"{spec.type} is of kind {spec.kind}, which never expires: leave it out"
                )

    def overflow_for(self, spec: EventSpec) -> Overflow:
        """What a full mailbox does with an event of this class."""
        if spec.kind in _NEVER_DROPPED:
            return Overflow.BLOCK
        if self.overflow is not None:
            return self.overflow
        return Overflow.LATEST_BY_KEY if spec.kind is Kind.QUOTE else Overflow.BLOCK

    def max_age_for(self, spec: EventSpec) -> float | None:
        """Seconds an event of this class may wait for its first attempt."""
        ages = [age for age in (self.max_age, spec.max_age) if age is not None]
        return min(ages) if ages and spec.kind is not Kind.EXECUTION else None

    def key_of(self, event: Event) -> Any:
        """What orders this event among the others of the subscription; None: nothing does."""
        match self.key:
            case None:
                name = event.__event__.key
                return None if name is None else event.get(name)
            case str() as name:
                return event.get(name)
            case function:
                return function(event)

    def after(self, failure: BaseException, *, attempt: int, rng: random.Random) -> RetryIn | GiveUp:
        """What to do after attempt number `attempt` (from 1) ended with `failure`. Never raises.

        Of a group the leaves decide: one `Reject` rejects it, every one must be worth another attempt, and the longest
        `RetryLater` counts.
        """
        try:
            return self._after(failure, attempt, rng)
        except BaseException as broken:  # noqa: BLE001 - whatever a user's exception does when it is looked at
            return GiveUp(f"handler failed, and its exception cannot be looked at: {type(broken).__name__}")

    def _after(self, failure: BaseException, attempt: int, rng: random.Random) -> RetryIn | GiveUp:
        later, others = list[RetryLater](), list[BaseException]()
        for cause in leaves(failure):
            if isinstance(cause, Reject):
                return GiveUp(f"rejected: {text_of(cause.reason)}")
            if isinstance(cause, RetryLater):
                later.append(cause)
            else:
                others.append(cause)
        if others and (self.retry is None or not all(map(self.retry.covers, others))):
            return GiveUp("handler failed")
        if attempt >= (self.retry.attempts if self.retry else UNPLANNED_ATTEMPTS):
            return GiveUp(
                f"handler failed {attempt} times" if others else f"still 'retry later' after {attempt} attempts"
            )
        asked = [seconds("after", cause.after, zero=True) for cause in later if cause.after is not None]
        return RetryIn(max(asked) if asked else (self.retry or _DEFAULT_RETRY).pause(attempt, rng))

    @property
    def is_gate(self) -> bool:
        """Is this a lossless subscription with a queue of its own, which publishers have to wait for?"""
        return self.queue_size is not None and not (self.overflow is not None and self.overflow.is_lossy)


_DEFAULT_RETRY = Retry()
_Word = TypeVar("_Word", bound=StrEnum)


def _member(argument: str, words: type[_Word], value: object) -> _Word:
    if isinstance(value, str) and value in list(words):
        return words(value)
    raise PolicyConflict(argument, f"{shown(value)} is unknown: use one of {', '.join(words)}")
