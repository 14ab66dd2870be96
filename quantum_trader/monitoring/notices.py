"""Notices: what is worth telling people becomes one, and a notifier brings it to its channel without ever holding up the bus.

Handlers only put notices into a bounded queue; a task of its own sends them, patiently. Equal ones that wait are one with a
count. What a channel is made of is not known here.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, ClassVar, Protocol, Self

from eventbus import BusStopped, Event, EventBus
from quantum_trader.config import NotifyConfig
from quantum_trader.events import (
    HealthStatusChangedEvent,
    KillSwitchChangedEvent,
    ModelPromotedEvent,
    NotificationFailedEvent,
    NotificationSentEvent,
    PolicyUpdatedEvent,
    StrategyPromotedEvent,
    ViolationAcknowledgedEvent,
    ViolationCreatedEvent,
)
from quantum_trader.model import HealthStatus


@dataclass(slots=True)
class Notice:
    """One message to people. `id` is that of the event it is about, and stays the same however often it is sent."""

    key: str  # equal ones say the same
    id: str
    type: str
    date: str  # ISO
    title: str
    text: str
    status: str
    is_urgent: bool
    count: int = 1


class Refused(Exception):
    """A channel did not take a notice. `reason` holds no secret; `is_final`: it would not take it later either."""

    def __init__(self, reason: str, *, status: int = 0, is_final: bool = False, after: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.is_final = is_final
        self.after = after  # the seconds that it asks for


class Channel(Protocol):
    """Where notices go."""

    name: str  # what its subscriptions and the events about it are called by
    remedy: str  # what to check when it takes nothing

    async def send(self, notice: Notice) -> int:
        """Hand it over; gives the answer's code. Raises `Refused`."""
        ...


