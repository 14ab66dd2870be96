"""Posting: a request to an address that is a secret. Nothing that is raised, logged or returned holds it."""

from __future__ import annotations

import logging
import math
import ssl
from collections.abc import Mapping
from contextvars import ContextVar
from functools import cache
from typing import Final

import httpx
from pydantic import SecretStr

from quantum_trader.monitoring.notices import Refused

_LONGEST_S: Final = 60.0  # that an answer may ask us to wait
_posts: ContextVar[bool] = ContextVar("quantum_trader_posts", default=False)


class _Unsaid(logging.Filter):
    """httpx writes the whole address of every request into its log."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not _posts.get()


logging.getLogger("httpx").addFilter(_Unsaid())


async def post(
    address: SecretStr,
    body: bytes,
    headers: Mapping[str, str],
    *,
    client: httpx.AsyncClient | None = None,
    timeout_s: float,
    named: str,
) -> int:
    """Send JSON; gives the code of a success. Raises `Refused`: 429 and 5xx and what does not answer may be tried again.

    `named` says in words where the address comes from.
    """
    if client is None:
        async with httpx.AsyncClient(timeout=timeout_s, verify=_authorities()) as own:
            return await post(address, body, headers, client=own, timeout_s=timeout_s, named=named)
    token = _posts.set(True)
    try:
        answer = await client.post(
            address.get_secret_value(), content=body, headers={"Content-Type": "application/json", **headers}
        )
    except (httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError):
        raise Refused(f"{named} is no address", is_final=True) from None
    except httpx.HTTPError as error:
        raise Refused(type(error).__name__) from None  # its text may hold the address
    finally:
        _posts.reset(token)
    status = answer.status_code
    if answer.is_success:
        return status
    is_busy = status == httpx.codes.TOO_MANY_REQUESTS
    is_final = status < httpx.codes.INTERNAL_SERVER_ERROR and not is_busy
    after = _asked_pause(answer) if is_busy or status == httpx.codes.SERVICE_UNAVAILABLE else None
    raise Refused(f"answered {status}", status=status, is_final=is_final, after=after)


@cache
def _authorities() -> ssl.SSLContext:
    """Read once: to read them takes longer than most requests, and the loop has to wait."""
    return httpx.create_ssl_context()


def _asked_pause(answer: httpx.Response) -> float | None:
    """The seconds that a busy service asks for, at most a minute; garbage asks for nothing."""
    try:
        asked = float(answer.json()["retry_after"])
    except (ValueError, KeyError, TypeError):
        try:
            asked = float(answer.headers.get("Retry-After", ""))
        except ValueError:
            return None
    return None if math.isnan(asked) else min(max(asked, 0.0), _LONGEST_S)
