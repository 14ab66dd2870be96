"""The section of who is told, and where. Addresses and passwords are no part of it: they come from the environment, or from files
that it names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from string import Template
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from quantum_trader.config.section import Section

PLACEHOLDERS: Final = ("title", "text", "status", "type", "date", "count", "urgent")
"""What a webhook's body may hold: `$title` and so on. One that stands alone keeps its kind: `$count` is a number."""

Positive = Annotated[int, Field(ge=1)]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(_[a-z0-9]+)*$")]
_PLAIN: Final = {
    "title": "$title",
    "text": "$text",
    "status": "$status",
    "type": "$type",
    "date": "$date",
    "count": "$count",
    "urgent": "$urgent",
}


class DiscordConfig(Section):
    """A Discord channel. Its webhook comes from QT_DISCORD_WEBHOOK, or from a file."""

    webhook_file: str = ""


class WebhookConfig(Section):
    """Any webhook, told in JSON. Its address comes from QT_WEBHOOK_<NAME>, its secret from QT_WEBHOOK_<NAME>_SECRET, or from files.

    With a secret every message is signed as Standard Webhooks has it: HMAC-SHA256 over id, time and body.
    """

    url_file: str = ""
    secret_file: str = ""
    body: Mapping[str, Any] = Field(default_factory=lambda: dict(_PLAIN))

    @model_validator(mode="after")
    def _is_a_template(self) -> Self:
        for text in texts_in(self.body):
            template = Template(text)
            unknown = [name for name in template.get_identifiers() if name not in PLACEHOLDERS]
            if not template.is_valid() or unknown:
                known = ", ".join(f"${name}" for name in PLACEHOLDERS)
                raise ValueError(f"body: {text!r} holds what is no placeholder; known are {known}, and $$ for a dollar")
        return self


class EmailConfig(Section):
    """A mail server that takes messages; none where `host` is empty. The password comes from QT_EMAIL_PASSWORD, or from a file."""

    host: str = ""
    port: Annotated[int, Field(ge=1, le=65_535)] = 587
    tls: Literal["starttls", "implicit", "none"] = "starttls"
    ca_file: str = ""  # PEM; the authorities of the system if empty
    sender: str = ""
    to: tuple[str, ...] = ()
    user: str = ""
    password_file: str = ""

    @model_validator(mode="after")
    def _can_be_sent(self) -> Self:
        if self.host and not (self.sender and self.to):
            raise ValueError("sender and to are needed beside host")
        if self.user and self.tls == "none":
            raise ValueError("a password is not sent without TLS: set tls to starttls or implicit")
        return self


class NotifyConfig(Section):
    """What is told to people, how patiently. All channels that are set up are told by `--notify`; without any, it is printed."""

    coalesce_s: Annotated[float, Field(ge=0)] = 2.0
    queue_size: Positive = 100
    attempts: Positive = 4
    timeout_s: Annotated[float, Field(gt=0)] = 10.0
    discord: DiscordConfig = DiscordConfig()
    webhooks: Mapping[Name, WebhookConfig] = Field(default_factory=dict)
    email: EmailConfig = EmailConfig()


def texts_in(value: object) -> Iterator[str]:
    """Every text in a value that JSON can hold, names left out."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from texts_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from texts_in(item)
