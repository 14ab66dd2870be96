"""Component: what a user's own component may offer to the system that it is built into."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class Component(Protocol):
    """What `build(bus, config)` gives back, or None. It hears and publishes by the bus; each method may be left out.

    Events of its own are part of the run's digest if their class is a `Decision`.
    """

    def state(self) -> Mapping[str, Any]:
        """What it remembers, in plain JSON values; asked between two sessions."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become what `state()` described, before the run goes on."""
        ...

    def close(self) -> None:
        """Let go of what it holds open; the run is over."""
        ...
