"""Settings of a gateway: where it listens, who may come in, and how much of anything it takes.

Stated once, checked where they are made: what would be unsafe is refused before a socket is opened. Knows no web framework.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from eventbus import GatewayError
from eventbus.gateway.patterns import is_pattern

PORT = 8765
VERSION = version("quantum-trader")

_LONGEST_DRAIN_S = 86_400.0
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.\-]+(:[0-9]{1,5})?|https?://\[[0-9A-Fa-f:]+\](:[0-9]{1,5})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much of anything a client may send, hold or ask for. Times in seconds, sizes in bytes."""

    head_bytes: int = 16 * 1024
    headers: int = 64
    receive_s: float = 10.0  # for a whole request
    idle_s: float = 15.0  # of a connection between two requests
    body_bytes: int = 1024 * 1024
    event_bytes: int = 256 * 1024
    json_depth: int = 32
    json_keys: int = 256  # of one object
    json_nodes: int = 20_000
    json_text: int = 64 * 1024
    events: int = 1_000  # of one request, published or read
    wrong_tokens: int = 10  # a minute and address
    wrong_token_pause_s: float = 300.0
    requests_per_s: float = 200.0  # of a token
    requests_burst: int = 400
    trades_per_s: float = 100.0  # events of trade.* that a token publishes
    publish_wait_s: float = 1.0  # for room in the bus
    message_bytes: int = 64 * 1024  # of the WebSocket
    messages_per_s: int = 50
    subscriptions: int = 100  # topics and views of one connection
    charts: int = 1_000  # of one connection
    auth_s: float = 5.0  # for the first message, where tokens are on
    connections: int = 1_000
    connections_per_address: int = 50  # loopback excepted
    connections_per_token: int = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """How a gateway is set up. Raises `GatewayError` for what would be open to strangers.

    `tokens` is the file of tokens and turns them on; `publishable` are the patterns of types that may be published, by default
    every registered type but `trade.*`, `risk.*` and `system.*`; with `allow_adhoc` types without a class may be, too.
    `behind_proxy` takes the last hop of `X-Forwarded-For` for the address, from loopback only. `drain_timeout` is how many
    seconds the bus has to finish what it holds when the gateway ends. `run_owns_events`: a run makes them, clients send commands.
    """

    host: str = "127.0.0.1"
    port: int = PORT
    allow_origins: tuple[str, ...] = ()
    tokens: Path | None = None
    publishable: tuple[str, ...] = ()
    allow_adhoc: bool = False
    behind_proxy: bool = False
    tls_cert: Path | None = None
    tls_key: Path | None = None
    docs: bool = False
    drain_timeout: float = 10.0
    run_owns_events: bool = False
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        for pattern in self.publishable:
            if not is_pattern(pattern):
                raise GatewayError("--publishable takes a type or a wildcard, such as desk.*")
        for origin in self.allow_origins:
            if not _ORIGIN.fullmatch(origin):
                raise GatewayError("--allow-origin takes an origin, such as https://charts.example:8443")
        if not 0 <= self.drain_timeout <= _LONGEST_DRAIN_S:
            raise GatewayError(f"--drain-timeout takes 0 to {_LONGEST_DRAIN_S:.0f} seconds")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise GatewayError("--tls-cert and --tls-key go together: give both")
        if is_loopback(self.host):
            return
        if self.tokens is None:
            raise GatewayError(f"host {self.host} is open to the network: turn tokens on with --tokens FILE")
        if self.tls_cert is None and not self.behind_proxy:
            raise GatewayError(
                f"host {self.host} is open to the network: give --tls-cert and --tls-key, or --behind-proxy"
            )

    @property
    def scheme(self) -> str:
        return "http" if self.tls_cert is None else "https"


def is_loopback(host: str) -> bool:
    """Is it an address of this machine that nobody else can reach?"""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
