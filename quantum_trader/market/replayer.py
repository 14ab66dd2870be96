"""Replayer: turns a feed into the events of one session after the other, each bar checked first.

The session clock asks for the next session and publishes what it gets. Nothing is filled in, repaired or held back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from quantum_trader.events import FeedAnomalyEvent, MarketBarEvent
from quantum_trader.market.calendar import Feed
from quantum_trader.market.validate import Anomaly, FeedCheck

SOURCE = "replayer"


@dataclass(frozen=True, slots=True)
class ReplaySession:
    """What one session brings: bars in sorted symbol order, then every doubt about them."""

    session: int
    ts: datetime
    bars: tuple[MarketBarEvent, ...]
    anomalies: tuple[FeedAnomalyEvent, ...]
    present: tuple[str, ...]
    missing: tuple[str, ...]


class MarketReplayer:
    """Iterates over a feed from session `first` on, as events. One iteration is one run."""

    publishes: ClassVar = (MarketBarEvent, FeedAnomalyEvent)

    def __init__(self, feed: Feed, *, interval_s: int = 86_400) -> None:
        self._feed = feed
        self._interval_s = interval_s

    @property
    def universe(self) -> tuple[str, ...]:
        return self._feed.symbols

    def __len__(self) -> int:
        return len(self._feed)

    def __iter__(self) -> Iterator[ReplaySession]:
        check = FeedCheck()
        listed: set[str] = set()
        for group in self._feed:
            events: list[MarketBarEvent] = []
            doubts: list[Anomaly] = []
            for bar in group.bars:
                verdict = check.bar(bar)
                doubts += verdict.anomalies
                if verdict.deliver:
                    events.append(MarketBarEvent.of(bar, interval_s=self._interval_s, source=SOURCE))
            doubts += check.end_session(group.session)
            present = tuple([event.symbol for event in events])
            listed.update(present)
            missing = () if len(present) == len(listed) else tuple(sorted(listed.difference(present)))
            anomalies = tuple([_anomaly(doubt, group.ts) for doubt in doubts])
            yield ReplaySession(group.session, group.ts, tuple(events), anomalies, present, missing)


def _anomaly(doubt: Anomaly, ts: datetime) -> FeedAnomalyEvent:
    return FeedAnomalyEvent(
        symbol=doubt.symbol,
        session=doubt.session,
        kind=doubt.kind.value,
        detail=doubt.detail,
        timestamp=ts,
        source=SOURCE,
    )
