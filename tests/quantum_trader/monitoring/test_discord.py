"""Discord notifier: one message per change, patient with a busy service, silent about its secret."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from eventbus import InMemoryEventBus
from quantum_trader.config import NotifyConfig
from quantum_trader.events import (
    HealthStatusChangedEvent,
    KillSwitchChangedEvent,
    NotificationFailedEvent,
    NotificationSentEvent,
    PolicyUpdatedEvent,
)
from quantum_trader.model import HealthStatus, KillMode, RiskMode
from quantum_trader.monitoring.discord import WEBHOOK_VARIABLE, DiscordNotifier
from quantum_trader.monitoring.secrets import secret

SECRET = "https://hooks.example/secret-token"
Answer = Callable[[httpx.Request], httpx.Response]


class Service:
    """A webhook that answers from a list, then 204."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.bodies: list[dict[str, Any]] = []
        self.pauses: list[float] = []
        self.said: list[str] = []
        self.outcomes: list[NotificationSentEvent | NotificationFailedEvent] = []

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.bodies.append(json.loads(request.content))
        answer = self.answers.pop(0) if self.answers else httpx.Response(204)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)

    async def on_outcome(self, event: NotificationSentEvent | NotificationFailedEvent) -> None:
        self.outcomes.append(event)

    async def told(self, *events: Any, webhook: str | None = SECRET, quiet: bool = False, **settings: Any) -> None:
        """Send what `events` cause, one after the other: each kind has a subscription, and those keep no order among them."""
        bus = InMemoryEventBus()
        bus.subscribe(NotificationSentEvent, self.on_outcome)
        bus.subscribe(NotificationFailedEvent, self.on_outcome)
        async with httpx.AsyncClient(transport=httpx.MockTransport(self.answer)) as client, bus:
            notifier = DiscordNotifier(
                bus,
                NotifyConfig(**settings),
                webhook=None if webhook is None else SecretStr(webhook),
                client=client,
                sleep=self.sleep,
                echo=self.said.append,
                quiet=quiet,
            )
            for event in events:
                await bus.publish(event)
                await bus.drain()
            async with notifier:
                pass
            await bus.drain()


def health(status: HealthStatus, reason: str = "test") -> HealthStatusChangedEvent:
    return HealthStatusChangedEvent(old_status=HealthStatus.HEALTHY, new_status=status, component="DATA", reason=reason)


def policy(mode: RiskMode) -> PolicyUpdatedEvent:
    return PolicyUpdatedEvent(
        risk_mode=mode, allowed_strategies=[], global_min_confidence=0, max_risk_per_trade=0, max_positions=0
    )


SWITCH = KillSwitchChangedEvent(mode=KillMode.HALT, reason="@everyone look", actor="ada")


async def test_change_becomes_one_message_that_mentions_nobody() -> None:
    service = Service()
    await service.told(SWITCH)
    (body,) = service.bodies
    assert body["allowed_mentions"] == {"parse": []}
    assert body["embeds"][0]["title"] == "Kill switch HALT"
    assert [type(outcome) for outcome in service.outcomes] == [NotificationSentEvent]


async def test_equal_notices_are_one_message_with_a_count() -> None:
    service = Service()
    await service.told(*[health(HealthStatus.CRITICAL)] * 3, health(HealthStatus.HEALTHY))
    assert [body["embeds"][0].get("fields") for body in service.bodies] == [[{"name": "times", "value": "3"}], None]


async def test_busy_service_is_asked_again_after_the_time_it_wants() -> None:
    service = Service(httpx.Response(429, json={"retry_after": 0.7}), httpx.Response(429, headers={"Retry-After": "3"}))
    await service.told(SWITCH)
    assert service.pauses == [0.7, 3.0]
    assert service.outcomes[0].attempts == 3


@pytest.mark.parametrize("body", [b"garbage", b"[]", b'{"retry_after": "soon"}', b'{"retry_after": null}'])
async def test_garbage_in_an_answer_means_the_usual_pause(body: bytes) -> None:
    service = Service(httpx.Response(429, content=body))
    await service.told(SWITCH)
    assert service.pauses == [1.0]


async def test_failures_back_off_and_end_in_one_failed_event_without_the_secret() -> None:
    service = Service(
        httpx.Response(500),
        httpx.ConnectError(f"cannot reach {SECRET}"),
        httpx.ReadTimeout(SECRET),
        httpx.Response(503),
    )
    await service.told(SWITCH)
    assert service.pauses == [1.0, 2.0, 4.0]
    (outcome,) = service.outcomes
    assert isinstance(outcome, NotificationFailedEvent)
    assert (outcome.attempts, outcome.status, outcome.reason) == (4, 503, "answered 503")
    assert "secret" not in str(outcome.payload)


async def test_a_refusal_is_final() -> None:
    service = Service(httpx.Response(404))
    await service.told(SWITCH)
    assert service.pauses == []
    assert service.outcomes[0].status == 404


async def test_full_queue_drops_the_oldest_that_is_not_urgent() -> None:
    service = Service()
    await service.told(SWITCH, *(policy(mode) for mode in RiskMode), queue_size=2)
    assert [body["embeds"][0]["title"] for body in service.bodies] == ["Kill switch HALT", "Policy AGGRESSIVE"]


async def test_quiet_sends_the_urgent_and_counts_the_rest() -> None:
    service = Service()
    await service.told(policy(RiskMode.NORMAL), policy(RiskMode.NORMAL), SWITCH, quiet=True)
    assert len(service.bodies) == 1
    assert service.said == ["not sent one by one: 2 x Policy NORMAL"]


async def test_without_a_webhook_it_prints() -> None:
    service = Service()
    await service.told(SWITCH, webhook=None)
    assert service.bodies == []
    assert "Kill switch HALT" in service.said[0]


async def test_long_texts_are_cut_to_what_the_service_takes() -> None:
    service = Service()
    await service.told(health(HealthStatus.CRITICAL, "x" * 5_000))
    assert len(service.bodies[0]["embeds"][0]["description"]) == 2_000


def test_webhook_comes_from_the_environment_and_does_not_print(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QT_DISCORD_WEBHOOK", raising=False)
    assert secret(WEBHOOK_VARIABLE) is None
    monkeypatch.setenv("QT_DISCORD_WEBHOOK", SECRET)
    assert "secret" not in repr(secret(WEBHOOK_VARIABLE))
