"""Audit: does the journal of a run hold what the run claims? Everything is computed again from what it heard.

The chain of records, the digest of decisions, and the books: bars and fills go through a ledger of their own, whose statements
must be the ones that were made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from eventbus import InMemoryEventBus, JournalDamaged, JournalReader
from quantum_trader.config import Config
from quantum_trader.events import (
    KillSwitchChangedEvent,
    MarketBarEvent,
    PortfolioUpdatedEvent,
    RunCompletedEvent,
    RunStartedEvent,
    SessionClosedEvent,
    TradeExecutedEvent,
)
from quantum_trader.execution.accounts import Accounts
from quantum_trader.execution.ledger import PortfolioLedger
from quantum_trader.monitoring.digest import NOTHING, chained, decision_line
from quantum_trader.runs.folder import RunFolder
from quantum_trader.runs.history import barriers, events, opened

_BOOKED: Final = (
    MarketBarEvent,
    TradeExecutedEvent,
    SessionClosedEvent,
    KillSwitchChangedEvent,
    PortfolioUpdatedEvent,
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One question, whether it came out well, and what was found."""

    check: str
    is_well: bool
    detail: str


async def audit(folder: RunFolder) -> list[Finding]:
    """Every question, in the order that lets the first bad answer explain those after it. Raises `NoRun`."""
    config = folder.config()
    with opened(folder) as reader:
        try:
            sound = reader.verify()
        except JournalDamaged as damage:
            return [Finding("journal", False, str(damage))]
        findings = [Finding("journal", True, f"{sound.records:,} records, chain {sound.digest}")]
        findings.append(_origin(reader, config))
        findings.append(_digest(reader))
        findings.append(await _books(reader, config))
    return findings


def _origin(reader: JournalReader, config: Config) -> Finding:
    started = next(events(reader, RunStartedEvent), None)
    if started is None:
        return Finding("origin", False, "the journal does not say what the run was started with")
    is_same = started.config_sha256 == config.sha256()
    what = "the one in the folder" if is_same else f"{started.config_sha256}, the one in the folder {config.sha256()}"
    return Finding("origin", is_same, f"run {started.run_id}, seed {started.seed}, configuration {what}")


def _digest(reader: JournalReader) -> Finding:
    value, count = NOTHING, 0
    for barrier in barriers(events(reader)):
        value = chained(value, map(decision_line, barrier.events))
        count += len(barrier.events)
    claims = list(events(reader, RunCompletedEvent))
    if not claims:
        return Finding("digest", True, f"{value} of {count:,} decision events so far; the run is unfinished")
    claim = claims[-1]
    is_same = (claim.digest, claim.det_events) == (value, count)
    said = "as claimed" if is_same else f"the run claims {claim.digest} of {claim.det_events:,}"
    return Finding("digest", is_same, f"{value} of {count:,} decision events, {said}")


async def _books(reader: JournalReader, config: Config) -> Finding:
    bus = InMemoryEventBus()
    PortfolioLedger(bus, Accounts(config.app.cash, window=config.policy.drawdown_window))
    computed: list[PortfolioUpdatedEvent] = []

    async def keep(statement: PortfolioUpdatedEvent) -> None:
        computed.append(statement)

    bus.subscribe(PortfolioUpdatedEvent, keep)
    sessions = fills = 0
    async with bus:
        for event in events(reader, *_BOOKED):
            if isinstance(event, PortfolioUpdatedEvent):
                await bus.drain()
                sessions += 1
                if event.breaches:
                    return Finding("books", False, f"session {event.session}: {'; '.join(event.breaches)}")
                if not computed or computed.pop().payload != event.payload:
                    return Finding("books", False, f"session {event.session}: the statement is not what the fills give")
                continue
            if isinstance(event, SessionClosedEvent):
                await bus.drain()
            fills += isinstance(event, TradeExecutedEvent)
            await bus.publish(event)
    return Finding("books", True, f"{fills:,} fills give the {sessions:,} statements that were made")
