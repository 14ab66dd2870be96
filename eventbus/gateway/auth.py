"""Auth: who somebody is and what that one may do: tokens and their scopes, one-use tickets, addresses that guess.

A token is known by its hash only. Nothing of it stands in a log, an answer or an error. Knows no route and no socket.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from eventbus import Event, event_class
from eventbus.gateway.patterns import matches
from eventbus.gateway.problems import Problem, later
from eventbus.gateway.tokens import Token, TokenFile

if TYPE_CHECKING:
    from eventbus.gateway.settings import GatewaySettings

TICKET_S = 30
_MOST = 10_000  # tickets, addresses
_MINUTE_S = 60.0
_NOT_BY_DEFAULT = ("trade.*", "risk.*", "system.*")
_REALM = {"WWW-Authenticate": 'Bearer realm="eventbus"'}


@dataclass(frozen=True, slots=True)
class Principal:
    """Whoever asks: a token, or this machine where tokens are off."""

    id: str
    scopes: tuple[str, ...]
    expires: datetime | None = None

    @property
    def is_admin(self) -> bool:
        """May it halt, re-arm, redrive, purge and steer?"""
        return "admin" in self.scopes

    @property
    def reads(self) -> bool:
        """May it read anything at all?"""
        return any(scope.startswith("read:") for scope in self.scopes)

    def may_read(self, type_name: str) -> bool:
        """May it see events of this type?"""
        return self._may("read", type_name)

    def may_view(self, view: str) -> bool:
        """May it see this view? As a type it is called `view.NAME`."""
        return self._may("read", f"view.{view}")

    def may_publish(self, type_name: str) -> bool:
        """May it publish events of this type, as far as it is asked for by itself?"""
        return self._may("publish", type_name)

    def _may(self, action: str, name: str) -> bool:
        prefix = f"{action}:"
        return any(scope.startswith(prefix) and matches(scope[len(prefix) :], name) for scope in self.scopes)


LOCAL = Principal("local", ("read:*", "publish:*", "admin"))


class Auth:
    """Of one gateway. `monotonic` is its clock."""

    def __init__(self, settings: GatewaySettings, monotonic: Callable[[], float]) -> None:
        self._settings = settings
        self._monotonic = monotonic
        self._tokens = None if settings.tokens is None else TokenFile(settings.tokens, monotonic)
        self._tickets: OrderedDict[str, tuple[Principal, str, float]] = OrderedDict()  # ticket: whose, origin, until
        self._guesses: OrderedDict[str, list[float]] = OrderedDict()  # address: when it was wrong, lately
        self._shut_out: OrderedDict[str, float] = OrderedDict()  # address: until when

    @property
    def is_on(self) -> bool:
        """Are tokens asked for?"""
        return self._tokens is not None

    def identify(self, text: str | None, address: str, origin: str = "") -> Principal:
        """Whose token, or ticket for a page of that origin, this is. Raises `Problem`: 401, and 429 for an address that guesses."""
        if self._tokens is None:
            return LOCAL
        now = self._monotonic()
        if (until := self._shut_out.get(address, 0.0)) > now:
            raise later(429, "too_many_wrong_tokens", "too many wrong tokens came from this address", until - now)
        if text is None:
            raise Problem(401, "no_token", "send a token: Authorization: Bearer TOKEN", headers=_REALM)
        token = self._tokens.find(text)
        ticket = self._tickets.pop(text, None)
        if token is not None and not token.is_expired(datetime.now(UTC)):
            return principal_of(token)
        if ticket is not None and ticket[2] > now and ticket[1] == origin and self.still(ticket[0]):
            return ticket[0]
        self._wrong(address, now)
        raise Problem(401, "bad_token", "this token is not, or no longer, valid", headers=_REALM)

    def still(self, principal: Principal) -> bool:
        """Is it still who it was: not expired, not revoked, with the same scopes? A socket asks every few seconds."""
        if self._tokens is None or principal.id == LOCAL.id:
            return self._tokens is None
        token = self._tokens.by_id(principal.id)
        return token is not None and not token.is_expired(datetime.now(UTC)) and principal_of(token) == principal

    def ticket(self, principal: Principal, origin: str) -> str:
        """What a page of that origin may show once, within 30 seconds, instead of a token."""
        ticket = secrets.token_urlsafe(32)
        self._tickets[ticket] = (principal, origin, self._monotonic() + TICKET_S)
        while len(self._tickets) > _MOST:
            self._tickets.popitem(last=False)
        return ticket

    def publishable(self, type_name: str) -> bool:
        """Does this gateway take events of this type at all, whoever sends them?"""
        if self._settings.publishable:
            return any(matches(pattern, type_name) for pattern in self._settings.publishable)
        return not any(matches(pattern, type_name) for pattern in _NOT_BY_DEFAULT)

    def class_of(self, type_name: str) -> type[Event] | None:
        """The class that checks events of this type; None: they need none. Raises `Problem` 404 `unknown_type`."""
        known = event_class(type_name)
        if known is None and not self._settings.allow_adhoc:
            raise Problem(404, "unknown_type", "no such event type: /api/v1/types names those there are")
        return known

    def _wrong(self, address: str, now: float) -> None:
        limits = self._settings.limits
        within_minute = [moment for moment in self._guesses.pop(address, ()) if moment > now - _MINUTE_S]
        self._guesses[address] = [*within_minute, now]
        if len(within_minute) + 1 >= limits.wrong_tokens:
            del self._guesses[address]
            self._shut_out[address] = now + limits.wrong_token_pause_s
        for counted in (self._guesses, self._shut_out):
            while len(counted) > _MOST:
                counted.popitem(last=False)


def principal_of(token: Token) -> Principal:
    """Whoever shows it."""
    return Principal(token.id, token.scopes, token.expires)
