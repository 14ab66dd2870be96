"""Discord: notices as messages of a channel, through its webhook. The address is a secret."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, Final

import httpx
from pydantic import SecretStr

from eventbus import EventBus
from quantum_trader.config import NotifyConfig
from quantum_trader.monitoring.notices import Notice, Notifier
from quantum_trader.monitoring.posting import post

CHANNEL: Final = "discord"
WEBHOOK_VARIABLE: Final = "QT_DISCORD_WEBHOOK"
_TITLE, _DESCRIPTION, _FIELD = 256, 2_000, 1_024  # characters that the service takes; the embed as a whole 6,000
_COLOURS = {"CRITICAL": 0xCF222E, "DEGRADED": 0xBF8700, "HEALTHY": 0x1A7F37}
_PLAIN_COLOUR = 0x0969DA


class DiscordChannel:
    """A `Channel`. `client` is for callers with one of their own."""

    name = CHANNEL
    remedy = WEBHOOK_VARIABLE

    def __init__(self, webhook: SecretStr, *, timeout_s: float, client: httpx.AsyncClient | None = None) -> None:
        self._webhook = webhook
        self._timeout_s = timeout_s
        self._client = client

    async def send(self, notice: Notice) -> int:
        """Post it. Raises `Refused`."""
        body = json.dumps(_body(notice)).encode()
        named = WEBHOOK_VARIABLE
        return await post(self._webhook, body, {}, client=self._client, timeout_s=self._timeout_s, named=named)


class DiscordNotifier(Notifier):
    """A `Notifier` to Discord; without a webhook it prints."""

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
        channel = None
        if webhook is not None:
            channel = DiscordChannel(webhook, timeout_s=settings.timeout_s, client=client)
        super().__init__(bus, settings, channel, name=CHANNEL, sleep=sleep, echo=echo, quiet=quiet)


def _body(notice: Notice) -> dict[str, Any]:
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
