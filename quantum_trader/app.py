"""App: the only place that builds components; each gets the bus, and what else it needs, through its constructor.

Builds, and does not decide: every number comes from the configuration.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

from eventbus import Event, EventBus, InMemoryEventBus
from quantum_trader.alpha.families import StrategySpec
from quantum_trader.alpha.ranker import OpenRanker, OpportunityRanker
from quantum_trader.alpha.ranking import Components
from quantum_trader.alpha.roster import FixedRoster
from quantum_trader.alpha.runtime import StrategyRuntimeEngine
from quantum_trader.alpha.trials import Trials
from quantum_trader.brought import (
    GatesReport,
    connector,
    installed_here,
    own_builders,
    own_checks,
    own_components,
    own_runtime,
    own_strategy,
    own_venue,
)
from quantum_trader.config import Config, ConfigError
from quantum_trader.control.balancer import PortfolioBalancer
from quantum_trader.control.controller import MetaStrategyController
from quantum_trader.control.kill_switch import KillSwitch, SwitchFile
from quantum_trader.control.orchestrator import Orchestrator
from quantum_trader.control.policy_store import NoPolicyStore, PolicyStore
from quantum_trader.control.risk_guard import RiskGuard
from quantum_trader.control.risk_state import RiskState
from quantum_trader.control.sizing import SizingRules
from quantum_trader.events import RunCompletedEvent, RunStartedEvent
from quantum_trader.execution.accounts import Accounts
from quantum_trader.execution.executor import Executor
from quantum_trader.execution.ledger import PortfolioLedger
from quantum_trader.execution.venue import PaperVenue
from quantum_trader.feeds.paper import PaperFeed, PaperReplayer
from quantum_trader.identity import RunIds
from quantum_trader.instruments import Instruments
from quantum_trader.learning.ensemble import EnsembleManager
from quantum_trader.learning.evaluation import EvaluationHandler
from quantum_trader.learning.generator import StrategyGenerator
from quantum_trader.learning.manager import ContinuousLearningManager
from quantum_trader.learning.model_subjects import ModelSubjects
from quantum_trader.learning.registry import CachingRegistry, Registry
from quantum_trader.learning.strategy_subjects import StrategySubjects
from quantum_trader.learning.task_queue import MonitoringHandler, QueueHandler
from quantum_trader.market.calendar import Feed, Rhythm, rhythm
from quantum_trader.market.dataset import Dataset, load_dataset
from quantum_trader.market.library import find
from quantum_trader.market.replayer import MarketReplayer
from quantum_trader.model import HealthStatus, Station
from quantum_trader.monitoring.alerts import DRAWDOWN, AlertManager, DrawdownLadder, ladder_settings
from quantum_trader.monitoring.characteristics import Characteristics, UnusableCharacteristic, chart_spec
from quantum_trader.monitoring.control_limits import ControlLimitService
from quantum_trader.monitoring.digest import ReplayDigest
from quantum_trader.monitoring.health import SystemHealthMonitor
from quantum_trader.monitoring.record import RunRecord
from quantum_trader.monitoring.runtime import RuntimeMonitor
from quantum_trader.monitoring.spc_engine import SpcEngine
from quantum_trader.own.runtime import OwnRuntime
from quantum_trader.roll import RollCall
from quantum_trader.session import SOURCE as CLOCK
from quantum_trader.session import SessionClock
from quantum_trader.snapshot import Stateful
from quantum_trader.venues.desk import VenueDesk
from quantum_trader.venues.executor import VenueExecutor
from quantum_trader.web.broadcaster import Audience, WebSocketBroadcaster
from quantum_trader.wiring import Wiring, survey

QUEUE_SIZE = 100_000
LOOKED_AT = 5_000  # sessions that tell the rhythm of a feed

_log = logging.getLogger(__name__)


def code_version() -> str:
    """The installed version of this package."""
    try:
        return version("quantum-trader")
    except PackageNotFoundError:
        return "unknown"


def load_feed(config: Config) -> Dataset:
    """The bars that the configuration asks for. Raises `DataError`, `ConfigError` for a date that is none."""
    universe = config.universe
    path = find(universe.dataset, Path(config.app.data_directory))
    return load_dataset(
        path,
        symbols=universe.symbols or None,
        start=_date("start", universe.start),
        end=_date("end", universe.end),
        align=universe.align,
    )


def _date(key: str, text: str) -> date | None:
    if not text:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError as cause:
        raise ConfigError(
            "configuration", f"universe.{key}", f"{text!r} is no date", remedy="write it as 2008-09-15"
        ) from cause


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

    async def run(self, *, speed: float = 0.0, keep_going: Callable[[], bool] | None = None) -> RunCompletedEvent:
        """Replay the whole feed on the bus, which must be running; returns the event that ends the run."""
        await self.begin()
        return await self.finish(await self.play(speed=speed, keep_going=keep_going))

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


def rhythm_of(feed: Feed, config: Config) -> Rhythm:
    """How often the feed has a session, from its first ones; the configuration may say how many a year has."""
    found = feed.rhythm if isinstance(feed, PaperFeed) else rhythm([group.ts for group in islice(feed, LOOKED_AT)])
    said = config.app.periods_per_year
    return found if said is None else replace(found, periods_per_year=said)


def run_id_of(config: Config) -> str:
    """The name of every run with this configuration: they all decide the same."""
    return f"run-{config.sha256()[:12]}-{config.app.seed}"


def build(
    bus: EventBus,
    config: Config,
    feed: Feed,
    *,
    policy_store: PolicyStore | None = None,
    switch_file: SwitchFile | None = None,
    registry_file: Path | None = None,
    ids: RunIds | None = None,
    audience: Audience | None = None,
) -> TradingSystem:
    """The whole trading system on `bus`. Subscribes everything; nothing runs before `TradingSystem.run`.

    `policy_store` and `switch_file` keep what a restart goes on with, `registry_file` strategies, models and policies; what
    is left out is kept in memory. `ids` are those that the bus identifies events by, if it does. `audience` hears of control charts.
    """
    pace = rhythm_of(feed, config)
    costs, instruments = config.execution, Instruments(config.instruments)
    limits = config.risk
    cash = config.app.cash
    roll = RollCall(bus, ids=ids)
    kill_switch = KillSwitch(bus, file=switch_file)
    registry = Registry(bus, registry_file or ":memory:")
    warrant = registry.backs
    trials = Trials(costs, config.strategies, cooldown=config.risk.cooldown, instruments=instruments)
    brought = own_runtime(bus, config, feed, roll.answer)
    runtime = brought or StrategyRuntimeEngine(
        bus,
        config.strategies,
        trials,
        warrant=warrant,
        ranked=config.ranker.enabled,
        alive=roll.answer,
    )
    parts: dict[str, Stateful] = {
        "kill_switch": kill_switch,
        "registry": registry,
        "trials": trials,
        "runtime": runtime,
    }
    _build_ranker(bus, config, pace, parts, roll)
    parts["ensemble"] = EnsembleManager(
        bus,
        CachingRegistry(bus, registry),
        half_life=config.models.half_life,
        rollback_sessions=config.models.gate.rollback_sessions,
    )
    parts["learning"] = ContinuousLearningManager(bus, registry, config.models, alive=roll.answer)
    subjects = StrategySubjects(trials, config.strategies, periods_per_year=pace.periods_per_year)
    generator = _build_evaluation(bus, config, registry, subjects, parts, roll)
    controller = MetaStrategyController(
        bus, policy_store or NoPolicyStore(), config.policy, confirm_every=limits.policy_max_age, warrant=warrant
    )
    orchestrator = Orchestrator(bus, policy_max_age=limits.policy_max_age, when_degraded=1 if brought is None else None)
    balancer = PortfolioBalancer(bus, sizing_rules(config, pace), instruments)
    guard = RiskGuard(
        bus,
        RiskState(
            session=-1,
            health=HealthStatus.HEALTHY,
            equity=cash,
            cash=cash,
            universe=frozenset(feed.symbols),
            limits=limits,
            costs=costs,
            instruments=instruments,
        ),
        warrant=warrant,
        checks=own_checks(config),
        alive=roll.answer,
    )
    parts |= {"controller": controller, "orchestrator": orchestrator, "balancer": balancer, "risk_guard": guard}
    desk = _build_executor(bus, config, instruments, parts, roll)
    parts["ledger"] = PortfolioLedger(bus, Accounts(cash, window=config.policy.drawdown_window), alive=roll.answer)
    spc = _build_charts(bus, config, parts)
    health = parts["health"] = SystemHealthMonitor(
        bus, config.health, max_drawdown=limits.max_drawdown, watched=watched_by(config), ids=ids
    )
    record = RunRecord(cash=cash, universe_size=len(feed.symbols), periods_per_year=pace.periods_per_year)
    record.dataset = feed.name if isinstance(feed, Dataset) else ""
    record.attach(bus)
    if brought is not None:
        record.attach_own(bus)
    alerts = parts["alerts"] = AlertManager(bus, () if audience is None else (WebSocketBroadcaster(bus, audience),))
    closers = own_components(bus, config, parts)
    digest = parts["digest"] = ReplayDigest(bus)
    return TradingSystem(
        bus=bus,
        config=config,
        feed=feed,
        rhythm=pace,
        record=record,
        digest=digest,
        controller=controller,
        orchestrator=orchestrator,
        balancer=balancer,
        guard=guard,
        runtime=runtime,
        kill_switch=kill_switch,
        spc=spc,
        health=health,
        roll=roll,
        alerts=alerts,
        registry=registry,
        generator=generator,
        gates=None if brought is None else GatesReport(bus, subjects, config.own.strategy_id),
        parts=parts,
        ids=ids or RunIds(run_id_of(config)),
        data_sha256=feed.digests() if isinstance(feed, Dataset | PaperFeed) else {},
        run_id=run_id_of(config),
        desk=desk,
        closers=closers,
    )


def _build_executor(
    bus: EventBus, config: Config, instruments: Instruments, parts: dict[str, Stateful], roll: RollCall
) -> VenueDesk | None:
    """The executor, over the paper venue or, with its desk, over one that a user brought."""
    costs, venue = config.execution, own_venue(config)
    if venue is None:
        paper = PaperVenue(costs, cash=config.app.cash, instruments=instruments)
        parts["executor"] = Executor(bus, paper, alive=roll.answer)
        return None
    desk = VenueDesk(venue)
    holds_stops = bool(getattr(venue, "holds_stops", False))
    parts["executor"] = VenueExecutor(
        bus, desk, time_to_live=costs.time_to_live, holds_stops=holds_stops, alive=roll.answer
    )
    return desk


def _build_ranker(bus: EventBus, config: Config, pace: Rhythm, parts: dict[str, Stateful], roll: RollCall) -> None:
    ranker = config.ranker
    if not ranker.enabled:
        OpenRanker(bus)
        return
    parts["ranker"] = OpportunityRanker(
        bus,
        every=ranker.every,
        weights=Components(ranker.trend, ranker.momentum, ranker.liquidity, ranker.quality, ranker.cost),
        lead=ranker.lead,
        min_dollar_volume=ranker.min_dollar_volume / pace.sessions_a_day,
        alive=roll.answer,
    )


def _build_evaluation(
    bus: EventBus,
    config: Config,
    registry: Registry,
    subjects: StrategySubjects,
    parts: dict[str, Stateful],
    roll: RollCall,
) -> StrategyGenerator | None:
    """The evaluation platform, and the generator that asks it; without a generator when the roster is fixed."""
    parts["evaluation"] = EvaluationHandler(
        bus,
        QueueHandler(),
        subjects,
        ModelSubjects(config.models.gate),
        warrant=registry.backs,
        alive=roll.answer,
    )
    MonitoringHandler(bus)
    specs = seeds(config)
    if config.strategies.all_live:
        words = {spec.strategy_id: registry.admit(spec.strategy_id, run_id_of(config)) for spec in specs}
        FixedRoster(bus, specs, words=words)
        return None
    generator = parts["generator"] = StrategyGenerator(bus, config.strategies, seed=config.app.seed)
    return generator


def check(config: Config) -> None:
    """Raise the `ConfigError` that building a system with `config` would, before anything is made."""
    own_strategy(config.own)
    own_checks(config)
    own_builders(config)
    connector(config)
    seeds(config)
    watched(config)


def seeds(config: Config) -> list[StrategySpec]:
    """The seed population. Raises `ConfigError` for a family or parameter that cannot be used."""
    found = []
    for number, seed in enumerate(config.strategies.seeds):
        try:
            found.append(StrategySpec(seed.family, tuple(seed.params)))
        except ValueError as cause:
            raise ConfigError(
                "strategies.toml", f"strategies.seeds.{number}", str(cause), remedy="correct the seed"
            ) from cause
    return found


def sizing_rules(config: Config, pace: Rhythm) -> SizingRules:
    """How entries are sized; the cost set aside is fee, half spread and the impact of an order at its largest."""
    execution = config.execution
    impact_bp = execution.impact_bp * execution.participation**0.5
    return SizingRules(
        config.sizing,
        config.risk,
        cost=float(execution.fee_rate) + (execution.half_spread_bp + impact_bp) / 1e4,
        sessions_a_day=pace.sessions_a_day,
    )


def watched(config: Config) -> dict[str, dict[str, Any]]:
    """The control charts, and the ladder for the drawdown, by name. Raises `ConfigError` for one that cannot be drawn."""
    if not config.spc.enabled:
        return {}
    found: dict[str, dict[str, Any]] = {name: chart.model_dump() for name, chart in config.spc.charts.items()}
    found[DRAWDOWN] = ladder_settings(config.risk.max_drawdown)
    for name, settings in found.items():
        try:
            chart_spec(name, settings)
        except UnusableCharacteristic as cause:
            raise ConfigError("spc.toml", "spc.charts", str(cause), remedy="correct the chart") from cause
    return found


def _build_charts(bus: EventBus, config: Config, parts: dict[str, Stateful]) -> SpcEngine:
    parts["characteristics"] = Characteristics(bus, watched(config))
    engine = parts["spc"] = SpcEngine(bus)
    parts["limits"] = ControlLimitService(bus, engine)
    parts["ladder"] = DrawdownLadder(bus)
    if config.spc.enabled:
        RuntimeMonitor(bus)
    return engine


def watched_by(config: Config) -> list[Station]:
    """Who must say after every session that it is alive."""
    return [station for station in Station if station is not Station.RANKER or config.ranker.enabled]


async def replay(config: Config, feed: Feed, *, speed: float = 0.0) -> tuple[TradingSystem, RunCompletedEvent]:
    """Build a system on a bus of its own, run it to the end, close the bus."""
    ids = RunIds(run_id_of(config))
    bus = InMemoryEventBus(max_queue_size=QUEUE_SIZE, identify=ids)
    system = build(bus, config, feed, ids=ids)
    try:
        async with bus:
            completed = await system.run(speed=speed)
    finally:
        system.close()
    return system, completed


def run_replay(config: Config, feed: Feed) -> tuple[TradingSystem, RunCompletedEvent]:
    """`replay` for callers without a loop."""
    return asyncio.run(replay(config, feed))
