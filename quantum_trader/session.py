"""Session clock: leads a run through its sessions, three drained barriers each, so that no handler races another.

A: the bars; what was decided earlier fills. B: the session is closed; everybody values, scores, ranks, judges.
C: decide; what is decided now meets the bars of the next session at the earliest.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from typing import Any, ClassVar, Protocol, runtime_checkable

from eventbus import Event, EventBus
from quantum_trader.events import SessionClosedEvent, SessionDecideEvent
from quantum_trader.identity import RunIds
from quantum_trader.market.replayer import ReplaySession
from quantum_trader.pace import Pace

SOURCE = "session_clock"


@runtime_checkable
class LiveSessions(Protocol):
    """Sessions that close as time goes by."""

    def __aiter__(self) -> AsyncGenerator[ReplaySession, None]: ...


class SessionClock:
    """Replays `replayer` on `bus`, at most `speed` sessions per second; `pace` pauses it and changes that while it runs.

    `keep_going` is asked before each session; when it says no, the run ends there. `on_barrier` is called at every barrier,
    when nothing is pending, `on_session` with each session after its last one. `roll_call` is awaited with each closed session
    when all that it led to is handled, before its barrier; `judge` is awaited with each closed session
    once all that followed from it is handled, whoever else is alive. `commands` gives what somebody outside wants
    done before a session; it has a barrier of its own. With `ids` the clock's own events have
    the ids that they have in every run of that identity.
    """

    publishes: ClassVar = (SessionClosedEvent, SessionDecideEvent)

    def __init__(
        self,
        bus: EventBus,
        replayer: Iterable[ReplaySession] | LiveSessions,
        *,
        speed: float = 0.0,
        keep_going: Callable[[], bool] | None = None,
        on_barrier: Callable[[], None] | None = None,
        on_session: Callable[[int], Awaitable[None]] | None = None,
        roll_call: Callable[[SessionClosedEvent], Awaitable[None]] | None = None,
        judge: Callable[[SessionClosedEvent], Awaitable[None]] | None = None,
        commands: Callable[[int], Sequence[Event]] = lambda _session: (),
        ids: RunIds | None = None,
    ) -> None:
        self._bus = bus
        self._replayer = replayer
        self._keep_going = keep_going
        self._on_barrier = on_barrier
        self._on_session = on_session
        self._commands = commands
        self._roll_call = roll_call
        self._judge = judge
        self._ids = ids
        self.pace = Pace(speed)
        self.sessions = 0  # completed
        self.bars = 0  # delivered

    async def run(self) -> int:
        """Replay to the end; returns the number of sessions completed. The bus must be running."""
        async with aclosing(self._sessions()) as sessions:
            async for group in sessions:
                await self.pace.next()
                if self._keep_going is not None and not self._keep_going():
                    break
                await self._play(group)
                self.sessions += 1
                self.bars += len(group.bars)
                if self._on_session is not None:
                    await self._on_session(group.session)
        return self.sessions

    async def _sessions(self) -> AsyncGenerator[ReplaySession, None]:
        """One after the other: of what is replayed at once, of what is live as they close."""
        if isinstance(self._replayer, LiveSessions):
            async with aclosing(aiter(self._replayer)) as coming:
                async for group in coming:
                    yield group
        else:
            for group in self._replayer:
                yield group

    async def _play(self, group: ReplaySession) -> None:
        bus = self._bus
        for command in self._commands(group.session):
            await bus.publish(command)
            await self._barrier()
        await bus.publish_many((*group.bars, *group.heartbeats))
        if group.anomalies:
            await bus.publish_many(group.anomalies)
        await self._barrier()
        closed = SessionClosedEvent(
            session=group.session,
            present=group.present,
            missing=group.missing,
            timestamp=group.ts,
            source=SOURCE,
            **self._header(SessionClosedEvent.type, group.session),
        )
        await bus.publish(closed)
        if self._roll_call is not None:
            await bus.drain()
            await self._roll_call(closed)
        await self._barrier()
        if self._judge is not None:
            await self._judge(closed)
            await self._barrier()
        header = self._header(SessionDecideEvent.type, group.session)
        await bus.publish(SessionDecideEvent(session=group.session, timestamp=group.ts, source=SOURCE, **header))
        await self._barrier()

    def _header(self, event_type: str, session: int) -> dict[str, Any]:
        return {} if self._ids is None else {"event_id": self._ids.root(event_type, session)}

    async def _barrier(self) -> None:
        await self._bus.drain()
        if self._on_barrier is not None:
            self._on_barrier()
