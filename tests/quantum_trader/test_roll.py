"""Roll: the heartbeats of a session are told together, of those who answered and of nobody else."""

from __future__ import annotations

from datetime import UTC, datetime

from eventbus import EventBus, InMemoryEventBus
from quantum_trader.events import ComponentHeartbeatEvent, SessionClosedEvent
from quantum_trader.identity import RunIds
from quantum_trader.model import Station
from quantum_trader.roll import RollCall


def closed(session: int) -> SessionClosedEvent:
    return SessionClosedEvent(session=session, timestamp=datetime(2020, 1, 1 + session, tzinfo=UTC))


async def told(bus: EventBus, roll: RollCall, *rounds: dict[Station, str]) -> list[ComponentHeartbeatEvent]:
    heard: list[ComponentHeartbeatEvent] = []

    async def hear(event: ComponentHeartbeatEvent) -> None:
        heard.append(event)

    bus.subscribe(ComponentHeartbeatEvent, hear)
    async with bus:
        for session, answers in enumerate(rounds):
            for station, source in answers.items():
                roll.answer(station, source)
            await roll.tell(closed(session))
    return heard


async def test_each_who_answered_has_a_heartbeat_of_its_own_for_that_session_only() -> None:
    bus = InMemoryEventBus()
    both = {Station.GUARD: "risk_guard", Station.LEDGER: "ledger"}
    heard = await told(bus, RollCall(bus), both, {Station.GUARD: "risk_guard"})
    assert [(beat.component, beat.source, beat.session) for beat in heard] == [
        ("LEDGER", "ledger", 0),
        ("GUARD", "risk_guard", 0),
        ("GUARD", "risk_guard", 1),
    ]
    assert heard[2].timestamp == closed(1).timestamp
    assert heard[0].causation_id == heard[1].causation_id == heard[0].correlation_id
    assert heard[2].causation_id not in {None, heard[0].causation_id}


async def test_a_heartbeat_has_the_same_id_in_every_run_of_an_identity() -> None:
    ids = []
    for _ in range(2):
        bus = InMemoryEventBus()
        heard = await told(
            bus, RollCall(bus, ids=RunIds("run")), {Station.GUARD: "risk_guard"}, {Station.GUARD: "risk_guard"}
        )
        ids.append([beat.event_id for beat in heard])
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 2
