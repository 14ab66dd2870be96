"""Latch: the kill switch. Once set, events of kind EXECUTION are refused until it is cleared with the token it gave."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from eventbus.bounds import text
from eventbus.errors import PolicyConflict

if TYPE_CHECKING:
    from eventbus.durability.store import Store
    from eventbus.road.door import Door


class Latch:
    """Of one bus. The door asks it, the store keeps it."""

    def __init__(self, door: Door, store: Store) -> None:
        self._door = door
        self._store = store
        self._token = ""

    @property
    def reason(self) -> str | None:
        """Why it is set; None when it is not."""
        return self._door.halt_reason

    def set(self, reason: str) -> str:
        """Set it; gives the token. Where it is set already the first reason stands. Raises `PolicyConflict` for no text."""
        text("reason", reason)
        if self._door.halt_reason is None:
            self._token = uuid.uuid4().hex
            self._door.halt(reason)
            self._store.halted(reason, self._token)
        return self._token

    def restore(self, reason: str, token: str) -> None:
        """An earlier process left it set, or another one set it first: that one's token clears it."""
        self._token = token
        self._door.halt(reason)

    async def clear(self, token: str) -> None:
        """Clear it. Raises `PolicyConflict` for a token that it did not give."""
        if self._door.halt_reason is None:
            return
        if token != self._token:
            raise PolicyConflict("token", "is not the one that halt() returned")
        await self._store.rearmed()
        self.release()

    def release(self) -> None:
        """It was cleared, here or elsewhere."""
        self._door.rearm()
        self._token = ""
