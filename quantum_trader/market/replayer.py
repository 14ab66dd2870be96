"""Replayer: turns a feed into the events of one session after the other, each bar checked first.

The session clock asks for the next session and publishes what it gets. Nothing is filled in, repaired or held back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from quantum_trader.events import ComponentHeartbeatEvent, FeedAnomalyEvent, MarketBarEvent
from quantum_trader.identity import RunIds
from quantum_trader.market.calendar import Feed, SessionBars
from quantum_trader.market.validate import Anomaly, FeedCheck
from quantum_trader.model import Bar, Station

SOURCE = "replayer"


@dataclass(frozen=True, slots=True)
class ReplaySession:
    """What one session brings: bars in sorted symbol order, then every doubt about them."""

    session: int
    ts: datetime
    bars: tuple[MarketBarEvent, ...]
    heartbeats: tuple[ComponentHeartbeatEvent, ...]  # one, unless no bar was fit to be delivered
    anomalies: tuple[FeedAnomalyEvent, ...]
    present: tuple[str, ...]
    missing: tuple[str, ...]


class MarketReplayer:
    """Iterates over a feed from session `first` on, as events; those before are checked and not told. One iteration is one run.

    With `ids` the events have the ids that they have in every run of that identity.
    """

    publishes: ClassVar = (MarketBarEvent, FeedAnomalyEvent, ComponentHeartbeatEvent)

    def __init__(self, feed: Feed, *, interval_s: int = 86_400, first: int = 0, ids: RunIds | None = None) -> None:
        self._feed = feed
        self._interval_s = interval_s
        self._first = first
        self._ids = ids

    @property
    def universe(self) -> tuple[str, ...]:
        return self._feed.symbols

    def __len__(self) -> int:
        return len(self._feed)

    def __iter__(self) -> Iterator[ReplaySession]:
        check = FeedCheck()
        listed: set[str] = set()
        for group in self._feed:
            bars: list[Bar] = []
            doubts: list[Anomaly] = []
            for bar in group.bars:
                verdict = check.bar(bar)
                doubts += verdict.anomalies
                if verdict.deliver:
                    bars.append(bar)
            doubts += check.end_session(group.session)
            present = tuple([bar.symbol for bar in bars])
            listed.update(present)
            if group.session < self._first:
                continue
            missing = () if len(present) == len(listed) else tuple(sorted(listed.difference(present)))
            events = tuple([self._bar(bar) for bar in bars])
            anomalies = tuple([self._anomaly(number, doubt, group.ts) for number, doubt in enumerate(doubts)])
            heartbeats = (self._heartbeat(group),) if events else ()
            yield ReplaySession(group.session, group.ts, events, heartbeats, anomalies, present, missing)

    def _bar(self, bar: Bar) -> MarketBarEvent:
        header = self._header(MarketBarEvent.type, bar.session, bar.symbol)
        return MarketBarEvent.of(bar, interval_s=self._interval_s, source=SOURCE, **header)

    def _heartbeat(self, group: SessionBars) -> ComponentHeartbeatEvent:
        return ComponentHeartbeatEvent(
            component=Station.DATA.value,
            session=group.session,
            timestamp=group.ts,
            source=SOURCE,
            **self._header(ComponentHeartbeatEvent.type, group.session, Station.DATA.value),
        )

    def _anomaly(self, number: int, doubt: Anomaly, ts: datetime) -> FeedAnomalyEvent:
        return FeedAnomalyEvent(
            symbol=doubt.symbol,
            session=doubt.session,
            kind=doubt.kind.value,
            detail=doubt.detail,
            timestamp=ts,
            source=SOURCE,
            **self._header(FeedAnomalyEvent.type, doubt.session, str(number)),
        )

    def _header(self, event_type: str, session: int, detail: str) -> dict[str, Any]:
        return {} if self._ids is None else {"event_id": self._ids.root(event_type, session, detail)}
