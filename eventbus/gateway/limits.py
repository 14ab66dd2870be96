"""Limits: how often and how much: buckets of requests, places for connections, bodies counted while they come.

Each says no with a `Problem`. Knows who asks by an id and from where by an address, and nothing of routes.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fastapi.requests import Request

from eventbus.gateway.problems import Problem, later
from eventbus.gateway.settings import Limits, is_loopback

_MOST_BUCKETS = 10_000


class Bucket:
    """So many a second on average, so many at once."""

    def __init__(self, per_s: float, burst: float, now: float) -> None:
        self._per_s = per_s
        self._burst = burst
        self._left = burst
        self._at = now

    def take(self, count: int, now: float) -> float:
        """Take them, or none; gives the seconds until there are enough, 0 when they were taken."""
        self._left = min(self._burst, self._left + (now - self._at) * self._per_s)
        self._at = now
        if self._left >= count:
            self._left -= count
            return 0.0
        return (count - self._left) / self._per_s


class Buckets:
    """A bucket for each id; those that were not used for longest are forgotten, which makes them full."""

    def __init__(self, per_s: float, burst: float, monotonic: Callable[[], float]) -> None:
        self._per_s = per_s
        self._burst = burst
        self._monotonic = monotonic
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def take(self, who: str, count: int = 1) -> None:
        """Raises `Problem` 429 when there are not enough."""
        now = self._monotonic()
        bucket = self._buckets.pop(who, None) or Bucket(self._per_s, self._burst, now)
        self._buckets[who] = bucket
        if len(self._buckets) > _MOST_BUCKETS:
            self._buckets.popitem(last=False)
        if wait := bucket.take(count, now):
            raise later(429, "too_many_requests", f"at most {self._per_s:g} a second: slow down", wait)


class Places:
    """Connections that there are: in all, of an address, of a token."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._addresses: Counter[str] = Counter()
        self._tokens: Counter[str] = Counter()

    def __len__(self) -> int:
        return self._addresses.total()

    def enter(self, address: str) -> bool:
        """A connection came; False when there is no place for it. One from this machine counts in all only."""
        is_strange = not is_loopback(address)
        if self._addresses.total() >= self._limits.connections or (
            is_strange and self._addresses[address] >= self._limits.connections_per_address
        ):
            return False
        self._addresses[address] += 1
        return True

    def leave(self, address: str) -> None:
        """It went."""
        _less(self._addresses, address)

    @contextmanager
    def of_token(self, token_id: str) -> Iterator[None]:
        """Inside, one more request or socket of this token is open. Raises `Problem` 503 when there are too many."""
        if self._tokens[token_id] >= self._limits.connections_per_token:
            raise later(503, "too_many_connections", "this token has too many connections: close some", 1)
        self._tokens[token_id] += 1
        try:
            yield
        finally:
            _less(self._tokens, token_id)


def _less(counter: Counter[str], key: str) -> None:
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]


async def read_body(request: Request, limit: int) -> bytes:
    """The body, read no further than the limit. Raises `Problem`: 415 for what is no plain JSON, 413 for what is too much."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise Problem(415, "not_json", "send the body as Content-Type: application/json")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem(415, "encoded_body", "send the body as it is, without Content-Encoding")
    too_large = Problem(413, "too_large", f"a body has at most {limit} bytes")
    length = request.headers.get("content-length", "")
    if length.isascii() and length.isdigit() and (len(length) > len(str(limit)) or int(length) > limit):
        raise too_large
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise too_large
    return bytes(body)
