"""Guard: stands before every route: is this request meant for us, may a page of that origin send it, and what is said when it fails.

Whatever is raised behind it becomes a problem body here, so that no route has to care. Gives each request an id.
"""

from __future__ import annotations

import ipaddress
import logging
import time
import uuid
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect

from eventbus import EventBusError
from eventbus.gateway.problems import Problem, internal, of_bus, stopping
from eventbus.gateway.settings import GatewaySettings, is_loopback

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from eventbus.gateway.gateway import Gateway

log = logging.getLogger("eventbus.gateway")

_SECRET_NAMES = ("token", "access_token", "ticket", "api_key", "apikey", "key", "auth", "authorization")
_ALWAYS_ANSWERED = ("/healthz", "/readyz", "/metrics")
_CSP = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; img-src 'self' data:; object-src 'none'"
_SAFE = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Guard:
    """The outermost layer of the application."""

    def __init__(self, app: ASGIApp, gateway: Gateway) -> None:
        self._app = app
        self._gateway = gateway
        self._settings = gateway.settings
        self._origins = frozenset(origin.rstrip("/").lower() for origin in gateway.settings.allow_origins)
        self._hosts = frozenset(_hosts(gateway.settings))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or one socket."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        answer = _Answer(scope, send, self._gateway)
        headers = Headers(scope=scope)
        scope["state"]["request_id"] = answer.request_id
        scope["state"]["address"] = self._address(scope, headers)
        try:
            self._check(scope, headers)
            await self._app(scope, receive, answer.send)
        except ClientDisconnect:
            pass  # nobody is there to be told
        except Problem as problem:
            await answer.refuse(problem, receive)
        except EventBusError as error:
            extra = {"request_id": answer.request_id, "error": str(error)}
            log.warning("request %s failed: %s", answer.request_id, error, extra=extra)
            await answer.refuse(of_bus(error), receive)
        except Exception:  # the client's session: whatever it is, it is told and logged here
            log.exception("request failed", extra={"request_id": answer.request_id})
            await answer.refuse(internal(), receive)
        finally:
            answer.log(scope)

    def _check(self, scope: Scope, headers: Headers) -> None:
        limits = self._settings.limits
        if len(scope["headers"]) > limits.headers or _head_size(scope) > limits.head_bytes:
            raise Problem(
                431, "head_too_large", f"a head has at most {limits.headers} headers and {limits.head_bytes} bytes"
            )
        if scope["http_version"] not in ("1.0", "1.1"):
            raise Problem(400, "bad_request", "this is no HTTP/1.1 request")
        if self._gateway.is_stopping and scope["path"] not in _ALWAYS_ANSWERED:
            raise stopping()
        host = headers.get("host", "")
        if not self._knows(host, scope):
            raise Problem(421, "unknown_host", "this Host is not served here: --allow-origin adds the one of a page")
        origin = headers.get("origin")
        if origin is not None and not self._may_come(origin, host, scope):
            raise Problem(403, "bad_origin", "a page of this origin may not come in: --allow-origin adds it")
        if any(part.partition("=")[0].lower() in _SECRET_NAMES for part in _query(scope)):
            raise Problem(400, "token_in_query", "send a token in the Authorization header, never in the address")

    def _knows(self, host: str, scope: Scope) -> bool:
        name = _name_of(host)
        server = scope.get("server")
        return name in self._hosts or (server is not None and name == server[0])

    def _may_come(self, origin: str, host: str, scope: Scope) -> bool:
        origin = origin.lower()
        if origin in self._origins:
            return True
        scheme, _, netloc = origin.partition("://")
        own = {"ws": "http", "wss": "https"}.get(scope["scheme"], scope["scheme"])
        return netloc == host.lower() and (scheme == own or (self._settings.behind_proxy and scheme == "https"))

    def _address(self, scope: Scope, headers: Headers) -> str:
        client = scope.get("client")
        address = client[0] if client else ""
        if self._settings.behind_proxy and is_loopback(address):
            last = headers.getlist("x-forwarded-for")[-1:]
            hop = last[0].rpartition(",")[2].strip() if last else ""
            try:
                return str(ipaddress.ip_address(hop))
            except ValueError:
                return address
        return address


class _Answer:
    """What goes back to one client: with the headers of every answer, and at most one refusal."""

    def __init__(self, scope: Scope, send: Send, gateway: Gateway) -> None:
        self.request_id = uuid.uuid4().hex
        self._scope = scope
        self._send = send
        self._gateway = gateway
        self._began = time.monotonic()
        self._status = 0

    async def send(self, message: Message) -> None:
        """Pass it on."""
        if message["type"] in ("http.response.start", "websocket.http.response.start"):
            self._status = message["status"]
            headers = MutableHeaders(raw=message["headers"])
            headers["X-Request-ID"] = self.request_id
            for name, value in _SAFE.items():
                headers.setdefault(name, value)
            if self._scope["path"] != "/docs":  # the interactive page brings its own program from elsewhere
                headers.setdefault("Content-Security-Policy", _CSP)
            headers.setdefault("Cache-Control", "no-cache" if headers.get("etag") else "no-store")
        elif message["type"] in ("websocket.accept", "websocket.close"):
            self._status = self._status or (101 if message["type"] == "websocket.accept" else 403)
        await self._send(message)

    async def refuse(self, problem: Problem, receive: Receive) -> None:
        """Say no, unless an answer has begun."""
        if self._status:
            return
        self._gateway.refused(problem.code)
        log.info(
            "request refused",
            extra={"request_id": self.request_id, "code": problem.code, "status": problem.status},
        )
        response = problem.response(self.request_id)
        scope: Any = self._scope
        if scope["type"] == "websocket" and "websocket.http.response" not in scope.get("extensions", {}):
            await self.send({"type": "websocket.close", "code": 1008, "reason": problem.code})
        else:
            await response(scope, receive, self.send)

    def log(self, scope: Scope) -> None:
        """One line, by the name of the route: an address may carry anything."""
        log.debug(
            "request",
            extra={
                "request_id": self.request_id,
                "method": scope.get("method", "WS"),
                "route": getattr(scope.get("route"), "path", ""),
                "status": self._status,
                "took_ms": round((time.monotonic() - self._began) * 1e3, 1),
            },
        )


def _hosts(settings: GatewaySettings) -> Iterable[str]:
    yield settings.host.lower()
    if is_loopback(settings.host):
        yield from ("localhost", "127.0.0.1", "::1")
    for origin in settings.allow_origins:
        if name := urlsplit(origin).hostname:
            yield name


def _name_of(host: str) -> str:
    """`::1` of `[::1]:8765`, `localhost` of `localhost:8765`."""
    host = host.lower()
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]


def _head_size(scope: Scope) -> int:
    head = len(scope.get("raw_path") or b"") + len(scope["query_string"])
    return head + sum(len(name) + len(value) + 4 for name, value in scope["headers"])


def _query(scope: Scope) -> list[str]:
    text: bytes = scope["query_string"]
    return text.decode("latin-1").split("&") if text else []
