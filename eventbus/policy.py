"""Policy: what a subscription wants, as values. Decisions are made here and acted on elsewhere.

The worker asks `Policy.after(failure)`; the mailbox asks `Policy.overflow_for(spec)`. Knows no queue, no loop, no handler.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from eventbus.errors import PolicyConflict, Reject, RetryLater
from eventbus.event import Event, EventSpec, Kind

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """When to try again: at most `attempts` in all, `delay * factor ** n` seconds apart, with full jitter.

    `on` names the exceptions worth another attempt. A retrying event blocks its key unless `out_of_order`.
    """

    attempts: int = 3
    delay: float = 0.05
    factor: float = 2.0
    max_delay: float = 30.0
    jitter: bool = True
    on: tuple[type[BaseException], ...] = (Exception,)
    out_of_order: bool = False

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise PolicyConflict("retry.attempts", f"{self.attempts} is not a number of attempts: use 1 or more")
        if self.delay < 0 or self.max_delay < 0 or self.factor < 1:
            raise PolicyConflict("retry", "delay and max_delay must not be negative, factor must be 1 or more")

    def pause(self, attempt: int, rng: random.Random) -> float:
        """Seconds to wait after attempt number `attempt` (from 1) failed."""
        try:
            ceiling = min(self.max_delay, self.delay * self.factor ** (attempt - 1))
        except OverflowError:  # beyond any float, and any cap
            ceiling = self.max_delay
        return rng.uniform(0.0, ceiling) if self.jitter else ceiling


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
        self._check_types()
        for name in ("concurrency", "queue_size"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise PolicyConflict(name, f"{value!r} is not a positive number")
        for name in ("timeout", "max_age"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise PolicyConflict(name, f"{value!r} is not a positive number of seconds")
        if self.isolation not in ("auto", "task"):
            raise PolicyConflict("isolation", f"{self.isolation!r} is unknown: use 'auto' or 'task'")
        if self.overflow in (Overflow.DROP_OLDEST, Overflow.DROP_NEWEST, Overflow.REJECT) and self.queue_size is None:
            raise PolicyConflict("overflow", f"{self.overflow} needs queue_size, the size at which it acts")

    def _check_types(self) -> None:
        """A word stands for its enum member; what is of no use is refused now, not when an event comes."""
        for name, words in (("overflow", Overflow), ("on_failure", OnFailure)):
            value = getattr(self, name)
            if isinstance(value, str):
                if value not in list(words):
                    raise PolicyConflict(name, f"{value!r} is unknown: use one of {', '.join(words)}")
                object.__setattr__(self, name, words(value))
        for name in ("timeout", "max_age"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, int | float):
                raise PolicyConflict(name, f"{value!r} is not a number of seconds")
        if self.retry is not None and not isinstance(self.retry, Retry):
            raise PolicyConflict("retry", f"{self.retry!r} is no Retry: use Retry(attempts=3)")
        if self.where is not None and not callable(self.where):
            raise PolicyConflict("where", f"{self.where!r} cannot be called with an event")
        if self.key is not None and not isinstance(self.key, str) and not callable(self.key):
            raise PolicyConflict("key", f"{self.key!r} is neither the name of a field nor a function of the event")

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
        """What to do after attempt number `attempt` (from 1) ended with `failure`."""
        if isinstance(failure, Reject):
            return GiveUp(f"rejected: {failure.reason}")
        if isinstance(failure, RetryLater):
            limit = self.retry.attempts if self.retry else UNPLANNED_ATTEMPTS
            if attempt >= limit:
                return GiveUp(f"still 'retry later' after {attempt} attempts")
            if failure.after is not None:
                return RetryIn(failure.after)
            return RetryIn((self.retry or _DEFAULT_RETRY).pause(attempt, rng))
        if self.retry is None or not isinstance(failure, self.retry.on):
            return GiveUp("handler failed")
        if attempt >= self.retry.attempts:
            return GiveUp(f"handler failed {attempt} times")
        return RetryIn(self.retry.pause(attempt, rng))

    @property
    def is_gate(self) -> bool:
        """Is this a lossless subscription with a queue of its own, which publishers have to wait for?"""
        return self.queue_size is not None and not (self.overflow is not None and self.overflow.is_lossy)

    @property
    def needs_task(self) -> bool:
        """Must every delivery have a task of its own?"""
        return self.isolation == "task" or self.timeout is not None or self.concurrency > 1


_DEFAULT_RETRY = Retry()
