"""System: a trading system that was built, and its run from the first session to the last.

It plays the feed and says how the run begins and ends; what is decided meanwhile its components decide. Who builds it is `app`.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any, ClassVar

from eventbus import Event, EventBus
from quantum_trader.alpha.runtime import StrategyRuntimeEngine
from quantum_trader.brought import GatesReport, installed_here
from quantum_trader.config import Config
from quantum_trader.control.balancer import PortfolioBalancer
from quantum_trader.control.controller import MetaStrategyController
from quantum_trader.control.kill_switch import KillSwitch
from quantum_trader.control.orchestrator import Orchestrator
from quantum_trader.control.risk_guard import RiskGuard
from quantum_trader.events import RunCompletedEvent, RunStartedEvent
from quantum_trader.feeds.paper import PaperFeed, PaperReplayer
from quantum_trader.identity import RunIds
from quantum_trader.learning.generator import StrategyGenerator
from quantum_trader.learning.registry import Registry
from quantum_trader.learning.task_queue import QueueHandler
from quantum_trader.market.calendar import Feed, Rhythm
from quantum_trader.market.replayer import MarketReplayer
from quantum_trader.monitoring.alerts import AlertManager
from quantum_trader.monitoring.digest import ReplayDigest
from quantum_trader.monitoring.health import SystemHealthMonitor
from quantum_trader.monitoring.record import RunRecord
from quantum_trader.monitoring.spc_engine import SpcEngine
from quantum_trader.own.runtime import OwnRuntime
from quantum_trader.roll import RollCall
from quantum_trader.session import SOURCE as CLOCK
from quantum_trader.session import SessionClock
from quantum_trader.snapshot import Stateful
from quantum_trader.venues.desk import VenueDesk
from quantum_trader.wiring import Wiring, survey

_log = logging.getLogger(__name__)


def code_version() -> str:
    """The installed version of this package."""
    try:
        return version("quantum-trader")
    except PackageNotFoundError:
        return "unknown"


@dataclass(slots=True)
class TradingSystem:
    """A whole system on a bus, ready to run. Components are reachable for those who look, not for those who act."""

    bus: EventBus
    config: Config
    feed: Feed
    rhythm: Rhythm
    record: RunRecord
    digest: ReplayDigest
    controller: MetaStrategyController
    orchestrator: Orchestrator
    balancer: PortfolioBalancer
    guard: RiskGuard
    runtime: StrategyRuntimeEngine | OwnRuntime
    kill_switch: KillSwitch
    spc: SpcEngine
    health: SystemHealthMonitor
    roll: RollCall
    alerts: AlertManager
    registry: Registry
    generator: StrategyGenerator | None  # None when the roster is fixed
    gates: GatesReport | None  # where a strategy is LIVE by its user's word
    parts: Mapping[str, Stateful]  # everything that remembers, in the order it was built
    ids: RunIds
    data_sha256: dict[str, str] = field(default_factory=dict)
    run_id: str = ""
    clock: SessionClock | None = None  # of `play`, while there is one
    desk: VenueDesk | None = None  # of a venue that a user brought
    closers: Sequence[Callable[[], None]] = ()  # of what users brought
    publishes: ClassVar = (RunStartedEvent, RunCompletedEvent)

    def wiring(self) -> Wiring:
        """Who publishes and who hears what, as things hang on the bus now."""
        gates = () if self.gates is None else (GatesReport,)
        return survey(self.bus, (TradingSystem, SessionClock, MarketReplayer, QueueHandler, *gates))

    async def run(self) -> RunCompletedEvent:
        """Replay the whole feed on the bus, which must be running; returns the event that ends the run."""
        await self.begin()
        return await self.finish(await self.play())

    async def begin(self) -> None:
        """Tell that the run starts."""
        if gaps := tuple(self.wiring().gaps()):
            _log.warning("events lead nowhere: %s", "; ".join(gaps))
        await self.bus.publish(self.started())
        await self.bus.drain()
        self._barrier()

    async def play(
        self,
        first: int = 0,
        *,
        speed: float = 0.0,
        keep_going: Callable[[], bool] | None = None,
        on_session: Callable[[int], Awaitable[None]] | None = None,
        commands: Callable[[int], Sequence[Event]] = lambda _session: (),
    ) -> int:
        """Replay from session `first` on; returns how many sessions the run has behind it then."""
        clock = self.clock = SessionClock(
            self.bus,
            self._replayer(first),
            speed=speed,
            keep_going=keep_going,
            on_barrier=self._barrier,
            on_session=on_session,
            roll_call=self.roll.tell,
            judge=self.health.judge,
            commands=commands,
            ids=self.ids,
        )
        return first + await clock.run()

    def _replayer(self, first: int) -> MarketReplayer:
        if isinstance(self.feed, PaperFeed):
            return PaperReplayer(self.feed, interval_s=self.rhythm.interval_s, first=first, ids=self.ids)
        return MarketReplayer(self.feed, interval_s=self.rhythm.interval_s, first=first, ids=self.ids)

    async def finish(self, sessions: int) -> RunCompletedEvent:
        """Tell that the run is over, and before what the gates would have said of a strategy that went through none."""
        if self.gates is not None and sessions:
            await self.gates.tell(sessions - 1)
            await self.bus.drain()
        completed = RunCompletedEvent(
            run_id=self.run_id,
            sessions=sessions,
            det_events=self.digest.events,
            digest=self.digest.hexdigest(),
            source=CLOCK,
        )
        await self.bus.publish(completed)
        await self.bus.drain()
        return completed

    def state(self) -> dict[str, Any]:
        """What every part remembers, in plain JSON values; taken after a session's last barrier."""
        return {name: part.state() for name, part in self.parts.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become what `state()` described; built with the same configuration, and nothing published yet."""
        for name, part in self.parts.items():
            part.restore(state[name])

    def close(self) -> None:
        """Close what the components hold open."""
        for close in self.closers:
            close()
        self.registry.close()

    def _barrier(self) -> None:
        self.digest.barrier()
        self.ids.barrier()

    def started(self) -> RunStartedEvent:
        """The event that begins the run: what it is made of."""
        if isinstance(self.feed, PaperFeed):  # how much it will have come to nobody knows when it starts
            sessions, ts = 0, self.feed.started
        else:
            first = next(iter(self.feed), None)
            sessions, ts = len(self.feed), datetime.fromtimestamp(0, UTC) if first is None else first.ts
        return RunStartedEvent(
            run_id=self.run_id,
            seed=self.config.app.seed,
            config_sha256=self.config.sha256(),
            code_version=code_version(),
            universe=self.feed.symbols,
            data_sha256=self.data_sha256,
            sessions=sessions,
            installed=installed_here(self.config),
            timestamp=ts,
            source=CLOCK,
            event_id=self.ids.root(RunStartedEvent.type, -1),
        )
