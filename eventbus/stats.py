"""Stats: counters, latency histograms, and the frozen snapshots that are read from them.

Counting is plain integer arithmetic on the loop thread, a stretch of events at a time; totals are kept as they change, so that
reading them costs the same however many subscriptions there are. Nothing is pushed anywhere, readers take a snapshot.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

OTHER = "other"
"""Under which everything is counted that has no name of its own."""

_SUB_BUCKETS = 4  # buckets per doubling: quantiles are within 25 %
_ERROR_NAMES = 100  # that are told apart


class Histogram:
    """Durations in logarithmic buckets: quantiles within a bucket, and memory for the buckets that are used only.

    Any thread may read.
    """

    __slots__ = ("_counts", "total_ns")

    def __init__(self, counts: Mapping[int, int] | None = None, total_ns: int = 0) -> None:
        self._counts: defaultdict[int, int] = defaultdict(int, counts or {})
        self.total_ns = total_ns  # the sum of all durations

    def add(self, duration_ns: int, times: int = 1) -> None:
        """Enter `times` durations of `duration_ns` each."""
        octave = duration_ns.bit_length()
        self._counts[octave * 4 + (duration_ns >> octave - 3 & 3) if octave >= 3 else duration_ns] += times
        self.total_ns += duration_ns * times

    def copy(self) -> Histogram:
        """What was entered so far; what is entered later is not in it."""
        return Histogram(self._counts, self.total_ns)

    @property
    def count(self) -> int:
        """Durations entered."""
        return sum(self._counts.copy().values())

    @property
    def mean_ns(self) -> float:
        return self.total_ns / self.count if self.count else 0.0

    def quantile(self, q: float) -> float:
        """The duration that a share `q` of the entries stays below, in seconds (upper edge of its bucket); 0.0 when empty."""
        edges = self.buckets()
        wanted = q * edges[-1][1] if edges else 0.0
        return next((edge for edge, seen in edges if seen >= wanted), 0.0)

    def buckets(self) -> list[tuple[float, int]]:
        """Upper edges in seconds with cumulative counts, for the buckets that hold something."""
        edges: list[tuple[float, int]] = []
        seen = 0
        for bucket, count in sorted(self._counts.copy().items()):
            seen += count
            edges.append((_upper_edge_ns(bucket) / 1e9, seen))
        return edges


def _end_ns(bucket: int) -> int:
    """The first duration that is too long for it."""
    octave, nth = divmod(bucket, _SUB_BUCKETS)
    return bucket + 1 if octave < 3 else (_SUB_BUCKETS + nth + 1) << octave - 3


def _upper_edge_ns(bucket: int) -> int:
    """The edge shown to people: of a bucket with one duration that duration, else where the next bucket begins."""
    return bucket if bucket < _SUB_BUCKETS else _end_ns(bucket)


class Raised:
    """Attempts of one bus that raised, by the name of what they raised. Names are bounded: what comes after them is `other`."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def add(self, error: BaseException) -> None:
        """One more."""
        name = type(error).__name__
        self._counts[name if name in self._counts or len(self._counts) < _ERROR_NAMES else OTHER] += 1

    def by_name(self) -> dict[str, int]:
        """What was counted so far, the first name first."""
        return dict(self._counts)


