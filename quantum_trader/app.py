"""App: the only place that builds components; each gets the bus, and what else it needs, through its constructor.

Builds, and does not decide: every number comes from the configuration (`derived`). What runs then is a `system`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from eventbus import EventBus, InMemoryEventBus
from quantum_trader.alpha.ranker import OpenRanker, OpportunityRanker
from quantum_trader.alpha.ranking import Components
from quantum_trader.alpha.roster import FixedRoster
from quantum_trader.alpha.runtime import StrategyRuntimeEngine
from quantum_trader.alpha.trials import Trials
from quantum_trader.brought import (
    GatesReport,
    own_checks,
    own_components,
    own_runtime,
    own_venue,
)
from quantum_trader.config import Config
from quantum_trader.control.balancer import PortfolioBalancer
from quantum_trader.control.controller import MetaStrategyController
from quantum_trader.control.kill_switch import KillSwitch, SwitchFile
from quantum_trader.control.orchestrator import Orchestrator
from quantum_trader.control.policy_store import NoPolicyStore, PolicyStore
from quantum_trader.control.risk_guard import RiskGuard
from quantum_trader.control.risk_state import RiskState
from quantum_trader.derived import check, load_feed, rhythm_of, run_id_of, seeds, sizing_rules, watched, watched_by
from quantum_trader.events import RunCompletedEvent
from quantum_trader.execution.accounts import Accounts
from quantum_trader.execution.executor import Executor
from quantum_trader.execution.ledger import PortfolioLedger
from quantum_trader.execution.venue import PaperVenue
from quantum_trader.feeds.paper import PaperFeed
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
from quantum_trader.market.calendar import Feed, Rhythm
from quantum_trader.market.dataset import Dataset
from quantum_trader.model import HealthStatus
from quantum_trader.monitoring.alerts import AlertManager, DrawdownLadder
from quantum_trader.monitoring.characteristics import Characteristics
from quantum_trader.monitoring.control_limits import ControlLimitService
from quantum_trader.monitoring.digest import ReplayDigest
from quantum_trader.monitoring.health import SystemHealthMonitor
from quantum_trader.monitoring.record import RunRecord
from quantum_trader.monitoring.runtime import RuntimeMonitor
from quantum_trader.monitoring.spc_engine import SpcEngine
from quantum_trader.own.runtime import OwnRuntime
from quantum_trader.roll import RollCall
from quantum_trader.snapshot import Stateful
from quantum_trader.system import TradingSystem
from quantum_trader.venues.desk import VenueDesk
from quantum_trader.venues.executor import VenueExecutor
from quantum_trader.web.broadcaster import Audience, WebSocketBroadcaster

__all__ = [
    "QUEUE_SIZE",
    "TradingSystem",
    "build",
    "check",
    "load_feed",
    "replay",
    "rhythm_of",
    "run_id_of",
    "run_replay",
    "seeds",
]

QUEUE_SIZE = 100_000


@dataclass(frozen=True, slots=True)
class _Site:
    """What the components of one system are built with. They are put among `parts` as they come: that is their order."""

    bus: EventBus
    config: Config
    feed: Feed
    pace: Rhythm
    instruments: Instruments
    roll: RollCall
    registry: Registry
    parts: dict[str, Stateful]


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
    pace, roll = rhythm_of(feed, config), RollCall(bus, ids=ids)
    kill_switch = KillSwitch(bus, file=switch_file)
    registry = Registry(bus, registry_file or ":memory:")
    parts: dict[str, Stateful] = {"kill_switch": kill_switch, "registry": registry}
    site = _Site(bus, config, feed, pace, Instruments(config.instruments), roll, registry, parts)

    trials, runtime = _build_strategies(site)
    is_brought = isinstance(runtime, OwnRuntime)
    _build_ranker(site)
    _build_models(site)
    subjects = StrategySubjects(trials, config.strategies, periods_per_year=pace.periods_per_year)
    generator = _build_evaluation(site, subjects)

    controller = MetaStrategyController(
        bus,
        policy_store or NoPolicyStore(),
        config.policy,
        confirm_every=config.risk.policy_max_age,
        warrant=registry.backs,
    )
    orchestrator = Orchestrator(bus, policy_max_age=config.risk.policy_max_age, when_degraded=None if is_brought else 1)
    balancer = PortfolioBalancer(bus, sizing_rules(config, pace), site.instruments)
    guard = _build_guard(site)
    parts |= {"controller": controller, "orchestrator": orchestrator, "balancer": balancer, "risk_guard": guard}

    desk = _build_executor(site)
    accounts = Accounts(config.app.cash, window=config.policy.drawdown_window)
    parts["ledger"] = PortfolioLedger(bus, accounts, alive=roll.answer)

    spc = _build_charts(site)
    health = parts["health"] = SystemHealthMonitor(
        bus, config.health, max_drawdown=config.risk.max_drawdown, watched=watched_by(config), ids=ids
    )
    record = _build_record(site, is_brought=is_brought)
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
        gates=GatesReport(bus, subjects, config.own.strategy_id) if is_brought else None,
        parts=parts,
        ids=ids or RunIds(run_id_of(config)),
        data_sha256=feed.digests() if isinstance(feed, Dataset | PaperFeed) else {},
        run_id=run_id_of(config),
        desk=desk,
        closers=closers,
    )


def _build_strategies(site: _Site) -> tuple[Trials, StrategyRuntimeEngine | OwnRuntime]:
    """The virtual accounts, and what runs strategies: the lifecycle's, or the one that a user brought."""
    bus, config = site.bus, site.config
    trials = Trials(config.execution, config.strategies, cooldown=config.risk.cooldown, instruments=site.instruments)
    runtime = own_runtime(bus, config, site.feed, site.roll.answer) or StrategyRuntimeEngine(
        bus,
        config.strategies,
        trials,
        warrant=site.registry.backs,
        ranked=config.ranker.enabled,
        alive=site.roll.answer,
    )
    site.parts["trials"], site.parts["runtime"] = trials, runtime
    return trials, runtime


