"""Run: what `run_forever` gives: a coroutine that counts before it begins to run.

Who makes a task of it and drains at once need not know when the loop gets to it.
"""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eventbus.road.lifetime import Lifetime


class Run(Coroutine[Any, Any, None]):
    """What `run_forever` gives: the bus counts as running from the call on, until it ends or is thrown away unstarted."""

    def __init__(self, lifetime: Lifetime) -> None:
        self._lifetime = lifetime
        self._running: Coroutine[Any, Any, None] | None = None
        self._stops = lifetime.announce(self)

    def _started(self) -> Coroutine[Any, Any, None]:
        if self._running is None:
            self._running = self._lifetime.run(self, self._stops)
        return self._running

    def send(self, value: Any) -> Any:
        return self._started().send(value)

    def throw(self, *error: Any) -> Any:
        if self._running is None:
            self._lifetime.withdraw(self)
        return self._started().throw(*error)

    def close(self) -> None:
        self._lifetime.withdraw(self)
        if self._running is not None:
            self._running.close()

    def __await__(self) -> Generator[Any, Any, None]:
        return self._started().__await__()