@dataclass(slots=True)
class Tally:
    """The running counts of one subscription. What is accepted is pending until it has a terminal outcome.

    Each count goes into `total` as well, where there is one: the counts of the whole bus, whatever becomes of the subscription.
    """

    total: Tally | None = None
    accepted: int = 0
    pending: int = 0
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
    attempts: int = 0  # that ended, in a total
    ran_ns: int = 0  # what they took together
    ran: Histogram = field(default_factory=Histogram)  # the same where it is no total

    def accept(self, deliveries: int = 1) -> None:
        """So many more are to be handled."""
        self.accepted += deliveries
        self.pending += deliveries
        total = self.total
        if total is not None:
            total.accepted += deliveries
            total.pending += deliveries

    def went_through(self, succeeded: int, ran_ns: int, attempts: int) -> None:
        """So many attempts in a row ended that took `ran_ns` each, and so many of them succeeded at once."""
        self.ran.add(ran_ns, attempts)
        self.succeeded += succeeded
        self.pending -= succeeded
        total = self.total
        if total is not None:
            total.succeeded += succeeded
            total.pending -= succeeded
            total.attempts += attempts
            total.ran_ns += ran_ns * attempts

    def ended(self, status: str, deliveries: int = 1) -> None:
        """So many more with this terminal outcome: a `Status`."""
        self.count(status, deliveries)
        self.pending -= deliveries
        total = self.total
        if total is not None:
            total.pending -= deliveries

    def attempted(self, ran_ns: int, attempts: int = 1) -> None:
        """So many attempts ended that took `ran_ns` each."""
        self.went_through(0, ran_ns, attempts)

    def failed(self) -> None:
        """An attempt raised."""
        self.count("errors", 1)

    def retries(self) -> None:
        """There will be another attempt."""
        self.count("retried", 1)

    def abandons(self) -> None:
        """An attempt went on after its end, and is waited for no longer."""
        self.count("abandoned", 1)

    def conflates(self, deliveries: int, gaps: int) -> None:
        """Newer values took the place of so many, in so many stretches. That they were dropped is said by `ended`."""
        self.count("conflated", deliveries)
        self.count("gaps", gaps)

    def count(self, name: str, deliveries: int) -> None:
        """So many more under that name, here and in what adds up several."""
        setattr(self, name, getattr(self, name) + deliveries)
        total = self.total
        if total is not None:
            setattr(total, name, getattr(total, name) + deliveries)

    def snapshot(
        self, name: str, selector: str, *, in_flight: int, retry_wait: int, oldest_age_s: float
    ) -> SubscriptionStats:
        """These counts at this moment, and how the pending ones are spread."""
        return SubscriptionStats(
            name=name,
            selector=selector,
            accepted=self.accepted,
            succeeded=self.succeeded,
            dead_lettered=self.dead_lettered,
            dropped=self.dropped,
            conflated=self.conflated,
            expired=self.expired,
            cancelled=self.cancelled,
            pending=self.pending,
            queued=self.pending - in_flight - retry_wait,
            in_flight=in_flight,
            retry_wait=retry_wait,
            retried=self.retried,
            errors=self.errors,
            gaps=self.gaps,
            abandoned=self.abandoned,
            oldest_age_s=oldest_age_s,
            ran=self.ran.copy(),
        )


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
class GroupStats:
    """One group at one moment, as far as this process reads for it.

    `lag` counts the places of the log that it has not finished: not read yet, or begun and not committed. Of its `parts` it holds
    `held` here; others may hold the rest.
    """

    name: str
    lag: int
    parts: int
    held: int


@dataclass(frozen=True, slots=True)
class BusStats:
    """The whole bus at one moment. Counters never go down; `raised` are the errors by the name of the exception.

    `forgotten` are groups that no process has read for during `forget_after`: they hold retention back until `drop_group()`.
    """

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
    conflated: int
    gaps: int
    abandoned: int
    attempts: int
    ran_s: float  # what they took together
    reserve_used: int  # events that handlers published although the door was full
    replaced_threads: int
    uptime_s: float
    oldest_age_s: float  # of what was accepted and has waited longest to be routed
    raised: Mapping[str, int]
    types: Mapping[str, TypeStats]
    subscriptions: tuple[SubscriptionStats, ...]
    groups: tuple[GroupStats, ...]
    forgotten: tuple[str, ...]
    dispatch: Histogram = field(repr=False, compare=False)  # acceptance to first attempt

    @property
    def dispatch_p50_ms(self) -> float:
        """From acceptance to the first attempt: what half of the deliveries stay below."""
        return self.dispatch.quantile(0.5) * 1e3

    @property
    def dispatch_p99_ms(self) -> float:
        """From acceptance to the first attempt: what 99 in 100 deliveries stay below."""
        return self.dispatch.quantile(0.99) * 1e3