def _build_ranker(site: _Site) -> None:
    ranker = site.config.ranker
    if not ranker.enabled:
        OpenRanker(site.bus)
        return
    site.parts["ranker"] = OpportunityRanker(
        site.bus,
        every=ranker.every,
        weights=Components(ranker.trend, ranker.momentum, ranker.liquidity, ranker.quality, ranker.cost),
        lead=ranker.lead,
        min_dollar_volume=ranker.min_dollar_volume / site.pace.sessions_a_day,
        alive=site.roll.answer,
    )


def _build_models(site: _Site) -> None:
    """What forecasts, and what trains challengers to it."""
    models = site.config.models
    site.parts["ensemble"] = EnsembleManager(
        site.bus,
        CachingRegistry(site.bus, site.registry),
        half_life=models.half_life,
        rollback_sessions=models.gate.rollback_sessions,
    )
    site.parts["learning"] = ContinuousLearningManager(site.bus, site.registry, models, alive=site.roll.answer)


def _build_evaluation(site: _Site, subjects: StrategySubjects) -> StrategyGenerator | None:
    """The evaluation platform, and the generator that asks it; without a generator when the roster is fixed."""
    bus, config, registry = site.bus, site.config, site.registry
    site.parts["evaluation"] = EvaluationHandler(
        bus,
        QueueHandler(),
        subjects,
        ModelSubjects(config.models.gate),
        warrant=registry.backs,
        alive=site.roll.answer,
    )
    MonitoringHandler(bus)
    specs = seeds(config)
    if config.strategies.all_live:
        words = {spec.strategy_id: registry.admit(spec.strategy_id, run_id_of(config)) for spec in specs}
        FixedRoster(bus, specs, words=words)
        return None
    generator = site.parts["generator"] = StrategyGenerator(bus, config.strategies, seed=config.app.seed)
    return generator


def _build_guard(site: _Site) -> RiskGuard:
    config = site.config
    nothing_yet = RiskState(
        session=-1,
        health=HealthStatus.HEALTHY,
        equity=config.app.cash,
        cash=config.app.cash,
        universe=frozenset(site.feed.symbols),
        limits=config.risk,
        costs=config.execution,
        instruments=site.instruments,
    )
    return RiskGuard(
        site.bus, nothing_yet, warrant=site.registry.backs, checks=own_checks(config), alive=site.roll.answer
    )


def _build_executor(site: _Site) -> VenueDesk | None:
    """The executor, over the paper venue or, with its desk, over one that a user brought."""
    config = site.config
    costs, venue = config.execution, own_venue(config)
    if venue is None:
        paper = PaperVenue(costs, cash=config.app.cash, instruments=site.instruments)
        site.parts["executor"] = Executor(site.bus, paper, alive=site.roll.answer)
        return None
    desk = VenueDesk(venue)
    site.parts["executor"] = VenueExecutor(
        site.bus,
        desk,
        time_to_live=costs.time_to_live,
        holds_stops=bool(getattr(venue, "holds_stops", False)),
        alive=site.roll.answer,
    )
    return desk


def _build_charts(site: _Site) -> SpcEngine:
    bus, parts = site.bus, site.parts
    parts["characteristics"] = Characteristics(bus, watched(site.config))
    engine = parts["spc"] = SpcEngine(bus)
    parts["limits"] = ControlLimitService(bus, engine)
    parts["ladder"] = DrawdownLadder(bus)
    if site.config.spc.enabled:
        RuntimeMonitor(bus)
    return engine


def _build_record(site: _Site, *, is_brought: bool) -> RunRecord:
    feed = site.feed
    record = RunRecord(
        cash=site.config.app.cash, universe_size=len(feed.symbols), periods_per_year=site.pace.periods_per_year
    )
    record.dataset = feed.name if isinstance(feed, Dataset) else ""
    record.attach(site.bus)
    if is_brought:
        record.attach_own(site.bus)
    return record


async def replay(config: Config, feed: Feed) -> tuple[TradingSystem, RunCompletedEvent]:
    """Build a system on a bus of its own, run it to the end, close the bus."""
    ids = RunIds(run_id_of(config))
    bus = InMemoryEventBus(max_queue_size=QUEUE_SIZE, identify=ids)
    system = build(bus, config, feed, ids=ids)
    try:
        async with bus:
            completed = await system.run()
    finally:
        system.close()
    return system, completed


def run_replay(config: Config, feed: Feed) -> tuple[TradingSystem, RunCompletedEvent]:
    """`replay` for callers without a loop."""
    return asyncio.run(replay(config, feed))
