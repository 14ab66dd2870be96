"""Mail: over TLS, to a server that the test starts, with its certificate looked at; the password is said nowhere."""

from __future__ import annotations

import asyncio
import logging
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from pydantic import SecretStr, ValidationError

from eventbus import InMemoryEventBus
from eventbus.testing.servers.found import free_port
from quantum_trader.config import EmailConfig, NotifyConfig
from quantum_trader.events import KillSwitchChangedEvent, NotificationFailedEvent, NotificationSentEvent
from quantum_trader.model import KillMode
from quantum_trader.monitoring.mail import MailChannel
from quantum_trader.monitoring.notices import Notifier

PASSWORD = "very-secret-password"
SWITCH = KillSwitchChangedEvent(mode=KillMode.HALT, reason="drawdown\nof 12 %, größer als erlaubt", actor="ada")
Outcome = NotificationSentEvent | NotificationFailedEvent


class Postbox:
    """What the server does with messages: answers what it is told to, then takes them."""

    def __init__(self) -> None:
        self.answers: list[str] = []
        self.came: list[tuple[Envelope, EmailMessage]] = []
        self.logins: list[bool] = []

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:
        if self.answers:
            return self.answers.pop(0)
        assert isinstance(envelope.content, bytes)
        self.came.append((envelope, message_from_bytes(envelope.content, policy=policy.default)))
        return "250 taken"

    def authenticate(
        self, _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: Any
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.logins.append((data.login, data.password) == (b"desk", PASSWORD.encode()))
        return AuthResult(success=self.logins[-1], handled=False)


CONNECTED: set[SMTP] = set()
"""What servers have not parted with."""


class Connection(SMTP):
    """One client at a server."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        CONNECTED.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        CONNECTED.discard(self)


class Server(Controller):
    """Knows who is connected."""

    def factory(self) -> SMTP:
        return Connection(self.handler, **self.SMTP_kwargs)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate of 127.0.0.1 and its key."""
    folder = tmp_path_factory.mktemp("tls")
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    files = ["-keyout", "key.pem", "-out", "cert.pem", "-days", "1"]
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*made, *files, *subject], cwd=folder, capture_output=True, check=True)
    return folder


@pytest.fixture
def serve(certificate: Path) -> Iterator[Callable[..., tuple[Postbox, EmailConfig]]]:
    """Start a server; gives where its messages come, and how it is reached."""
    with ExitStack() as ends:

        def start(tls: str = "starttls", **options: Any) -> tuple[Postbox, EmailConfig]:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
            postbox = Postbox()
            secured = (
                {"ssl_context": context} if tls == "implicit" else {"tls_context": context, "require_starttls": True}
            )
            controller = Server(postbox, "127.0.0.1", free_port(), **secured, **options)
            controller.start()
            ends.callback(controller.stop)
            port = controller.port
            ca_file = str(certificate / "cert.pem")
            people = {"sender": "desk@example.org", "to": ("ada@example.org", "bob@example.org")}
            return postbox, EmailConfig(host="127.0.0.1", port=port, tls=tls, ca_file=ca_file, **people)  # type: ignore[arg-type] # by name

        yield start


async def sent(settings: EmailConfig, password: str | None = None) -> tuple[Outcome, list[float], list[str]]:
    """What became of one notice, the pauses between its attempts, and what was said."""
    bus, outcomes, pauses, said = InMemoryEventBus(), list[Outcome](), list[float](), list[str]()

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    async def on_outcome(event: Outcome) -> None:
        outcomes.append(event)

    bus.subscribe(NotificationSentEvent, on_outcome)
    bus.subscribe(NotificationFailedEvent, on_outcome)
    channel = MailChannel(settings, None if password is None else SecretStr(password), timeout_s=60.0)
    async with bus:
        notifier = Notifier(bus, NotifyConfig(), channel, name="email", sleep=sleep, echo=said.append)
        await bus.publish(SWITCH)
        await bus.drain()
        async with notifier:
            pass
        await bus.drain()
    async with asyncio.timeout(60):  # asyncio gives a farewell of TLS 30 s
        # A client takes leave of TLS by itself, and its loop is not to be closed before.
        while CONNECTED:  # noqa: ASYNC110 - it is told by the threads of servers
            await asyncio.sleep(0.01)
    (outcome,) = outcomes
    return outcome, pauses, said


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
async def test_a_notice_is_a_message_to_every_recipient_over_tls(serve: Any, tls: str) -> None:
    postbox, settings = serve(tls)
    outcome, _pauses, _said = await sent(settings)
    assert isinstance(outcome, NotificationSentEvent)
    ((envelope, message),) = postbox.came
    assert envelope.rcpt_tos == ["ada@example.org", "bob@example.org"]
    assert message["Subject"] == "[CRITICAL] Kill switch HALT"
    assert message["Message-ID"] == f"<{SWITCH.event_id}@example.org>"
    assert "größer als erlaubt" in message.get_content()


