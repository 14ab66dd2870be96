"""Discord notifier: tells people what changed, through a webhook, without ever holding up the bus.

Handlers only put notices into a bounded queue; a task of its own sends them. Without a webhook it prints instead. The
address is a secret: it is never logged and never part of an event or an error.
"""

from __future__ import annotations

import asyncio
import math
import os
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, ClassVar, Final, Self

import httpx
from pydantic import SecretStr

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

CHANNEL: Final = "discord"
WEBHOOK_VARIABLE: Final = "QT_DISCORD_WEBHOOK"
_TITLE, _DESCRIPTION, _FIELD = 256, 2_000, 1_024  # characters that the service takes; the embed as a whole 6,000
_COLOURS = {"CRITICAL": 0xCF222E, "DEGRADED": 0xBF8700, "HEALTHY": 0x1A7F37}
_PLAIN_COLOUR = 0x0969DA


def webhook_from_environment() -> SecretStr | None:
    """The webhook's address, None when there is none: then notices are printed."""
    address = os.environ.get(WEBHOOK_VARIABLE, "").strip()
    return SecretStr(address) if address else None


@dataclass(slots=True)
class _Notice:
    key: str
    title: str
    text: str
    status: str
    is_urgent: bool
    count: int = 1


class DiscordNotifier:
    """An async context manager beside a running bus: leaving it sends what is still queued.

    `client` and `sleep` are there for tests and for callers with a client of their own; `echo` prints a dry run. `quiet` is for a
    replay faster than anybody reads: urgent notices only, the rest is counted.
    """

    publishes: ClassVar = (NotificationSentEvent, NotificationFailedEvent)

    def __init__(
        self,
        bus: EventBus,
        settings: NotifyConfig,
        *,
        webhook: SecretStr | None = None,
        client: httpx.AsyncClient | None = None,
        sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep,
        echo: Callable[[str], Any] = print,
        quiet: bool = False,
    ) -> None:
        self._bus = bus
        self._settings = settings
        self._quiet = quiet
        self._webhook = webhook
        self._client = client
        self._sleep = sleep
        self._echo = echo
        self._queue: deque[_Notice] = deque()
        self._arrived = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._is_closing = False
        self.dropped = 0
        self.summary: Counter[str] = Counter()  # notices not sent one by one, by title
        self.failed: Counter[str] = Counter()  # notices given up, by reason
        bus.subscribe(HealthStatusChangedEvent, self.on_health_status_changed, name="discord.health")
        bus.subscribe(KillSwitchChangedEvent, self.on_kill_switch_changed, name="discord.killswitch")
        bus.subscribe(StrategyPromotedEvent, self.on_strategy_promoted, name="discord.strategy")
        bus.subscribe(ModelPromotedEvent, self.on_model_promoted, name="discord.model")
        bus.subscribe(PolicyUpdatedEvent, self.on_policy_updated, name="discord.policy")

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._send_all(), name="discord-notifier")
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
        if self.failed:
            reasons = ", ".join(f"{n} x {why}" for why, n in self.failed.most_common())
            self._echo(f"notices given up: {reasons}; check {WEBHOOK_VARIABLE}")

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
        stamp = event.timestamp.date().isoformat()
        self._queue.append(_Notice(key, title, f"{stamp}: {text}", str(status), urgent))
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

    async def _send(self, notice: _Notice) -> None:
        if self._webhook is None:
            times = f" ({notice.count} times)" if notice.count > 1 else ""
            self._echo(f"[{notice.status}] {notice.title}{times}: {notice.text}")
            await self._tell(NotificationSentEvent(channel=CHANNEL, dedupe_key=notice.key, attempts=0, status=0))
            return
        if self._client is not None:
            await self._post(self._client, notice, self._webhook)
            return
        async with httpx.AsyncClient(timeout=self._settings.timeout_s) as client:
            await self._post(client, notice, self._webhook)

    async def _post(self, client: httpx.AsyncClient, notice: _Notice, webhook: SecretStr) -> None:
        """Send, patiently: 429 as long as it asks for, 5xx and time-outs with doubling pauses, anything else is final."""
        status, reason, attempt = 0, "", 0
        for attempt in range(1, self._settings.attempts + 1):
            pause = 2.0 ** (attempt - 1)
            try:
                answer = await client.post(webhook.get_secret_value(), json=_body(notice))
            except httpx.HTTPError as error:
                # The text of such an error may hold the address.
                status, reason = 0, type(error).__name__
            except httpx.InvalidURL:
                status, reason = 0, f"{WEBHOOK_VARIABLE} is no address"
                break
            else:
                status, reason = answer.status_code, f"answered {answer.status_code}"
                if answer.is_success:
                    key = notice.key
                    await self._tell(
                        NotificationSentEvent(channel=CHANNEL, dedupe_key=key, attempts=attempt, status=status)
                    )
                    return
                if status == httpx.codes.TOO_MANY_REQUESTS:
                    pause = _retry_after(answer, pause)
                elif status < httpx.codes.INTERNAL_SERVER_ERROR:
                    break
            if attempt < self._settings.attempts:
                await self._sleep(pause)
        self.failed[reason] += 1
        await self._tell(
            NotificationFailedEvent(
                channel=CHANNEL, dedupe_key=notice.key, attempts=attempt, status=status, reason=reason
            )
        )

    async def _tell(self, event: NotificationSentEvent | NotificationFailedEvent) -> None:
        try:
            await self._bus.publish(event)
        except BusStopped:
            self.summary["outcome told after the bus had stopped"] += 1


def _body(notice: _Notice) -> dict[str, Any]:
    """The JSON of one message with one embed, within the service's limits; nobody is ever mentioned."""
    embed: dict[str, Any] = {
        "title": _cut(notice.title, _TITLE),
        "description": _cut(notice.text, _DESCRIPTION),
        "color": _COLOURS.get(notice.status, _PLAIN_COLOUR),
    }
    if notice.count > 1:
        embed["fields"] = [{"name": "times", "value": _cut(str(notice.count), _FIELD)}]
    return {"embeds": [embed], "allowed_mentions": {"parse": []}}


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _retry_after(answer: httpx.Response, otherwise: float) -> float:
    """The seconds to wait that an answer 429 asks for, at most a minute; garbage asks for nothing."""
    try:
        asked = float(answer.json()["retry_after"])
    except (ValueError, KeyError, TypeError):
        try:
            asked = float(answer.headers.get("Retry-After", ""))
        except ValueError:
            return otherwise
    return min(max(asked, 0.0), 60.0) if not math.isnan(asked) else otherwise
