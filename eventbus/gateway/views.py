"""Views: named snapshots that the server makes, so that a page computes nothing and no replay floods it.

Made at most four times a second, and only while somebody looks. Each is written once for all who look; of views that only grow
just what was added is sent. Anybody may register one; knows nothing of what they show.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json, to_json

from eventbus.gateway.wire import append_message, framed, view_message

if TYPE_CHECKING:
    from eventbus import Clock
    from eventbus.gateway.client import Client
    from eventbus.gateway.counts import Counts

EVERY_S = 0.25

Made = Mapping[str, Any]
Make = Callable[[], Made | Awaitable[Made]]
Family = Callable[[str], Made | Awaitable[Made]]

_log = logging.getLogger(__name__)


class View:
    """One view: how it is made, and what it was the last time. `rev` grows with every change."""

    def __init__(self, name: str, make: Make, *, grows: bool) -> None:
        self.name = name
        self.rev = 0
        self._make = make
        self._grows = grows
        self._data = b""
        self._parts: Mapping[str, Any] = {}
        self._at = ""
        self._whole: bytes | None = None
        self._added: bytes | None = None  # to what was one revision before
        self._made_ns = -(10**18)
        self._making = asyncio.Lock()

    async def refresh(self, clock: Clock) -> None:
        """Make it anew, unless that was done a moment ago; wait for it where it is being made. Raises what its maker raises."""
        async with self._making:
            now = clock.monotonic_ns()
            if now - self._made_ns < EVERY_S * 0.9e9:
                return
            found = self._make()
            self._take(to_json(await found if inspect.isawaitable(found) else found, bytes_mode="base64"), clock)
            self._made_ns = now

    def _take(self, data: bytes, clock: Clock) -> None:
        if data == self._data:
            return
        before, self._data = self._parts, data
        self.rev += 1
        self._at = clock.now().isoformat()
        self._whole = self._added = None
        if self._grows:
            self._parts = from_json(data)
            added = _added(before, self._parts) if before else None
            if added is not None:
                self._added = framed(append_message(self.name, self.rev, self.rev - 1, self._at, to_json(added)))

    def frame(self, known: int) -> bytes:
        """What a client that has revision `known` is sent."""
        if self._added is not None and known == self.rev - 1:
            return self._added
        if self._whole is None:
            self._whole = framed(view_message(self.name, self.rev, self._at, self._data))
        return self._whole

    def snapshot(self) -> dict[str, Any]:
        """The same as a value."""
        return {"view": self.name, "rev": self.rev, "at": self._at, "data": from_json(self._data)}


class Views:
    """All views of a gateway, and who looks at which."""

    def __init__(self, clock: Clock, counts: Counts) -> None:
        self._clock = clock
        self._counts = counts
        self._views: dict[str, View] = {}
        self._families: dict[str, tuple[Family, bool]] = {}
        self._looking: dict[str, dict[Client, _Look]] = {}
        self._task: asyncio.Task[None] | None = None
        self._new = asyncio.Event()
        self._failing: set[str] = set()

    def add(self, name: str, make: Make, *, grows: bool = False) -> None:
        """Register a view. One that `grows` is a mapping of columns, to which rows are added at the end."""
        self._views[name] = View(name, make, grows=grows)

    def add_family(self, prefix: str, make: Family, *, grows: bool = False) -> None:
        """Register views named `prefix:key`. `make` gets the key and raises `LookupError` for one that there is not."""
        self._families[prefix] = make, grows

    @property
    def names(self) -> list[str]:
        """Those that there are, and `prefix:` for a family."""
        return sorted([*(name for name in self._views if ":" not in name), *(f"{name}:" for name in self._families)])

    def find(self, name: str) -> View:
        """The view of that name. Raises `LookupError`."""
        view = self._views.get(name)
        if view is not None:
            return view
        prefix, _, key = name.partition(":")
        make, grows = self._families[prefix]
        make(key)  # whether there is one of that key
        view = View(name, lambda: make(key), grows=grows)
        if self._looking.get(name):
            self._views[name] = view
        return view

    async def snapshot(self, name: str) -> dict[str, Any]:
        """A view as it is now: `view`, `rev`, `at`, `data`. Raises `LookupError`."""
        view = self.find(name)
        await view.refresh(self._clock)
        return view.snapshot()

    # --- who looks -------------------------------------------------------------------------------------------------------

    def look(self, client: Client, names: Iterable[str], max_rate: float | None = None) -> None:
        """A client looks at these from now on: whole at first. Looking again gives the whole again."""
        every_ns = 0 if max_rate is None else int(1e9 / max_rate)
        for name in names:
            self._looking.setdefault(name, {})[client] = _Look(every_ns)
            if name not in self._views:
                self._views[name] = self.find(name)
        if self._task is None and self._looking:
            self._new.clear()
            self._task = asyncio.get_running_loop().create_task(self._run())
        self._new.set()  # after the task: who looks is answered first, also where a task begins to run at once

    def look_away(self, client: Client, names: Iterable[str] | None = None) -> None:
        """A client looks at these no more, or at nothing."""
        for name in [*self._looking] if names is None else [*names]:
            looking = self._looking.get(name, {})
            looking.pop(client, None)
            if not looking:
                self._looking.pop(name, None)
                if ":" in name:
                    self._views.pop(name, None)

    def of(self, client: Client) -> list[str]:
        """What a client looks at."""
        return [name for name, looking in self._looking.items() if client in looking]

    def end(self) -> None:
        """Nobody looks any more."""
        self._looking.clear()
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        """While anybody looks."""
        try:
            while self._looking:
                with suppress(TimeoutError):
                    async with asyncio.timeout(EVERY_S):
                        await self._new.wait()
                self._new.clear()
                for name in [*self._looking]:
                    await self._show(name)
        finally:
            self._task = None

    async def _show(self, name: str) -> None:
        view = self._views.get(name)
        if view is None:
            return
        try:
            await view.refresh(self._clock)
        except Exception:  # noqa: BLE001 - it is made by others, and may fail in any way; who looks sees the last one
            self._counts.failed()
            if name not in self._failing:
                self._failing.add(name)
                _log.exception("view failed", extra={"view": name})
            return
        self._failing.discard(name)
        now = self._clock.monotonic_ns()
        for client, look in [*self._looking.get(name, {}).items()]:
            if look.is_due(view.rev, now) and not client.is_behind:
                client.say_framed("view", view.frame(look.rev))
                look.seen(view.rev, now)


class _Look:
    """Which revision a client has, and when it may be sent the next."""

    def __init__(self, every_ns: int) -> None:
        self.rev = 0
        self._every_ns = every_ns
        self._next_ns = 0

    def is_due(self, rev: int, now_ns: int) -> bool:
        return rev != self.rev and now_ns >= self._next_ns

    def seen(self, rev: int, now_ns: int) -> None:
        self.rev, self._next_ns = rev, now_ns + self._every_ns


def _added(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any] | None:
    """What was added to the columns, and what else changed; None where more than that changed."""
    if before.keys() != now.keys():
        return None
    added: dict[str, Any] = {}
    for name, values in now.items():
        old = before[name]
        if not isinstance(values, list) or not isinstance(old, list):
            if values != old:
                added[name] = values
        elif values[: len(old)] != old:
            return None
        elif len(values) > len(old):
            added[name] = values[len(old) :]
    return added