async def test_who_must_log_in_and_does_not_is_refused(serve: Any) -> None:
    postbox, settings = serve(auth_required=True)
    outcome, _pauses, said = await sent(settings)
    assert (type(outcome), outcome.status, postbox.came) == (NotificationFailedEvent, 530, [])
    assert said == ["notices given up: 1 x answered 530; check [email] of notify.toml and QT_EMAIL_PASSWORD"]


async def test_a_busy_server_is_asked_again_and_a_refusal_is_final(serve: Any) -> None:
    postbox, settings = serve()
    postbox.answers = ["451 later", "452 full"]
    outcome, pauses, _said = await sent(settings)
    assert (type(outcome), outcome.attempts) == (NotificationSentEvent, 3)
    assert pauses[:2] == [1.0, 2.0]
    postbox.answers = ["554 no"]
    outcome, _pauses, _said = await sent(settings)
    assert (type(outcome), outcome.attempts, outcome.status) == (NotificationFailedEvent, 1, 554)


async def test_a_certificate_that_nobody_knows_is_not_accepted(serve: Any) -> None:
    postbox, settings = serve()
    outcome, _pauses, _said = await sent(settings.model_copy(update={"ca_file": ""}))
    assert isinstance(outcome, NotificationFailedEvent)
    assert "certificate is not accepted" in outcome.reason
    assert (outcome.attempts, postbox.came) == (1, [])


async def test_what_is_no_address_is_told_and_holds_up_nothing(serve: Any) -> None:
    postbox, settings = serve()
    outcome, _pauses, _said = await sent(settings.model_copy(update={"sender": "desk\n@example.org"}))
    assert isinstance(outcome, NotificationFailedEvent)
    assert (outcome.reason, outcome.attempts, postbox.came) == ("sender or to is no address", 1, [])


async def test_a_server_without_tls_is_sent_nothing() -> None:
    postbox = Postbox()
    controller = Server(postbox, "127.0.0.1", free_port())
    controller.start()
    try:
        settings = EmailConfig(host="127.0.0.1", port=controller.port, sender="a@example.org", to=("b@example.org",))
        outcome, _pauses, _said = await sent(settings)
    finally:
        controller.stop()
    assert isinstance(outcome, NotificationFailedEvent)
    assert (outcome.reason, outcome.attempts, postbox.came) == ("it offers no TLS, or no login", 1, [])


async def test_the_password_is_said_nowhere(serve: Any, caplog: pytest.LogCaptureFixture) -> None:
    postbox = Postbox()
    _unused, settings = serve(authenticator=postbox.authenticate, auth_required=True)
    settings = settings.model_copy(update={"user": "desk"})
    channel = MailChannel(settings, SecretStr("very-secret, and wrong"), timeout_s=1.0)
    with caplog.at_level(logging.DEBUG):
        right, _pauses, _said = await sent(settings, PASSWORD)
        wrong, _pauses, said = await sent(settings, "very-secret, and wrong")
    assert isinstance(right, NotificationSentEvent)
    assert (type(wrong), wrong.status) == (NotificationFailedEvent, 535)
    assert (postbox.logins[0], {*postbox.logins[1:]}) == (True, {False})
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith("mail.")]  # the server's log
    assert not [text for text in [*ours, *said, repr(wrong), repr(vars(channel))] if "very-secret" in text]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"host": "mail.example"}, "sender and to are needed"),
        ({"user": "desk", "tls": "none"}, "not sent without TLS"),
        ({"tls": "maybe"}, "starttls"),
        ({"port": 0}, "greater than or equal to 1"),
    ],
)
def test_what_cannot_be_sent_is_refused_when_it_is_set(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        EmailConfig(**wrong)
