"""Reading: the numbers of a bus at one moment, under label values that are safe to publish.

A metrics page promises more than a snapshot: its counters never go down although subscriptions come and go, and its labels are
bounded although types and names are data. Both are kept here. Knows no metrics format; runs on the loop thread of the bus.
"""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from eventbus import event_class
from eventbus.errors import JournalError
from eventbus.kind import Kind
from eventbus.stats import OTHER, BusStats, GroupStats, Histogram, SubscriptionStats

if TYPE_CHECKING:
    from eventbus.dead_letter import DeadLetters
    from eventbus.journal.protocol import Journal
    from eventbus.journal.values import JournalStats
    from eventbus.subscription import Subscription

OUTCOMES = ("succeeded", "dead_lettered", "dropped", "expired", "cancelled")
COUNTS = ("accepted", *OUTCOMES, "conflated", "gaps", "errors", "retried", "abandoned")
LEVELS = ("pending", "queued", "in_flight", "retry_wait")
EDGES = tuple(2**power / 1e9 for power in range(10, 35))  # seconds: 1 us to 17 s, edges that `Histogram` has too
_ERRORS = 8  # that have a label of their own; what comes later is `other`


class Observed(Protocol):
    """What is read of a bus."""

    @property
    def name(self) -> str: ...

    @property
    def capabilities(self) -> frozenset[str]: ...

    @property
    def journal(self) -> Journal: ...

    @property
    def dead_letters(self) -> DeadLetters: ...

    @property
    def is_halted(self) -> bool: ...

    @property
    def is_running(self) -> bool: ...

    @property
    def subscriptions(self) -> tuple[Subscription, ...]: ...

    def stats(self) -> BusStats: ...


@dataclass(slots=True)
class Durations:
    """A histogram with the fixed `EDGES`: how many entries lie at or below each, how many there are, their sum in seconds."""

    below: list[int] = field(default_factory=lambda: [0] * len(EDGES))
    count: int = 0
    total_s: float = 0.0

    @classmethod
    def of(cls, histogram: Histogram) -> Durations:
        """A copy: the histogram itself goes on counting."""
        durations = cls(count=histogram.count, total_s=histogram.total_ns / 1e9)
        buckets = histogram.buckets()
        uppers = [upper for upper, _cumulative in buckets]
        for place, edge in enumerate(EDGES):
            fitting = bisect.bisect_right(uppers, edge)
            durations.below[place] = buckets[fitting - 1][1] if fitting else 0
        return durations

    def add(self, other: Durations) -> None:
        self.below = [mine + more for mine, more in zip(self.below, other.below, strict=True)]
        self.count += other.count
        self.total_s += other.total_s


@dataclass(slots=True)
class Row:
    """The numbers under one value of the label `subscription`."""

    counts: Counter[str] = field(default_factory=Counter)
    levels: Counter[str] = field(default_factory=Counter)
    oldest_age_s: float = 0.0
    ran: Durations = field(default_factory=Durations)

    @classmethod
    def of(cls, stats: SubscriptionStats) -> Row:
        return cls(
            Counter({name: getattr(stats, name) for name in COUNTS}),
            Counter({name: getattr(stats, name) for name in LEVELS}),
            stats.oldest_age_s,
            Durations.of(stats.ran),
        )

    def add(self, other: Row) -> None:
        self.counts.update(other.counts)
        self.levels.update(other.levels)
        self.oldest_age_s = max(self.oldest_age_s, other.oldest_age_s)
        self.ran.add(other.ran)


@dataclass(frozen=True, slots=True)
class Reading:
    """What one metrics page shows of the bus."""

    bus: str  # its name
    stats: BusStats
    rows: dict[str, Row]  # by subscription
    dispatched: Counter[tuple[str, str]]  # by type and kind
    raised: Counter[str]  # attempts, by the name of the exception
    groups: dict[str, GroupStats]
    journal: JournalStats | None  # of a bus that has one, while it is open
    queue_age_s: float
    dispatch: Durations
    dead_letters: int
    is_halted: bool
    is_running: bool


