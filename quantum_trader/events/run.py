"""Events of the run and its clock: what began, what the market showed, when a session is over and decided on."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Self

from pydantic import Field

from eventbus import Event
from quantum_trader.events.marks import Decision, Operation
from quantum_trader.model import Bar


class RunStartedEvent(Decision, Event, type="run.started"):
    """A run began over this data, configuration and seed. Digests are SHA-256; `data_sha256` is by symbol.

    `installed` are the entry points of installed packages that act in it, each with what it is and of which version.
    """

    run_id: str
    seed: int
    config_sha256: str
    code_version: str
    universe: tuple[str, ...]
    data_sha256: Mapping[str, str] = Field(default_factory=dict)
    sessions: int = 0
    installed: Annotated[tuple[str, ...], Field(exclude_if=lambda named: not named)] = ()


class RunCompletedEvent(Operation, Event, type="run.completed"):
    """The last session is over. `digest` covers the `det_events` decision events, so it is not one itself."""

    run_id: str
    sessions: int
    det_events: int
    digest: str


class MarketBarEvent(Decision, Event, type="market.bar", key="symbol"):
    """One session of one symbol. Volume in adjusted shares; prices are raw ones times `adj_factor`."""

    symbol: str
    session: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    adj_factor: float = 1.0
    interval_s: int = 86_400

    @classmethod
    def of(cls, bar: Bar, *, interval_s: int = 86_400, source: str = "", **header: Any) -> Self:
        """The event that tells of `bar`, and hands that very value to whoever asks for it; `header` goes to the event."""
        event = cls(
            symbol=bar.symbol,
            session=bar.session,
            open=bar.open,
            high=bar.high,
            low=bar.low,
            close=bar.close,
            volume=bar.volume,
            adj_factor=bar.adj_factor,
            interval_s=interval_s,
            timestamp=bar.ts,
            source=source,
            **header,
        )
        # Where `cached_property` would keep what it made: making it again takes longer than making the event.
        event.__dict__["bar"] = bar
        return event

    @cached_property
    def bar(self) -> Bar:
        """The same as the value that the pure parts work on; made once for all who listen."""
        return Bar(
            self.symbol,
            self.session,
            self.timestamp,
            self.open,
            self.high,
            self.low,
            self.close,
            self.volume,
            self.adj_factor,
        )


class FeedAnomalyEvent(Decision, Event, type="feed.anomaly", key="symbol"):
    """Something is odd about a symbol's feed. `kind`: MISSING, STALE, OUT_OF_ORDER, DUPLICATE, BAD_OHLC or JUMP."""

    symbol: str
    session: int
    kind: str
    detail: str


class SessionClosedEvent(Decision, Event, type="session.closed"):
    """Every bar of the session has been delivered and handled. `missing`: listed symbols without a bar."""

    session: int
    present: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


class SessionDecideEvent(Decision, Event, type="session.decide"):
    """Everybody knows the session; decide now. What is decided can fill in the next session at the earliest."""

    session: int
