"""Channels: the notifiers that the configuration and the environment ask for. Who has none is told on the terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from eventbus import EventBus
from quantum_trader.config import ConfigError, NotifyConfig
from quantum_trader.monitoring.discord import CHANNEL, WEBHOOK_VARIABLE, DiscordChannel
from quantum_trader.monitoring.notices import Channel, Notifier
from quantum_trader.monitoring.secrets import secret
from quantum_trader.monitoring.webhook import WebhookChannel, variable_of


def channels(settings: NotifyConfig, *, environ: Mapping[str, str] | None = None) -> list[Channel]:
    """Every channel that is set up. Raises `ConfigError` for one without its address, `MissingDriver` for mail without its extra."""
    found: list[Channel] = []
    webhook = secret(WEBHOOK_VARIABLE, settings.discord.webhook_file, environ=environ)
    if webhook is not None:
        found.append(DiscordChannel(webhook, timeout_s=settings.timeout_s))
    for name, one in settings.webhooks.items():
        variable = variable_of(name)
        url = secret(variable, one.url_file, environ=environ)
        if url is None:
            raise ConfigError(
                "notify", f"notify.webhooks.{name}", "has no address", remedy=f"set {variable} or url_file"
            )
        key = secret(f"{variable}_SECRET", one.secret_file, environ=environ)
        found.append(WebhookChannel(name, one, url, key, timeout_s=settings.timeout_s))
    if settings.email.host:
        from quantum_trader.monitoring.mail import PASSWORD_VARIABLE, MailChannel  # of an extra

        password = secret(PASSWORD_VARIABLE, settings.email.password_file, environ=environ)
        if settings.email.user and password is None:
            raise ConfigError(
                "notify", "notify.email.user", "has no password", remedy=f"set {PASSWORD_VARIABLE} or password_file"
            )
        found.append(MailChannel(settings.email, password, timeout_s=settings.timeout_s))
    return found


def notifiers(
    bus: EventBus, settings: NotifyConfig, found: list[Channel], *, echo: Callable[[str], Any], quiet: bool
) -> list[Notifier]:
    """One for each channel; one that prints where there is none."""
    if not found:
        return [Notifier(bus, settings, None, name=CHANNEL, echo=echo, quiet=quiet)]
    return [Notifier(bus, settings, channel, name=channel.name, echo=echo, quiet=quiet) for channel in found]
