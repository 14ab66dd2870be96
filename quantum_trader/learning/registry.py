"""Registry: every version of every strategy, model, policy and set of limits, append-only in SQLite.

A write tells `registry.updated`, and caches drop what they hold. A version is never changed: what moves on is its stage,
and that is kept as a history of its own.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Final

from eventbus import EventBus
from quantum_trader.events import (
    ControlLimitsUpdatedEvent,
    EvaluationCompletedEvent,
    PolicyUpdatedEvent,
    PromotionRefusedEvent,
    Purpose,
    RegistryUpdatedEvent,
    SessionClosedEvent,
    SessionDecideEvent,
    StrategyCreatedEvent,
    StrategyPromotedEvent,
)
from quantum_trader.learning.registry_reads import LIMITS, POLICY, STRATEGY, Entry, RegistryReads, UnreadableRegistry
from quantum_trader.model import StrategyLifecycle
from quantum_trader.snapshot import event_values, events_of

SOURCE = "registry"

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS versions (
    number INTEGER PRIMARY KEY, kind TEXT NOT NULL, id TEXT NOT NULL, version INTEGER NOT NULL,
    payload_json TEXT NOT NULL, sha256 TEXT NOT NULL, created_session INTEGER NOT NULL, UNIQUE (kind, id, version)
);
CREATE TABLE IF NOT EXISTS stages (
    number INTEGER PRIMARY KEY, kind TEXT NOT NULL, id TEXT NOT NULL, version INTEGER NOT NULL,
    stage TEXT NOT NULL, session INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS stages_of ON stages (kind, id, version);
CREATE TABLE IF NOT EXISTS passes (
    number INTEGER PRIMARY KEY, evaluation_id TEXT NOT NULL, strategy_id TEXT NOT NULL, to_stage TEXT NOT NULL,
    UNIQUE (evaluation_id, strategy_id, to_stage)
);
"""


# What a strategy may do after it has passed an evaluation.
_OPENS: Final = {Purpose.BACKTEST: StrategyLifecycle.SHADOW, Purpose.SHADOW: StrategyLifecycle.LIVE}
_TABLES: Final = ("versions", "stages", "passes")


class TooLate(RuntimeError):
    """The operator's word was asked for after the first session. Name the strategies before the run."""


class RegistryBehind(Exception):
    """The registry lacks rows that it had when a checkpoint was made of it. Go back further, or start the run anew."""

    def __init__(self, table: str, found: int, wanted: int) -> None:
        super().__init__(f"registry: {table} ends at {found}, a checkpoint says {wanted}; start the run anew")


