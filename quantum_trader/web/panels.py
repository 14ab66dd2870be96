"""Panels: what the dashboard shows of a run, made from its events; the page computes nothing.

Told of each event by a tap on the bus, or from a journal. Never subscribes: who watches a run changes nothing in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from quantum_trader.events import (
    HealthStatusChangedEvent,
    KillSwitchChangedEvent,
    MarketBarEvent,
    PolicyUpdatedEvent,
    RunCompletedEvent,
    RunStartedEvent,
    SessionClosedEvent,
    SessionDecideEvent,
)
from quantum_trader.identity import RunIds
from quantum_trader.model import HealthStatus, KillMode
from quantum_trader.web.book import Book
from quantum_trader.web.charts import Charts
from quantum_trader.web.curve import Curve, Point
from quantum_trader.web.folding import Folding, Hearing
from quantum_trader.web.roster import Models, Opportunities, Strategies

View: TypeAlias = Callable[[], dict[str, Any]]


class Pace(Protocol):
    """How fast a run is replayed; `speed` in sessions per second, 0 is as fast as possible."""

    speed: float

    @property
    def is_paused(self) -> bool: ...


class Panels:
    """Everything that is shown of a run, over `sessions` sessions before it says so. `pace` gives None where nobody here sets it."""

    def __init__(
        self,
        points: Sequence[Point],
        *,
        sessions: int = 0,
        dataset: str = "",
        pace: Callable[[], Pace | None] = lambda: None,
        digest: Callable[[], str] = lambda: "",
    ) -> None:
        self._sessions = sessions
        self._dataset = dataset
        self._pace = pace
        self._digest = digest
        self._run: RunStartedEvent | None = None
        self._completed: RunCompletedEvent | None = None
        self._closed: SessionClosedEvent | None = None
        self._policy: PolicyUpdatedEvent | None = None
        self._switch: KillSwitchChangedEvent | None = None
        self._health: dict[str, HealthStatusChangedEvent] = {}
        self._bars = 0
        self.curve, self.book, self.charts = Curve(points), Book(), Charts()
        self._strategies, self._models, self._opportunities = Strategies(), Models(), Opportunities()
        parts = (self.curve, self.book, self.charts, self._strategies, self._models, self._opportunities)
        self._folding = Folding([self._hears(), *(part.hears() for part in parts)])
        self.take = self._folding.take

    @property
    def taken(self) -> Mapping[str, int]:
        """How many events of each type there were."""
        return self._folding.taken

    @property
    def is_over(self) -> bool:
        """Whether the run has reached its end."""
        return self._completed is not None

    def views(self) -> Mapping[str, View]:
        """Every view by its name; `chart:{id}` besides, by `chart`."""
        return {
            "run": self.run,
            "equity": self.curve.view,
            "positions": self.book.positions,
            "orders": self.book.orders,
            "denials": self.book.denials,
            "strategies": self._strategies.view,
            "models": self._models.view,
            "opportunities": self._opportunities.view,
            "charts": self.charts.view,
        }

    def decided(self, session: int) -> str:
        """The id of the event by which a session was decided on: what came of it follows from there. Raises `LookupError`."""
        if self._run is None or self._closed is None or not 0 <= session <= self._closed.session:
            raise LookupError(session)
        return RunIds(self._run.run_id).root(SessionDecideEvent.type, session)

    def run(self) -> dict[str, Any]:
        """The run bar: where the run is, how fast, in which posture, and whether trading is stopped."""
        pace, closed, policy, switch = self._pace(), self._closed, self._policy, self._switch
        account = self.book.portfolio
        return {
            "run_id": "" if self._run is None else self._run.run_id,
            "universe": [] if self._run is None else list(self._run.universe),
            "seed": None if self._run is None else self._run.seed,
            "dataset": self._dataset,
            "date": None if closed is None else closed.timestamp.date().isoformat(),
            "session": 0 if closed is None else closed.session + 1,
            "of": self._sessions if self._run is None else self._run.sessions,
            "speed": None if pace is None else pace.speed,
            "paused": pace is not None and pace.is_paused and not self.is_over,
            "stage": self._stage(),
            "bars": self._bars,
            "risk_mode": None if policy is None else policy.risk_mode.value,
            "policy_reasons": [] if policy is None else list(policy.reasons)[:4],
            "health": self._overall(),
            "unwell": {
                name: {"status": event.new_status.value, "reason": event.reason}
                for name, event in sorted(self._health.items())
                if event.new_status is not HealthStatus.HEALTHY
            },
            "kill_switch": {
                "mode": KillMode.OFF.value if switch is None else switch.mode.value,
                "latched": switch is not None and switch.latched,
                "actor": None if switch is None else switch.actor,
                "reason": None if switch is None else switch.reason,
                "since": None if switch is None else switch.timestamp.date().isoformat(),
            },
            "equity": None if account is None else f"{account.equity:.2f}",
            "drawdown": None if account is None else account.drawdown,
            "digest": self._digest() if self._completed is None else self._completed.digest,
        }

    def _stage(self) -> str:
        if self._completed is not None:
            return "over"
        return "waiting" if self._run is None else "running"

    def _overall(self) -> str:
        worst = max((list(HealthStatus).index(each.new_status) for each in self._health.values()), default=0)
        return list(HealthStatus)[worst].value

    def _hears(self) -> Hearing:
        return {
            RunStartedEvent: self._started,
            RunCompletedEvent: self._ended,
            MarketBarEvent: self._traded,
            SessionClosedEvent: self._session_closed,
            PolicyUpdatedEvent: self._postured,
            KillSwitchChangedEvent: self._switched,
            HealthStatusChangedEvent: self._fared,
        }

    def _started(self, event: RunStartedEvent) -> None:
        self._run = event

    def _ended(self, event: RunCompletedEvent) -> None:
        self._completed = event

    def _traded(self, _event: MarketBarEvent) -> None:
        self._bars += 1

    def _session_closed(self, event: SessionClosedEvent) -> None:
        self._closed = event

    def _postured(self, event: PolicyUpdatedEvent) -> None:
        self._policy = event

    def _switched(self, event: KillSwitchChangedEvent) -> None:
        self._switch = event

    def _fared(self, event: HealthStatusChangedEvent) -> None:
        self._health[event.component] = event
