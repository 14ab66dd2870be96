"""Durable: a run over a journal in its folder, from the beginning or from where it was when its process ended.

Both are one road: go back to the newest checkpoint, if there is one, and do the rest. What was done since then is done again;
it has the same ids, and the journal keeps it once. A step that comes out differently is an `IdConflict`, never silence.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from eventbus import Event, EventBus, create_event_bus
from quantum_trader.app import QUEUE_SIZE, TradingSystem, build, run_id_of
from quantum_trader.config import Config
from quantum_trader.control.kill_switch import Held, SwitchFile
from quantum_trader.control.policy_store import FilePolicyStore, PolicyStoreError
from quantum_trader.events import (
    KillSwitchRequestedEvent,
    PolicyOverrideRequestedEvent,
    RunCompletedEvent,
    RunStartedEvent,
    SessionDecideEvent,
    is_decision,
)
from quantum_trader.events.own import VenueReportedEvent
from quantum_trader.feeds.paper import PaperFeed
from quantum_trader.identity import RunIds
from quantum_trader.learning.registry import RegistryBehind
from quantum_trader.market.dataset import Dataset
from quantum_trader.model import KillMode, RiskMode
from quantum_trader.monitoring.analytics import AnalyticsService
from quantum_trader.monitoring.metrics import MetricsLogger
from quantum_trader.runs.checkpoint import Checkpoint, save, saved
from quantum_trader.runs.commands import Commands
from quantum_trader.runs.folder import RunFolder
from quantum_trader.runs.history import is_command
from quantum_trader.runs.inbox import OPERATOR, Inbox
from quantum_trader.runs.venue import SOURCE as VENUE
from quantum_trader.runs.venue import VenueLink

ONLOOKERS: Final = ("record.", "analytics.")
"""Subscriptions whose state is not in a checkpoint: they are told again what the journal has."""


class RunDiffers(Exception):
    """The run was started with other data or other code. Restore them, or start it anew."""

    def __init__(self, path: Path, what: str, then: object, now: object) -> None:
        super().__init__(
            f"{path}: the run was started with {what} {then}, here is {now}; restore it, or start the run anew"
        )


class DurableRun:
    """A trading system on a journal in `folder`, or on the server that `bus_url` names, where other processes hear it.

    An async context manager around the life of its bus.

    There is a `system` once it is entered: only who holds the journal may touch the other files of the folder. Entering
    raises `JournalInUse`, `JournalDamaged`, `JournalUnavailable`.
    """

    system: TradingSystem

    def __init__(
        self, folder: RunFolder, config: Config, feed: Dataset | PaperFeed, *, bus_url: str | None = None
    ) -> None:
        self._config = config
        self._feed = feed
        self._ids = RunIds(run_id_of(config))
        self.folder = folder
        # A file as it is: in a URL, some names are written otherwise.
        self.bus: EventBus = create_event_bus(
            {"backend": "sqlite", "path": str(folder.journal)} if bus_url is None else bus_url,
            write_behind=True,
            max_queue_size=QUEUE_SIZE,
            identify=self._ids,
        )
        self.sessions = 0  # completed, those of earlier processes among them
        self.bars_before = 0  # that earlier processes replayed
        self.is_stopped = False
        self.deciding: frozenset[str] = frozenset()  # subscriptions of what decides in it, once it is entered
        self.retold: list[
            Callable[[Sequence[Event]], object]
        ] = []  # told what earlier processes published, as it goes on
        self._policies = FilePolicyStore(folder.policy)
        self._switch_file = SwitchFile(folder.kill_switch)
        self._reports = Inbox(folder.reports, accepts=(VenueReportedEvent,), source=VENUE)
        self._commands = Commands(Inbox(folder.commands), self._reports)
        self._link: VenueLink | None = None
        self._held: Held | None = None  # what the kill switch was at when the last process ended
        self._every = config.app.checkpoint_every
        self._open = ExitStack()

    async def __aenter__(self) -> Self:
        await self.bus.connect()
        try:
            self.system = build(
                self.bus,
                self._config,
                self._feed,
                policy_store=self._policies,
                switch_file=self._switch_file,
                registry_file=self.folder.registry,
                ids=self._ids,
            )
            self._open.callback(self.system.close)
            self.deciding = frozenset(each.name for each in self.bus.subscriptions)
            analytics = AnalyticsService(self.bus, self.folder.analytics, self.system.record, self.system.digest)
            self._open.callback(analytics.close)
            MetricsLogger(self.bus, self.folder.metrics)
        except BaseException:
            await self.bus.shutdown()
            self._open.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.bus.shutdown()
        self._open.close()

    def command(self, event: Event) -> None:
        """Have a command published before the next session: a place that is the same when the run is done again."""
        self._commands.ask(event)

    def stop(self) -> None:
        """Stop after the session in hand; the run can be continued."""
        self.is_stopped = True
        if isinstance(self._feed, PaperFeed):
            self._feed.stop()
        if (clock := self.system.clock) is not None:
            clock.pace.resume()  # what is paused hears it at once

    async def run(self, *, speed: float = 0.0, until_session: int | None = None) -> RunCompletedEvent | None:
        """Do what is left of the run, at most until `until_session` is done; None when it was stopped before its end.

        Raises `RunDiffers` when it was started with something else, `IdConflict` when what is done again comes out differently.
        """
        first = self.sessions = await self._recover()
        self.bars_before = self.system.record.bars
        if self.system.desk is None:
            return await self._do(first, speed, until_session)
        async with VenueLink(
            self.bus, self.system.desk, self._reports, self.command, grace=self._config.own.grace
        ) as self._link:
            completed = await self._do(first, speed, until_session)
            if completed is not None:
                await self._link.end()
            return completed

    async def _do(self, first: int, speed: float, until_session: int | None) -> RunCompletedEvent | None:
        is_paper = isinstance(self._feed, PaperFeed)
        last = (math.inf if is_paper else len(self.system.feed) - 1) if until_session is None else until_session
        sessions = await self.system.play(
            first,
            speed=speed,
            keep_going=lambda: not self.is_stopped and self.sessions <= last,
            on_session=self._after,
            commands=self._commands_before,
        )
        # A paper run has no end of its own: who stops it has seen enough.
        if sessions < len(self.system.feed) and not (is_paper and self.is_stopped):
            if sessions > first:
                await self._checkpoint(sessions - 1)
            return None
        completed = await self.system.finish(sessions)
        await self.bus.flush()
        return completed

    async def _after(self, session: int) -> None:
        self.sessions = session + 1
        if self._commands.are_taken:
            await self.bus.flush()
            self._commands.settle()
        if self._link is not None and session + 1 >= self._commands.frontier:
            await self._link.after(self.bus.flush)
        if (session + 1) % self._every == 0:
            await self._checkpoint(session)

    async def _checkpoint(self, session: int) -> None:
        await self.bus.flush()
        system = self.system
        offset, letters = self.bus.journal.last, max((one.id for one in await self.bus.dead_letters.list()), default=0)
        save(self.folder, Checkpoint(system.run_id, session, offset, letters, system.state()))

    def _commands_before(self, session: int) -> list[Event]:
        if session >= self._commands.frontier:
            self._hold_switch()
        return self._commands.before(session, self._feed.sessions[session].ts)

    def _hold_switch(self) -> None:
        """The kill switch is never weaker after a restart than its file says, whatever the journal lost."""
        held, self._held = self._held, None
        switch = self.system.kill_switch
        if held is not None and held.is_stricter_than(switch.mode, latched=switch.latched):
            reason = f"kept over a restart: {held.reason}"
            self.command(
                KillSwitchRequestedEvent(
                    mode=held.mode, latch=held.latched, reason=reason, actor=held.actor, source=OPERATOR
                )
            )

    # --- going on ----------------------------------------------------------------------------------------------------

    async def _recover(self) -> int:
        """Become what the newest checkpoint says, or begin; returns the session to go on with."""
        await self._check_origin()
        if isinstance(self._feed, PaperFeed):
            self._feed.recall([event async for event in self.bus.replay() if event.type in PaperFeed.RECALLED])
        self._held = self._switch_file.load()
        checkpoint = self._newest()
        if checkpoint is None:
            self._policies.forget()
            self.system.registry.forget()
            self.system.kill_switch.restore({"mode": KillMode.OFF, "latched": False})
            await self.system.kill_switch.take_effect()
            await self._gather_commands(0, 1)
            await self._forget_letters(0)
            await self.system.begin()
            return 0
        try:
            self.system.restore(checkpoint.state)
        except (LookupError, TypeError, ValueError) as error:
            # It is whole, by its digest: so it was written by code that remembers something else.
            now = f"code that does not understand its checkpoint ({error!r})"
            raise RunDiffers(self.folder.path, "code", "that remembers other things", now) from error
        await self.system.kill_switch.take_effect()
        self._ask_for_policy()
        await self._forget_letters(checkpoint.letters)
        await self._tell_onlookers(checkpoint.offset)
        await self._gather_commands(checkpoint.session + 1, checkpoint.offset + 1)
        return checkpoint.session + 1

    def _newest(self) -> Checkpoint | None:
        """The newest checkpoint that journal and registry have caught up with: a power cut may have taken their ends."""
        for checkpoint in saved(self.folder, self.system.run_id):
            if checkpoint.offset > self.bus.journal.last:
                continue
            try:
                self.system.registry.restore(checkpoint.state["registry"])
            except RegistryBehind:
                continue
            return checkpoint
        return None

    async def _check_origin(self) -> None:
        async for started in self.bus.replay(types=RunStartedEvent.type):
            here = self.system.started()
            for what in ("config_sha256", "code_version", "installed", "data_sha256"):
                then, now = started[what], here[what]
                if then != now:
                    raise RunDiffers(self.folder.path, what, then, now)
            return

    async def _forget_letters(self, newest: int) -> None:
        """Dead letters of what is done again will be made again: those that are newer than the one of that id."""
        await self.bus.dead_letters.purge(lambda letter: letter.id > newest)

    async def _tell_onlookers(self, offset: int) -> None:
        onlookers = [each for each in self.bus.subscriptions if each.name.startswith(ONLOOKERS)]
        async for event in self.bus.replay(until=offset):
            for take in self.retold:
                take((event,))
            for onlooker in onlookers:
                if onlooker.selector.matches(type(event), event.type):
                    await onlooker.handler(event)

    def _ask_for_policy(self) -> None:
        """A policy that cannot be read is no policy: DEFENSIVE, and no entries until somebody says so."""
        try:
            self._policies.load()
        except PolicyStoreError as error:
            self.command(
                PolicyOverrideRequestedEvent(
                    risk_mode=RiskMode.DEFENSIVE,
                    reason=str(error),
                    actor="policy_store",
                    block_entries=True,
                    source=OPERATOR,
                )
            )

    async def _gather_commands(self, session: int, since: int) -> None:
        """What was commanded from outside since then comes again, where it came; what is new comes after all that was begun."""
        is_begun = False
        async for event in self.bus.replay(since=since):
            if isinstance(event, SessionDecideEvent):
                session, is_begun = event.session + 1, False
            elif is_command(event):
                self._commands.repeat(event, session)
                is_begun = True
            elif event.causation_id is None and is_decision(event) and not isinstance(event, RunStartedEvent):
                is_begun = True
        self._commands.frontier = session + is_begun