class Registry(RegistryReads):
    """The store. `path` is a file, made when missing, or ":memory:"; one process at a time writes it.

    Raises `UnreadableRegistry` for a file that is none.
    """

    publishes: ClassVar = (RegistryUpdatedEvent, PromotionRefusedEvent)

    def __init__(self, bus: EventBus, path: str | Path = ":memory:") -> None:
        super().__init__(sqlite3.connect(path, isolation_level=None))
        self._bus = bus
        self._claims: list[StrategyPromotedEvent] = []  # steps up that were told and not judged yet
        self._words: dict[tuple[str | None, str], None] = {}  # of the operator, with the strategy that each is for
        self._is_begun = False
        try:
            # The journal is the truth: what a power cut takes from here is written again when it is replayed.
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.executescript(_SCHEMA)
        except sqlite3.Error as cause:
            self.close()
            raise UnreadableRegistry(path) from cause
        bus.subscribe(StrategyCreatedEvent, self.on_strategy_created, name="registry.strategy_created")
        bus.subscribe(StrategyPromotedEvent, self.on_strategy_promoted, name="registry.strategy_promoted")
        bus.subscribe(EvaluationCompletedEvent, self.on_evaluation_completed, name="registry.evaluation_completed")
        bus.subscribe(SessionDecideEvent, self.on_session_decide, name="registry.decide")
        bus.subscribe(PolicyUpdatedEvent, self.on_policy_updated, name="registry.policy")
        # What a registration tells is part of what a run decided; limits of charts about the machine are not.
        bus.subscribe(
            ControlLimitsUpdatedEvent,
            self.on_limits_updated,
            name="registry.limits",
            where=lambda event: event.clock == "event",
        )

    async def put(
        self, kind: str, id_: str, payload: Mapping[str, Any], *, session: int, at: datetime, stage: str = ""
    ) -> int:
        """A new version holding `payload`; returns its number, counted from 1 for each id.

        The same payload in the same session makes no new one: registering twice is registering once, as a replay does.
        """
        text = json.dumps(payload, sort_keys=True, separators=(",", ":"), allow_nan=False)
        sha256 = hashlib.sha256(text.encode()).hexdigest()
        same = self._db.execute(
            "SELECT version FROM versions WHERE kind = ? AND id = ? AND sha256 = ? AND created_session = ?",
            (kind, id_, sha256, session),
        ).fetchone()
        if same is not None:
            return int(same[0])
        version = self.latest_version(kind, id_) + 1
        self._db.execute(
            "INSERT INTO versions (kind, id, version, payload_json, sha256, created_session) VALUES (?, ?, ?, ?, ?, ?)",
            (kind, id_, version, text, sha256, session),
        )
        if stage:
            self._add_stage(kind, id_, version, stage, session)
        await self._tell(kind, id_, version, "PUT", at)
        return version

    async def set_stage(self, kind: str, id_: str, version: int, stage: str, *, session: int, at: datetime) -> None:
        """Record that a version is in `stage` from `session` on. Raises NotRegistered."""
        self._read(kind, id_, version)
        if (version, stage, session) in self.stages(kind, id_):
            return
        self._add_stage(kind, id_, version, stage, session)
        await self._tell(kind, id_, version, "STAGE", at)

    async def on_strategy_created(self, event: StrategyCreatedEvent) -> None:
        payload = {
            "family": event.family,
            "params": dict(event.params),
            "parents": list(event.parents),
            "trial_no": event.trial_no,
        }
        stage = StrategyLifecycle.BACKTEST.value
        await self.put(STRATEGY, event.strategy_id, payload, session=event.session, at=event.timestamp, stage=stage)

    async def on_strategy_promoted(self, event: StrategyPromotedEvent) -> None:
        if event.is_step_up:
            self._claims.append(event)
        else:
            await self._record(event)

    async def on_evaluation_completed(self, event: EvaluationCompletedEvent) -> None:
        stage = _OPENS.get(event.purpose)
        if event.subject_kind == STRATEGY and event.verdict == "PASS" and stage is not None:
            self._db.execute(
                "INSERT OR IGNORE INTO passes (evaluation_id, strategy_id, to_stage) VALUES (?, ?, ?)",
                (event.evaluation_id, event.subject_id, stage.value),
            )

    async def on_session_decide(self, event: SessionDecideEvent) -> None:
        """Judge the steps up of this session: whatever was evaluated in it is known by now, whoever was heard first."""
        self._is_begun = True
        claims, self._claims = self._claims, []
        for claim in claims:
            if self.backs(claim):
                await self._record(claim)
                continue
            await self._bus.publish(
                PromotionRefusedEvent(
                    strategy_id=claim.strategy_id,
                    to_stage=claim.to_stage,
                    evaluation_id=claim.evaluation_id,
                    claimed_by=claim.source,
                    session=event.session,
                    timestamp=event.timestamp,
                    source=SOURCE,
                )
            )

    def admit(self, strategy_id: str, run_id: str) -> str:
        """The operator's word that a strategy of their own may go LIVE without an evaluation; what a promotion has to
        carry. Said again by whoever builds the run again; raises TooLate once a session has begun."""
        if self._is_begun:
            raise TooLate(f"strategy {strategy_id}: the run has begun; name it before")
        word = f"operator:{run_id}"
        self._words[word, strategy_id] = None
        return word

    def backs(self, promotion: StrategyPromotedEvent) -> bool:
        """Whether a change of stage counts: a step down always, a step up with what the strategy passed for that stage."""
        if not promotion.is_step_up:
            return True
        if (
            promotion.to_stage is StrategyLifecycle.LIVE
            and (promotion.evaluation_id, promotion.strategy_id) in self._words
        ):
            return True
        found = self._db.execute(
            "SELECT 1 FROM passes WHERE evaluation_id = ? AND strategy_id = ? AND to_stage = ?",
            (promotion.evaluation_id, promotion.strategy_id, promotion.to_stage.value),
        )
        return found.fetchone() is not None

    async def _record(self, event: StrategyPromotedEvent) -> None:
        version = self.latest_version(STRATEGY, event.strategy_id)
        stage = event.to_stage.value
        await self.set_stage(STRATEGY, event.strategy_id, version, stage, session=event.session, at=event.timestamp)

    async def on_policy_updated(self, event: PolicyUpdatedEvent) -> None:
        await self.put(POLICY, "policy", _plain(event), session=event.session, at=event.timestamp)

    async def on_limits_updated(self, event: ControlLimitsUpdatedEvent) -> None:
        await self.put(
            LIMITS, event.chart or str(event.characteristic_id), _plain(event), session=0, at=event.timestamp
        )

    def state(self) -> dict[str, Any]:
        """How far it is written, which is durable from here on."""
        self._db.execute("PRAGMA wal_checkpoint(FULL)")
        written = {table: self._written(table) for table in _TABLES}
        return written | {"claims": [event_values(event) for event in self._claims], "begun": self._is_begun}

    def forget(self) -> None:
        """Forget everything that was written: it is done again from the beginning."""
        for table in _TABLES:
            self._db.execute(f"DELETE FROM {table}")

    def restore(self, state: Mapping[str, Any]) -> None:
        """Forget what was written after `state()`: what is done again is written again. Raises `RegistryBehind`."""
        for table in _TABLES:
            if self._written(table) < state[table]:
                raise RegistryBehind(table, self._written(table), state[table])
            self._db.execute(f"DELETE FROM {table} WHERE number > ?", (state[table],))
        self._claims = events_of(state["claims"])
        self._is_begun = state["begun"]

    def _written(self, table: str) -> int:
        return int(self._db.execute(f"SELECT coalesce(max(number), 0) FROM {table}").fetchone()[0])

    def _add_stage(self, kind: str, id_: str, version: int, stage: str, session: int) -> None:
        self._db.execute(
            "INSERT INTO stages (kind, id, version, stage, session) VALUES (?, ?, ?, ?, ?)",
            (kind, id_, version, stage, session),
        )

    async def _tell(self, kind: str, id_: str, version: int, op: str, at: datetime) -> None:
        await self._bus.publish(
            RegistryUpdatedEvent(kind=kind, id=id_, version=version, op=op, timestamp=at, source=SOURCE)
        )


