"""Tokens: the file that holds them, as hashes. Made, listed and revoked on the command line, read by a gateway while it runs.

Whoever reads the file learns no token. It is written whole, beside its place first, and is nobody's but its owner's.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import logging
import os
import secrets
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from eventbus import GatewayError
from eventbus.gateway.patterns import is_pattern

_BYTES = 32
_LOOK_S = 1.0  # how often the file is looked at, at most; a change counts within five seconds
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_ACTIONS = ("read", "publish")

log = logging.getLogger("eventbus.gateway")


class Token(BaseModel):
    """What is kept of one token."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    name: str
    sha256: str
    scopes: tuple[str, ...]
    created: AwareDatetime
    expires: AwareDatetime | None = None

    def is_expired(self, now: datetime) -> bool:
        """Is it too old?"""
        return self.expires is not None and self.expires <= now


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    tokens: list[Token] = []


class TokenFile:
    """The tokens that a gateway knows, as the file says by now. A file that cannot be read knows none.

    Raises `GatewayError` when it is made over a file that is not there, not readable, or open to others.
    """

    def __init__(self, path: Path, monotonic: Callable[[], float]) -> None:
        self._path = path
        self._monotonic = monotonic
        self._tokens = read_tokens(path)
        self._seen = _sign(path)
        self._looked = monotonic()

    def find(self, text: str) -> Token | None:
        """The token that this is. Takes the same time whichever it is, or none."""
        digest, found = _digest(text), None
        for token in self._now():
            if hmac.compare_digest(digest, token.sha256):
                found = token
        return found

    def by_id(self, token_id: str) -> Token | None:
        """The token of this id."""
        return next((token for token in self._now() if token.id == token_id), None)

    def _now(self) -> Sequence[Token]:
        now = self._monotonic()
        if now - self._looked >= _LOOK_S:
            self._looked = now
            sign = _sign(self._path)
            if sign != self._seen:
                self._seen = sign
                try:
                    self._tokens = read_tokens(self._path)
                except GatewayError as error:
                    self._tokens = []
                    log.error("tokens cannot be read, none is valid: %s", error, extra={"error": str(error)})
        return self._tokens


def read_tokens(path: Path) -> list[Token]:
    """What the file holds. Raises `GatewayError`."""
    try:
        if path.stat().st_mode & _OTHERS:
            raise GatewayError(f"{path} can be read by others: chmod 600 {path}")
        return _File.model_validate_json(path.read_bytes()).tokens
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise GatewayError(f"{path}: {reason}; make it with eventbus token create --tokens {path}") from error
    except ValidationError as error:
        raise GatewayError(f"{path} is no file of tokens: restore it, or make another") from error


def create_token(
    path: Path, name: str, scopes: Sequence[str], created: datetime, expires: datetime | None
) -> tuple[Token, str]:
    """Add a token; gives what is kept and, this once, the token itself. Raises `GatewayError`."""
    check_scopes(scopes)
    text = secrets.token_urlsafe(_BYTES)
    with _changing(path) as tokens:
        taken = {token.id for token in tokens}
        token_id = next(made for made in iter(lambda: secrets.token_hex(4), None) if made not in taken)
        token = Token(
            id=token_id, name=name, sha256=_digest(text), scopes=tuple(scopes), created=created, expires=expires
        )
        tokens.append(token)
    return token, text


def revoke_token(path: Path, token_id: str) -> bool:
    """Remove a token; False when there is none of this id. Raises `GatewayError`."""
    read_tokens(path)  # says so if there is no file
    with _changing(path) as tokens:
        others = [token for token in tokens if token.id != token_id]
        is_there = len(others) < len(tokens)
        tokens[:] = others
    return is_there


def check_scopes(scopes: Sequence[str]) -> None:
    """Raise `GatewayError` for what is no scope."""
    for scope in scopes:
        action, _, pattern = scope.partition(":")
        if scope != "admin" and not (action in _ACTIONS and is_pattern(pattern)):
            raise GatewayError("a scope is admin, read:PATTERN or publish:PATTERN, such as read:trade.*")
    if not scopes:
        raise GatewayError("a token without a scope can do nothing: give --scope, such as read:trade.*")


@contextmanager
def _changing(path: Path) -> Iterator[list[Token]]:
    """The tokens, to be changed by nobody else meanwhile; written when the block ends."""
    with _locked(path):
        tokens = read_tokens(path) if path.exists() else []
        yield tokens
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(_File(tokens=tokens).model_dump_json(indent=1).encode())
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    try:
        folder = os.open(path.parent, os.O_RDONLY)
    except OSError as error:
        raise GatewayError(f"{path.parent}: {(error.strerror or str(error)).lower()}") from error
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _sign(path: Path) -> tuple[int, int, int] | None:
    """What changes when the file does."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