class Notifier:
    """An async context manager beside a running bus, and an `AlertNotifier`: leaving it sends what is still queued.

    Without a channel it prints instead. `sleep` is there for tests; `echo` prints. `quiet` is for a replay faster than anybody
    reads: urgent notices only, the rest is counted.
    """

    publishes: ClassVar = (NotificationSentEvent, NotificationFailedEvent)

    def __init__(
        self,
        bus: EventBus,
        settings: NotifyConfig,
        channel: Channel | None,
        *,
        name: str,
        sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep,
        echo: Callable[[str], Any] = print,
        quiet: bool = False,
    ) -> None:
        self.name = name
        self._bus = bus
        self._settings = settings
        self._quiet = quiet
        self._channel = channel
        self._sleep = sleep
        self._echo = echo
        self._queue: deque[Notice] = deque()
        self._arrived = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._is_closing = False
        self.dropped = 0
        self.summary: Counter[str] = Counter()  # notices not sent one by one, by title
        self.failed: Counter[str] = Counter()  # notices given up, by reason
        bus.subscribe(HealthStatusChangedEvent, self.on_health_status_changed, name=f"{name}.health")
        bus.subscribe(KillSwitchChangedEvent, self.on_kill_switch_changed, name=f"{name}.killswitch")
        bus.subscribe(StrategyPromotedEvent, self.on_strategy_promoted, name=f"{name}.strategy")
        bus.subscribe(ModelPromotedEvent, self.on_model_promoted, name=f"{name}.model")
        bus.subscribe(PolicyUpdatedEvent, self.on_policy_updated, name=f"{name}.policy")

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._send_all(), name=f"{self.name}-notifier")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_closing = True
        self._arrived.set()
        if self._task is not None:
            await self._task
        if self.summary:
            self._echo("not sent one by one: " + ", ".join(f"{n} x {what}" for what, n in self.summary.most_common()))
        if self.failed and self._channel is not None:
            reasons = ", ".join(f"{n} x {why}" for why, n in self.failed.most_common())
            self._echo(f"notices given up: {reasons}; check {self._channel.remedy}")

    # --- what becomes a notice -----------------------------------------------------------------------------------

    async def on_health_status_changed(self, event: HealthStatusChangedEvent) -> None:
        critical = HealthStatus.CRITICAL in (event.new_status, event.old_status)
        self._offer(event, f"{event.component} is {event.new_status}", event.reason, event.new_status, urgent=critical)

    async def on_kill_switch_changed(self, event: KillSwitchChangedEvent) -> None:
        latched = ", latched" if event.latched else ""
        self._offer(
            event, f"Kill switch {event.mode}{latched}", f"{event.actor}: {event.reason}", "CRITICAL", urgent=True
        )

    async def on_strategy_promoted(self, event: StrategyPromotedEvent) -> None:
        title = f"{event.strategy_id}: {event.from_stage} to {event.to_stage}"
        self._offer(event, title, event.reason, event.to_stage, urgent=True)

    async def on_model_promoted(self, event: ModelPromotedEvent) -> None:
        title = f"{event.model_name}: {event.old_version} to {event.new_version}"
        self._offer(event, title, str(dict(event.metrics)), "LIVE", urgent=True)

    async def on_policy_updated(self, event: PolicyUpdatedEvent) -> None:
        self._offer(event, f"Policy {event.risk_mode}", "; ".join(event.reasons), event.risk_mode, urgent=False)

    async def notify_violation_created(self, event: ViolationCreatedEvent) -> None:
        """As an `AlertNotifier`: only critical ones are worth a message."""
        if event.severity == "CRITICAL":
            text = f"sample {event.sample_id} of {event.chart}"
            self._offer(
                event, f"Rule {event.rule_id} ({event.rule_name}) on {event.chart}", text, "DEGRADED", urgent=False
            )

    async def notify_violation_acknowledged(self, event: ViolationAcknowledgedEvent) -> None:
        self._offer(event, f"{event.violation_id} acknowledged", f"{event.user}: {event.reason}", "OK", urgent=False)

    def _offer(self, event: Event, title: str, text: str, status: str, *, urgent: bool) -> None:
        """Queue a notice; the oldest that is not urgent makes room when the queue is full."""
        if self._quiet and not urgent:
            self.summary[title] += 1
            return
        key = f"{event.type}:{title}:{status}"
        same = next((notice for notice in self._queue if notice.key == key), None)
        if same is not None:
            same.count += 1
            return
        if len(self._queue) >= self._settings.queue_size and not urgent:
            victim = next((notice for notice in self._queue if not notice.is_urgent), None)
            self.dropped += 1
            if victim is None:
                return
            self._queue.remove(victim)
        date = event.timestamp.date().isoformat()
        text = f"{date}: {text}"
        self._queue.append(Notice(key, event.event_id, event.type, date, title, text, str(status), urgent))
        self._arrived.set()

    # --- sending -------------------------------------------------------------------------------------------------

    async def _send_all(self) -> None:
        while not (self._is_closing and not self._queue):
            await self._arrived.wait()
            if not self._is_closing:
                await self._sleep(self._settings.coalesce_s)
            self._arrived.clear()
            while self._queue:
                await self._send(self._queue.popleft())
            if self._is_closing:
                self._arrived.set()

    async def _send(self, notice: Notice) -> None:
        if self._channel is None:
            times = f" ({notice.count} times)" if notice.count > 1 else ""
            self._echo(f"[{notice.status}] {notice.title}{times}: {notice.text}")
            await self._tell(NotificationSentEvent(channel=self.name, dedupe_key=notice.key, attempts=0, status=0))
            return
        for attempt in range(1, self._settings.attempts + 1):
            try:
                status = await self._channel.send(notice)
            except Refused as refused:
                if refused.is_final or attempt == self._settings.attempts:
                    await self._gave_up(notice, attempt, refused)
                    return
                await self._sleep(2.0 ** (attempt - 1) if refused.after is None else refused.after)
            else:
                name, key = self.name, notice.key
                await self._tell(NotificationSentEvent(channel=name, dedupe_key=key, attempts=attempt, status=status))
                return

    async def _gave_up(self, notice: Notice, attempts: int, refused: Refused) -> None:
        self.failed[refused.reason] += 1
        await self._tell(
            NotificationFailedEvent(
                channel=self.name,
                dedupe_key=notice.key,
                attempts=attempts,
                status=refused.status,
                reason=refused.reason,
            )
        )

    async def _tell(self, event: NotificationSentEvent | NotificationFailedEvent) -> None:
        try:
            await self._bus.publish(event)
        except BusStopped:
            self.summary["outcome told after the bus had stopped"] += 1