class CachingRegistry:
    """Reads through a cache. An entry is dropped when an update is announced, and once a session its version is checked
    against the store, so that a missed announcement costs a stale read of one session at most."""

    def __init__(self, bus: EventBus, registry: Registry) -> None:
        self._registry = registry
        self._newest: dict[tuple[str, str], Entry] = {}
        self._checked: set[tuple[str, str]] = set()  # against the store, in this session
        self.reads = 0  # of the store
        bus.subscribe(RegistryUpdatedEvent, self.on_updated, name="registry_cache.updated")
        bus.subscribe(SessionClosedEvent, self.on_session_closed, name="registry_cache.closed")

    def get(self, kind: str, id_: str, version: int | None = None) -> Entry:
        """As `Registry.get`: never older than what was announced, never another version than the one named."""
        key = (kind, id_)
        held = self._newest.get(key)
        if held is not None and version == held.version:
            return held
        if version is not None:
            self.reads += 1
            return self._registry.get(kind, id_, version)
        if held is not None and (key in self._checked or self._registry.latest_version(kind, id_) == held.version):
            self._checked.add(key)
            return held
        self.reads += 1
        entry = self._newest[key] = self._registry.get(kind, id_)
        self._checked.add(key)
        return entry

    async def on_updated(self, event: RegistryUpdatedEvent) -> None:
        self._newest.pop((event.kind, event.id), None)

    async def on_session_closed(self, event: SessionClosedEvent) -> None:
        self._checked.clear()


def _plain(event: PolicyUpdatedEvent | ControlLimitsUpdatedEvent) -> dict[str, Any]:
    return event.model_dump(mode="json", include=set(type(event).__event__.fields))
