"""Roll: who has finished with a session, gathered while it is being closed and told in one go.

Every component answers by the call that it was given; the session clock has the answers published when all is quiet, before
health is judged. Who is dead gives no answer, and nobody gives one for another.
"""

from __future__ import annotations

from typing import Any, ClassVar

from eventbus import EventBus
from quantum_trader.events import ComponentHeartbeatEvent, SessionClosedEvent
from quantum_trader.identity import RunIds
from quantum_trader.model import Station


class RollCall:
    """Gathers answers, each a `component.heartbeat` to be: one burst costs a quarter of as many events on their own.

    With `ids` the heartbeats have the ids that they have in every run of that identity.
    """

    publishes: ClassVar = (ComponentHeartbeatEvent,)

    def __init__(self, bus: EventBus, *, ids: RunIds | None = None) -> None:
        self._bus = bus
        self._ids = ids
        self._answers: dict[Station, str] = {}

    def answer(self, station: Station, source: str) -> None:
        """`station`, whose events come from `source`, has done its part of the session that is being closed."""
        self._answers[station] = source

    async def tell(self, closed: SessionClosedEvent) -> None:
        """Publish the answers to `closed`, in the order of the stations."""
        answers, self._answers = self._answers, {}
        await self._bus.publish_many(
            [
                ComponentHeartbeatEvent.after(
                    closed, station, answers[station], **self._header(station, closed.session)
                )
                for station in Station
                if station in answers
            ]
        )

    def _header(self, station: Station, session: int) -> dict[str, Any]:
        if self._ids is None:
            return {}
        return {"event_id": self._ids.root(ComponentHeartbeatEvent.type, session, station.value)}
