"""Stats: counters, latency histograms, and the frozen snapshots that are read from them.

Counting is plain integer arithmetic on the loop thread, flushed per batch; nothing is pushed anywhere, readers take a snapshot.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field

_STEPS = 4  # buckets per doubling: quantiles are within 25 %
_BUCKETS = 64 * _STEPS
_NOTES = 256  # sorted into buckets together


class Histogram:
    """Durations in logarithmic buckets: constant memory, quantiles within a bucket.

    A single duration is only noted: notes go into their buckets many at a time, for a fraction of the price. Any thread may read.
    """

    __slots__ = ("_count", "_counts", "_lock", "_notes", "_total_ns")

    def __init__(self, counts: list[int] | None = None, count: int = 0, total_ns: int = 0) -> None:
        self._counts = counts or [0] * _BUCKETS
        self._count = count
        self._total_ns = total_ns
        self._notes: list[int] = []
        self._lock = threading.Lock()

    def add(self, duration_ns: int, times: int = 1) -> None:
        """Enter `times` durations of `duration_ns` each."""
        self._total_ns += duration_ns * times
        if times == 1:
            self._notes.append(duration_ns)
            if len(self._notes) >= _NOTES:
                self._sort_notes()
        else:
            with self._lock:
                self._counts[_bucket(duration_ns)] += times
                self._count += times

    def _sort_notes(self) -> None:
        with self._lock:
            notes = self._notes[:]
            del self._notes[: len(notes)]  # what came in between stays for the next time
            notes.sort()
            start = 0
            while start < len(notes):
                bucket = _bucket(notes[start])
                end = bisect_left(notes, _end_ns(bucket), start)
                self._counts[bucket] += end - start
                start = end
            self._count += len(notes)

    def copy(self) -> Histogram:
        """What was entered so far; what is entered later is not in it."""
        self._sort_notes()
        with self._lock:
            return Histogram(self._counts[:], self._count, self._total_ns)

    @property
    def count(self) -> int:
        """Durations entered."""
        return self._count + len(self._notes)

    @property
    def total_ns(self) -> int:
        """Their sum."""
        return self._total_ns

    @property
    def counts(self) -> list[int]:
        """How many there are in each bucket."""
        self._sort_notes()
        return self._counts

    @property
    def mean_ns(self) -> float:
        return self.total_ns / self.count if self.count else 0.0

    def quantile(self, q: float) -> float:
        """The duration that a share `q` of the entries stays below, in seconds (upper edge of its bucket); 0.0 when empty."""
        if not self.count:
            return 0.0
        wanted = q * self.count
        seen = 0
        for bucket, count in enumerate(self.counts):
            seen += count
            if count and seen >= wanted:
                return _upper_edge_ns(bucket) / 1e9
        raise AssertionError("the buckets add up to count")

    def buckets(self) -> list[tuple[float, int]]:
        """Upper edges in seconds with cumulative counts, for the buckets up to the last one used."""
        edges: list[tuple[float, int]] = []
        seen = 0
        for bucket, count in enumerate(self.counts):
            if count:
                seen += count
                edges.append((_upper_edge_ns(bucket) / 1e9, seen))
        return edges


def _bucket(duration_ns: int) -> int:
    octave = duration_ns.bit_length()
    return octave * _STEPS + (duration_ns >> octave - 3 & 3) if octave >= 3 else duration_ns


def _end_ns(bucket: int) -> int:
    """The first duration that is too long for it."""
    octave, step = divmod(bucket, _STEPS)
    return bucket + 1 if octave < 3 else (_STEPS + step + 1) << octave - 3


def _upper_edge_ns(bucket: int) -> int:
    """The edge shown to people: of a bucket with one duration that duration, else where the next bucket begins."""
    return bucket if bucket < _STEPS else _end_ns(bucket)


@dataclass(slots=True)
class Tally:
    """The running counts of one subscription. Terminal outcomes add up: what is accepted and not among them is pending."""

    accepted: int = 0
    succeeded: int = 0
    dead_lettered: int = 0
    dropped: int = 0
    conflated: int = 0  # of the dropped: replaced by a newer value of the key
    gaps: int = 0  # stretches of conflation
    expired: int = 0
    cancelled: int = 0
    retried: int = 0
    errors: int = 0
    abandoned: int = 0
    ran: Histogram = field(default_factory=Histogram)

    def end(self, status: str) -> None:
        """One more delivery with this terminal outcome."""
        setattr(self, status, getattr(self, status) + 1)

    def add(self, other: Tally) -> None:
        """Take over the counts of a subscription that is gone, but not its run times."""
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    @property
    def pending(self) -> int:
        return self.accepted - (self.succeeded + self.dead_lettered + self.dropped + self.expired + self.cancelled)


_COUNTS = tuple(name for name in Tally.__dataclass_fields__ if name != "ran")


@dataclass(frozen=True, slots=True)
class SubscriptionStats:
    """One subscription at one moment. `accepted = succeeded + dead_lettered + dropped + expired + cancelled + pending` and
    `pending = queued + in_flight + retry_wait`; `p50_ms` and `p99_ms` are handler run times."""

    name: str
    selector: str
    accepted: int
    succeeded: int
    dead_lettered: int
    dropped: int
    conflated: int
    expired: int
    cancelled: int
    pending: int
    queued: int
    in_flight: int
    retry_wait: int
    retried: int
    errors: int
    gaps: int
    abandoned: int
    oldest_age_s: float
    ran: Histogram = field(repr=False, compare=False)

    @property
    def p50_ms(self) -> float:
        """The run time that half of the attempts stay below."""
        return self.ran.quantile(0.5) * 1e3

    @property
    def p99_ms(self) -> float:
        """The run time that 99 in 100 attempts stay below."""
        return self.ran.quantile(0.99) * 1e3


@dataclass(frozen=True, slots=True)
class TypeStats:
    """One event type: how many of its events have been routed."""

    dispatched: int


@dataclass(frozen=True, slots=True)
class BusStats:
    """The whole bus at one moment. Counters never go down."""

    published: int
    dispatched: int
    errors: int
    queue_size: int
    pending: int
    in_flight: int
    retried: int
    dead_lettered: int
    dropped: int
    expired: int
    cancelled: int
    succeeded: int
    reserve_used: int  # events that handlers published although the door was full
    replaced_threads: int
    uptime_s: float
    types: Mapping[str, TypeStats]
    subscriptions: tuple[SubscriptionStats, ...]
    dispatch: Histogram = field(repr=False, compare=False)  # acceptance to first attempt

    @property
    def dispatch_p50_ms(self) -> float:
        """From acceptance to the first attempt: what half of the deliveries stay below."""
        return self.dispatch.quantile(0.5) * 1e3

    @property
    def dispatch_p99_ms(self) -> float:
        """From acceptance to the first attempt: what 99 in 100 deliveries stay below."""
        return self.dispatch.quantile(0.99) * 1e3
