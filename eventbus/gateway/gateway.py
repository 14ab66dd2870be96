"""Gateway: what everything behind a route shares: the bus, the settings, the ring of what was dispatched, who listens.

Routes find it as `app.state.gateway`. It begins and ends with the application, and knows no route.
"""

from __future__ import annotations

from fastapi.requests import HTTPConnection

from eventbus import Clock, EventBus, SystemClock
from eventbus.gateway.settings import GatewaySettings
from eventbus.gateway.sockets import Sockets


class Gateway:
    """One gateway over one bus. A bus that runs already when the gateway starts is somebody else's, and goes on after it."""

    def __init__(self, bus: EventBus, settings: GatewaySettings, *, clock: Clock | None = None) -> None:
        self.bus = bus
        self.settings = settings
        self.clock = clock or SystemClock()
        self.sockets = Sockets(bus, clock=self.clock)
        self.is_stopping = False
        self._is_over = False
        self._owns_bus = False

    async def start(self) -> None:
        """Listen to the bus, and run it unless it runs."""
        self._owns_bus = not self.bus.is_running
        if self._owns_bus:
            await self.bus.connect()
        await self.sockets.start()

    @property
    def capabilities(self) -> list[str]:
        """What can be done here."""
        return ["publish", "resume", "redrive", "halt"]

    async def stop(self) -> None:
        """End in order: the bus drains while clients still hear it, then clients are closed, then the bus. May be called twice."""
        if self._is_over:
            return
        self.is_stopping = self._is_over = True
        if self._owns_bus:
            await self.bus.drain(self.settings.drain_timeout)
        self.sockets.stop()
        if self._owns_bus:
            await self.bus.shutdown(self.settings.drain_timeout)


def gateway_of(connection: HTTPConnection) -> Gateway:
    """The gateway that a request or a socket came to."""
    gateway: Gateway = connection.app.state.gateway
    return gateway
