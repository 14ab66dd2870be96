"""Webhook: notices as JSON of the receiver's own shape, to any address, signed so that he knows who sent them.

The signature is that of the Standard Webhooks specification: `webhook-id`, which a retry repeats, `webhook-timestamp`, and
`webhook-signature`: `v1,` and base64 of HMAC-SHA256 over `id.timestamp.body`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from datetime import datetime
from string import Template
from typing import Any, Final

from pydantic import SecretStr

from eventbus import SystemClock
from quantum_trader.config import WebhookConfig
from quantum_trader.monitoring.notices import Notice
from quantum_trader.monitoring.posting import post

_ENCODED: Final = "whsec_"  # what a secret begins with that is written in base64


class WebhookChannel:
    """A `Channel`. `now` gives the time of the signature."""

    def __init__(
        self,
        name: str,
        settings: WebhookConfig,
        url: SecretStr,
        secret: SecretStr | None = None,
        *,
        timeout_s: float,
        now: Callable[[], datetime] = SystemClock.now,
    ) -> None:
        self.name = f"webhook.{name}"
        self.remedy = variable_of(name)
        self._body = settings.body
        self._url = url
        self._secret = secret
        self._timeout_s = timeout_s
        self._now = now

    async def send(self, notice: Notice) -> int:
        """Post it. Raises `Refused`."""
        body = json.dumps(filled(self._body, notice), ensure_ascii=False).encode()
        at = str(int(self._now().timestamp()))
        headers = {"webhook-id": notice.id, "webhook-timestamp": at}
        if self._secret is not None:
            headers["webhook-signature"] = signature(self._secret, notice.id, at, body)
        return await post(self._url, body, headers, timeout_s=self._timeout_s, named=self.remedy)


def variable_of(name: str) -> str:
    """The variable of the environment that holds the address of the webhook of that name."""
    return f"QT_WEBHOOK_{name.upper()}"


def signature(secret: SecretStr, message_id: str, timestamp: str, body: bytes) -> str:
    """What proves that whoever has the secret sent the body at that time."""
    text = secret.get_secret_value()
    key = text.encode()
    if text.startswith(_ENCODED):
        try:
            key = base64.b64decode(text.removeprefix(_ENCODED), validate=True)
        except binascii.Error:
            pass  # then it is a text that happens to begin so
    digest = hmac.new(key, b".".join((message_id.encode(), timestamp.encode(), body)), hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def filled(body: Mapping[str, Any], notice: Notice) -> dict[str, Any]:
    """The template with the notice in it. A placeholder that stands alone keeps its kind; a text stays one text, whatever it holds."""
    values = {
        "title": notice.title,
        "text": notice.text,
        "status": notice.status,
        "type": notice.type,
        "date": notice.date,
        "count": notice.count,
        "urgent": notice.is_urgent,
    }
    return {name: _filled(value, values) for name, value in body.items()}


def _filled(value: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(value, str):
        alone = value.removeprefix("$")
        return values[alone] if value.startswith("$") and alone in values else Template(value).substitute(values)
    if isinstance(value, Mapping):
        return {name: _filled(item, values) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_filled(item, values) for item in value]
    return value
