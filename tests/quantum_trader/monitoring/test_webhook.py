"""Webhook: JSON of the receiver's shape, signed, tried again, over a real socket; the address and the secret are said nowhere."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from eventbus import InMemoryEventBus
from quantum_trader.cli import main
from quantum_trader.config import NotifyConfig, WebhookConfig
from quantum_trader.events import (
    KillSwitchChangedEvent,
    NotificationFailedEvent,
    NotificationSentEvent,
    ViolationAcknowledgedEvent,
    ViolationCreatedEvent,
)
from quantum_trader.model import KillMode
from quantum_trader.monitoring.alerts import AlertManager
from quantum_trader.monitoring.notices import Notifier
from quantum_trader.monitoring.webhook import WebhookChannel, signature

SECRET = "whsec_" + base64.b64encode(b"a key of thirty-two bytes, or so").decode()
AT = datetime.fromtimestamp(1_700_000_000.5, UTC)
SWITCH = KillSwitchChangedEvent(mode=KillMode.HALT, reason='"quoted" $5 {title}', actor="ada")
Outcome = NotificationSentEvent | NotificationFailedEvent


class Receiver(ThreadingHTTPServer):
    """Answers what it is told to, then 204, and keeps what came."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.answers: list[tuple[int, dict[str, str]]] = []
        self.came: list[tuple[dict[str, str], bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/in/very-secret-token"


class _Answers(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.came.append(({name.lower(): value for name, value in self.headers.items()}, body))
        status, headers = self.server.answers.pop(0) if self.server.answers else (204, {})
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class Sending:
    """Notices on their way to a webhook."""

    def __init__(self) -> None:
        self.pauses: list[float] = []
        self.said: list[str] = []
        self.outcomes: list[Outcome] = []

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)

    async def on_outcome(self, event: Outcome) -> None:
        self.outcomes.append(event)

    async def of(self, url: str, *events: Any, secret: str | None = None, **settings: Any) -> None:
        bus = InMemoryEventBus()
        bus.subscribe(NotificationSentEvent, self.on_outcome)
        bus.subscribe(NotificationFailedEvent, self.on_outcome)
        key = None if secret is None else SecretStr(secret)
        one = WebhookConfig(**settings)
        channel = WebhookChannel("ops", one, SecretStr(url), key, timeout_s=60.0, now=lambda: AT)
        async with bus:
            notifier = Notifier(
                bus, NotifyConfig(), channel, name=channel.name, sleep=self.sleep, echo=self.said.append
            )
            AlertManager(bus, [notifier])
            for event in events:
                await bus.publish(event)
            await bus.drain()
            async with notifier:
                pass
            await bus.drain()


async def test_a_notice_is_json_of_the_receivers_own_shape(receiver: Receiver) -> None:
    body = {
        "text": "*$title* ($$1): $text",
        "blocks": [{"level": "$status", "times": "$count", "page": "$urgent"}],
        "version": 2,
    }
    sending = Sending()
    await sending.of(receiver.url, SWITCH, body=body)
    ((headers, came),) = receiver.came
    assert headers["content-type"] == "application/json"
    assert json.loads(came) == {
        "text": f'*Kill switch HALT* ($1): {SWITCH.timestamp.date()}: ada: "quoted" $5 {{title}}',
        "blocks": [{"level": "CRITICAL", "times": 1, "page": True}],
        "version": 2,
    }
    assert [(one.channel, type(one)) for one in sending.outcomes] == [("webhook.ops", NotificationSentEvent)]


async def test_a_violation_reaches_it_as_it_does_every_notifier(receiver: Receiver) -> None:
    critical, mild = (
        ViolationCreatedEvent(
            violation_id=n,
            sample_id=7,
            characteristic_id=1,
            rule_id=1,
            rule_name="Outlier",
            severity=severity,
            chart="x",
        )
        for n, severity in enumerate(("CRITICAL", "WARNING"))
    )
    acknowledged = ViolationAcknowledgedEvent(violation_id=0, user="ada", reason="seen")
    await Sending().of(receiver.url, critical, mild, acknowledged)
    told = [json.loads(body)["title"] for _headers, body in receiver.came]
    assert told == ["Rule 1 (Outlier) on x", "0 acknowledged"]


async def test_equal_notices_are_one_with_a_count(receiver: Receiver) -> None:
    await Sending().of(receiver.url, SWITCH, SWITCH.model_copy(update={"event_id": "other"}))
    ((_headers, came),) = receiver.came
    assert json.loads(came)["count"] == 2


async def test_a_message_is_signed_so_that_the_receiver_can_check_it(receiver: Receiver) -> None:
    await Sending().of(receiver.url, SWITCH, secret=SECRET)
    ((headers, came),) = receiver.came
    signed = f"{SWITCH.event_id}.1700000000.".encode() + came
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-id"] == SWITCH.event_id
    assert headers["webhook-timestamp"] == "1700000000"
    assert headers["webhook-signature"] == f"v1,{expected}"


def test_the_signature_is_that_of_the_specification() -> None:
    """The example of the Standard Webhooks specification's own libraries."""
    body = b'{"test": 2432232314}'
    key = SecretStr("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", body) == expected


async def test_without_a_secret_nothing_is_signed(receiver: Receiver) -> None:
    await Sending().of(receiver.url, SWITCH)
    assert "webhook-signature" not in receiver.came[0][0]


async def test_a_busy_receiver_is_asked_again_with_the_same_id(receiver: Receiver) -> None:
    receiver.answers = [(503, {"Retry-After": "7"}), (500, {}), (429, {"Retry-After": "garbage"})]
    sending = Sending()
    await sending.of(receiver.url, SWITCH, secret=SECRET)
    assert sending.pauses[:3] == [7.0, 2.0, 4.0]
    assert {headers["webhook-id"] for headers, _body in receiver.came} == {SWITCH.event_id}
    assert [(type(one), one.attempts) for one in sending.outcomes] == [(NotificationSentEvent, 4)]


async def test_a_refusal_is_final_and_told(receiver: Receiver) -> None:
    receiver.answers = [(410, {})]
    sending = Sending()
    await sending.of(receiver.url, SWITCH)
    assert [(type(one), one.status) for one in sending.outcomes] == [(NotificationFailedEvent, 410)]
    assert sending.said == ["notices given up: 1 x answered 410; check QT_WEBHOOK_OPS"]


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/very-secret-token", "very-secret-token", "http://127.0.0.1:99999/very-secret-token"]
)
async def test_neither_the_address_nor_the_secret_is_said_anywhere(
    receiver: Receiver, url: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    receiver.answers = [(500, {})] * 2
    sending, working = Sending(), Sending()
    with caplog.at_level(logging.DEBUG):
        await sending.of(url, SWITCH, secret=SECRET)
        await working.of(receiver.url, SWITCH, secret=SECRET)
    channel = WebhookChannel("ops", WebhookConfig(), SecretStr(url), SecretStr(SECRET), timeout_s=1.0)
    said = [caplog.text, *sending.said, *map(repr, sending.outcomes), *map(repr, working.outcomes), repr(vars(channel))]
    said += capsys.readouterr()
    assert len(sending.outcomes) == len(working.outcomes) == 1
    assert not [text for text in said if "very-secret" in text or SECRET in text]


@pytest.mark.parametrize("text", ["$titel", "costs $", "${title"])
def test_a_template_with_an_unknown_placeholder_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match=r"known are \$title, \$text"):
        WebhookConfig(body={"deep": [{"er": text}]})


def test_a_run_tells_every_webhook_that_the_configuration_names(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "url").write_text(receiver.url)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QT_WEBHOOK_OPS_FILE", str(tmp_path / "url"))
    monkeypatch.setenv("QT_WEBHOOK_OPS_SECRET", SECRET)
    monkeypatch.setenv("QT_NOTIFY__WEBHOOKS__OPS__BODY__TEXT", '"$title"')
    monkeypatch.setenv("QT_NOTIFY__COALESCE_S", "0.001")
    short = ("--from", "2000-03-01", "--to", "2000-06-30", "--symbols", "IBM", "--profile", "oracle")
    with pytest.raises(SystemExit) as ended:
        main(("demo", *short, "--notify"))
    assert ended.value.code == 0
    told = {json.loads(body)["text"] for _headers, body in receiver.came}
    assert "trend-20-50: BACKTEST to LIVE" in told
    assert all(headers["webhook-signature"].startswith("v1,") for headers, _body in receiver.came)
    kept = [file.read_bytes() for file in (tmp_path / "runs").rglob("*") if file.is_file()]
    printed = "".join(capsys.readouterr())
    assert kept
    assert not any(b"very-secret" in text or SECRET.encode() in text for text in [*kept, printed.encode()])