class Reader:
    """Takes readings of one bus, and remembers from one to the next what keeps counters from going down."""

    def __init__(self, bus: Observed, subscriptions: int, types: int) -> None:
        self._bus = bus
        self._cap = subscriptions  # that have rows of their own, and as many groups
        self._types_cap = types
        self._labels: dict[str, tuple[str, str]] = {}  # type -> its labels, for good from the first reading on
        self._labelled = 0  # types with a label of their own
        self._names: set[str] = set()
        self._groups: set[str] = set()
        self._followed: dict[Subscription, str] = {}
        self._ended: dict[str, Row] = {}

    def read(self) -> Reading:
        """The numbers now. To be called where nothing else runs the bus: on its loop thread, or while it has none."""
        bus = self._bus
        stats = bus.stats()
        return Reading(
            bus=bus.name,
            stats=stats,
            rows=self._rows(stats, bus.subscriptions),
            dispatched=self._dispatched(stats, bus.subscriptions),
            raised=labelled(stats.raised, _ERRORS),
            groups=self._group_rows(stats),
            journal=self._journal(),
            queue_age_s=max([stats.oldest_age_s, *(row.oldest_age_s for row in stats.subscriptions)]),
            dispatch=Durations.of(stats.dispatch),
            dead_letters=bus.dead_letters.count(),
            is_halted=bus.is_halted,
            is_running=bus.is_running,
        )

    def _rows(self, stats: BusStats, live: Iterable[Subscription]) -> dict[str, Row]:
        """Rows that add up to the totals. A cancelled subscription is followed to its end, and its counts stay with its name."""
        for subscription in live:
            if subscription not in self._followed and self._has_label(subscription.name):
                self._followed[subscription] = subscription.name
        rows: dict[str, Row] = {}
        for name, ended in self._ended.items():
            rows.setdefault(name, Row()).add(ended)
        for subscription, name in list(self._followed.items()):
            row = Row.of(subscription.stats())
            rows.setdefault(name, Row()).add(row)
            if not subscription.is_active and not row.levels["pending"]:
                del self._followed[subscription]
                self._ended.setdefault(name, Row()).add(row)
        rows.setdefault(OTHER, Row()).add(_unseen(stats, rows))
        return rows

    def _has_label(self, name: str) -> bool:
        if name not in self._names and len(self._names) < self._cap:
            self._names.add(name)
        return name in self._names

    def _group_rows(self, stats: BusStats) -> dict[str, GroupStats]:
        """Groups by name; those without a label are one: the lag of the one furthest behind, and all parts together."""
        rows: dict[str, GroupStats] = {}
        for group in stats.groups:
            if group.name in self._groups or len(self._groups) < self._cap:
                self._groups.add(group.name)
                rows[group.name] = group
            else:
                others = rows.get(OTHER, GroupStats(OTHER, 0, 0, 0))
                lag = max(others.lag, group.lag)
                rows[OTHER] = GroupStats(OTHER, lag, others.parts + group.parts, others.held + group.held)
        return rows

    def _journal(self) -> JournalStats | None:
        if "replay" not in self._bus.capabilities:
            return None
        try:
            return self._bus.journal.stats()
        except JournalError:
            return None  # it is not open

    def _dispatched(self, stats: BusStats, live: Iterable[Subscription]) -> Counter[tuple[str, str]]:
        """Events by type and kind. A type is shown if a class or a subscription names it: others are data, and may be anything."""
        named = {subscription.selector.title for subscription in live}
        shown: Counter[tuple[str, str]] = Counter()
        for name, row in stats.types.items():
            labels = self._labels.get(name)
            if labels is None:
                labels = self._labels[name] = self._type_labels(name, named)
            shown[labels] += row.dispatched
        # The bus counts only so many types by name.
        shown[OTHER, OTHER] += stats.dispatched - shown.total()
        return shown

    def _type_labels(self, name: str, named: set[str]) -> tuple[str, str]:
        cls = event_class(name)
        if (cls is None and name not in named) or self._labelled >= self._types_cap:
            return OTHER, OTHER
        self._labelled += 1
        return name, str(Kind.EVENT if cls is None else cls.__event__.kind)


def labelled(counts: Mapping[str, int] | Mapping[int, int], most: int) -> Counter[str]:
    """Counts by label, at most so many and `other`; they stand in the order in which they came first, so each keeps its label."""
    shown = Counter({OTHER: 0})
    for place, (name, count) in enumerate(counts.items()):
        shown[str(name) if place < most else OTHER] += count
    return shown


def _unseen(stats: BusStats, rows: Mapping[str, Row]) -> Row:
    """What the bus counted under no row: subscriptions without one, and those that came and went between two readings."""
    seen = rows.values()
    others = [row for row in stats.subscriptions if row.name not in rows]
    unseen = Row(
        oldest_age_s=max((row.oldest_age_s for row in others), default=0.0),
        ran=Durations(
            count=stats.attempts - sum(row.ran.count for row in seen),
            total_s=stats.ran_s - sum(row.ran.total_s for row in seen),
        ),
    )
    for name in (*OUTCOMES, "conflated", "gaps", "errors", "retried", "abandoned"):
        unseen.counts[name] = getattr(stats, name) - sum(row.counts[name] for row in seen)
    unseen.levels["in_flight"] = stats.in_flight - sum(row.levels["in_flight"] for row in seen)
    unseen.levels["pending"] = stats.pending - stats.queue_size - sum(row.levels["pending"] for row in seen)
    unseen.levels["retry_wait"] = sum(row.retry_wait for row in others)
    unseen.levels["queued"] = unseen.levels["pending"] - unseen.levels["in_flight"] - unseen.levels["retry_wait"]
    unseen.counts["accepted"] = unseen.levels["pending"] + sum(unseen.counts[name] for name in OUTCOMES)
    return unseen
