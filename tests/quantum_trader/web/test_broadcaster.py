"""The live control charts of a page that was written for the broadcasts of another system: every row, through a real socket."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic_core import to_json

from eventbus import Event, EventBus, InMemoryEventBus
from eventbus.testing.gateway import Message, Peer, Served
from quantum_trader.app import build
from quantum_trader.config import load_config
from quantum_trader.events import (
    ControlLimitsUpdatedEvent,
    SampleProcessedEvent,
    ViolationAcknowledgedEvent,
    ViolationCreatedEvent,
)
from quantum_trader.market.synthetic import SyntheticFeed
from quantum_trader.monitoring.alerts import AlertManager
from quantum_trader.web.broadcaster import WebSocketBroadcaster

Serving = Callable[..., Awaitable[Served]]
AT = datetime(2024, 1, 15, 10, 30, tzinfo=UTC)
CHART_MESSAGES = ("sample", "violation", "ack_update", "control_limits")


def sample(chart: int, number: int = 42) -> SampleProcessedEvent:
    return SampleProcessedEvent(
        sample_id=number,
        characteristic_id=chart,
        mean=10.5,
        range_value=None,
        zone="zone_c_upper",
        in_control=True,
        timestamp=AT,
    )


def violation(chart: int, rule: int = 1, severity: str = "CRITICAL") -> ViolationCreatedEvent:
    return ViolationCreatedEvent(
        violation_id=10,
        sample_id=42,
        characteristic_id=chart,
        rule_id=rule,
        rule_name="Outlier",
        severity=severity,
        timestamp=AT,
    )


def limits(chart: int) -> ControlLimitsUpdatedEvent:
    return ControlLimitsUpdatedEvent(
        characteristic_id=chart,
        center_line=100.0,
        ucl=103.0,
        lcl=97.0,
        method="moving_range",
        sample_count=50,
        timestamp=AT,
    )


def acknowledged() -> ViolationAcknowledgedEvent:
    return ViolationAcknowledgedEvent(violation_id=10, user="john.doe", reason="Tool Change", timestamp=AT)


async def charts(serving: Serving) -> Served:
    """A gateway whose broadcaster hangs on an alert manager, as `app.py` wires it."""
    served = await serving()
    AlertManager(served.bus, [WebSocketBroadcaster(served.bus, served.sockets.hub)])
    return served


async def publish(bus: EventBus, *events: Event) -> None:
    for event in events:
        await bus.publish(event)
    await bus.drain()


def told(peer: Peer) -> list[Message]:
    return [message for message in peer.seen if message["type"] in CHART_MESSAGES]


async def listening(peer: Peer, *charts: int, **fields: Any) -> Message:
    await peer.say(type="subscribe", characteristic_ids=list(charts), **fields)
    return await peer.until("subscribed")


async def test_what_happens_on_the_charts_that_were_asked_for_comes_and_no_other(serving: Serving) -> None:
    served = await charts(serving)
    async with served.connect() as peer:
        assert (await listening(peer, 1, 2, 3))["characteristic_ids"] == [1, 2, 3]
        await publish(served.bus, sample(1), violation(2), limits(3), sample(4), violation(4), limits(4))
        await peer.sync()
        assert sorted((one["type"], one["payload"]["characteristic_id"]) for one in told(peer)) == [
            ("control_limits", 3),
            ("sample", 1),
            ("violation", 2),
        ]


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (
            sample(1),
            {
                "type": "sample",
                "payload": {
                    "sample_id": 42,
                    "characteristic_id": 1,
                    "timestamp": "2024-01-15T10:30:00+00:00",
                    "value": 10.5,
                    "zone": "zone_c_upper",
                    "in_control": True,
                },
            },
        ),
        (
            violation(1),
            {
                "type": "violation",
                "payload": {
                    "violation_id": 10,
                    "sample_id": 42,
                    "characteristic_id": 1,
                    "rule_id": 1,
                    "rule_name": "Outlier",
                    "severity": "CRITICAL",
                    "timestamp": "2024-01-15T10:30:00+00:00",
                },
            },
        ),
        (
            acknowledged(),
            {
                "type": "ack_update",
                "payload": {
                    "violation_id": 10,
                    "acknowledged": True,
                    "user": "john.doe",
                    "reason": "Tool Change",
                    "timestamp": "2024-01-15T10:30:00+00:00",
                },
            },
        ),
        (
            limits(1),
            {
                "type": "control_limits",
                "payload": {
                    "characteristic_id": 1,
                    "center_line": 100.0,
                    "ucl": 103.0,
                    "lcl": 97.0,
                    "method": "moving_range",
                    "sample_count": 50,
                },
            },
        ),
    ],
    ids=CHART_MESSAGES,
)
async def test_a_message_has_these_keys_and_no_other(
    serving: Serving, event: Event, message: Mapping[str, Any]
) -> None:
    served = await charts(serving)
    async with served.connect() as peer:
        await listening(peer, 1)
        await publish(served.bus, event)
        assert await peer.next() == message


async def test_an_acknowledgement_goes_to_everybody(serving: Serving) -> None:
    served = await charts(serving)
    async with served.connect() as nothing, served.connect() as chart, served.connect() as topic:
        await listening(chart, 7)
        await topic.subscribe("no.such")
        await publish(served.bus, acknowledged())
        for peer in (nothing, chart, topic):
            assert (await peer.until("ack_update"))["payload"]["violation_id"] == 10


async def test_unsubscribe_stops_at_once_what_still_waits_too_but_not_acknowledgements(serving: Serving) -> None:
    served = await charts(serving)
    async with served.connect() as peer:
        await listening(peer, 1, 2)
        (client,) = served.sockets.hub.clients
        peer.connection.transport.pause_reading()
        large = "x" * 60_000
        while not client.is_behind:
            served.sockets.hub.tell_chart("sample", 1, {"characteristic_id": 1, "pad": large})
            served.sockets.hub.deal()
        for chart in (1, 2, 1):
            served.sockets.hub.tell_chart("sample", chart, {"characteristic_id": chart, "late": True})
        await peer.say(type="unsubscribe", characteristic_ids=[1])
        while len(client.charts) > 1:
            await served.bus.publish("turn.of_the_loop", {})
        peer.connection.transport.resume_reading()
        await peer.until("unsubscribed")
        await publish(served.bus, sample(1), sample(2), acknowledged())
        await peer.until("ack_update")
        late = [one["payload"]["characteristic_id"] for one in told(peer) if one["payload"].get("late")]
        assert late == [2]
        after = told(peer)[-2:]
        assert [one["type"] for one in after] == ["sample", "ack_update"]
        assert after[0]["payload"]["characteristic_id"] == 2


async def test_a_heartbeat_is_answered_and_what_is_wrong_is_told(serving: Serving) -> None:
    served = await charts(serving)
    async with served.connect() as peer:
        assert (await peer.ask(type="ping"))["type"] == "pong"
        for text in ('{"type":"dance"}', "no json", '{"type":"subscribe"}'):
            await peer.connection.send(text)
            assert (await peer.next())["type"] == "error"
        assert (await peer.ask(type="ping"))["type"] == "pong"


async def test_the_broadcaster_is_subscribed_by_construction_to_samples_and_limits() -> None:
    bus = InMemoryEventBus()
    WebSocketBroadcaster(bus, Silent())
    assert bus.get_handler_count(SampleProcessedEvent) == bus.get_handler_count(ControlLimitsUpdatedEvent) == 1
    assert bus.get_handler_count(ViolationCreatedEvent) == 0


async def test_a_system_that_has_an_audience_tells_it(serving: Serving) -> None:
    served = await serving()
    system = build(served.bus, load_config(), SyntheticFeed(["A"], 3, seed=1), audience=served.sockets.hub)
    async with served.connect() as peer:
        await listening(peer, 1)
        await publish(served.bus, sample(1), limits(1), violation(1), acknowledged())
        await peer.sync()
        assert sorted(one["type"] for one in told(peer)) == sorted(CHART_MESSAGES)
    assert system.alerts.open_alerts() == ()
    system.close()


class Silent:
    """Nobody listens."""

    def tell_chart(self, kind: str, characteristic_id: int, payload: Mapping[str, Any]) -> int:
        return 0

    def tell_everybody(self, kind: str, payload: Mapping[str, Any], *, topic: str) -> int:
        return 0


class Failing(Silent):
    """Every message fails."""

    def tell_chart(self, kind: str, characteristic_id: int, payload: Mapping[str, Any]) -> int:
        raise RuntimeError("no")

    def tell_everybody(self, kind: str, payload: Mapping[str, Any], *, topic: str) -> int:
        raise RuntimeError("no")


class Noting:
    """A notifier besides."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    async def notify_violation_created(self, event: ViolationCreatedEvent) -> None:
        self.heard.append(event.type)

    async def notify_violation_acknowledged(self, event: ViolationAcknowledgedEvent) -> None:
        self.heard.append(event.type)


async def test_a_broadcaster_that_raises_is_counted_and_nobody_else_notices() -> None:
    async with InMemoryEventBus() as bus:
        samples: list[Event] = []
        bus.subscribe(SampleProcessedEvent, samples.append, name="engine")
        noting = Noting()
        manager = AlertManager(bus, [WebSocketBroadcaster(bus, Failing()), noting])
        await publish(bus, sample(1), violation(1), acknowledged())
        assert noting.heard == ["spc.violation_created", "spc.violation_acknowledged"]
        assert manager.failures == 2
        assert len(samples) == 1
        counted = {one.name: one.dead_lettered for one in bus.stats().subscriptions}
        assert (counted["broadcaster.sample"], counted["engine"]) == (1, 0)


async def test_a_client_that_dies_in_the_middle_of_a_send_is_nobody_elses_business(serving: Serving) -> None:
    served = await charts(serving)
    async with served.connect() as dying, served.connect() as living:
        await listening(dying, 1)
        await listening(living, 1)
        for number in range(20):
            if number == 10:
                dying.connection.transport.abort()
            await publish(served.bus, sample(1, number))
        await living.sync()
        assert [one["payload"]["sample_id"] for one in told(living)] == [*range(20)]
        while len(served.sockets.hub) > 1:
            await living.sync()
        assert served.bus.dead_letters.count() == 0


async def test_order_is_kept_on_each_of_several_charts(serving: Serving) -> None:
    served = await charts(serving)
    noting = Noting()
    AlertManager(served.bus, [noting])
    async with served.connect() as peer:
        await listening(peer, 1, 2, 3)
        await publish(served.bus, *(sample(1 + number % 3, number) for number in range(60)), violation(2))
        await peer.sync()
        for chart in (1, 2, 3):
            numbers = [
                one["payload"]["sample_id"]
                for one in told(peer)
                if one["type"] == "sample" and one["payload"]["characteristic_id"] == chart
            ]
            assert numbers == [number for number in range(60) if 1 + number % 3 == chart]
        assert noting.heard == ["spc.violation_created"]


@pytest.mark.parametrize(
    ("where", "rules"),
    [({"severity": "CRITICAL"}, [1, 3]), ({"rule_id": [2, 3]}, [2, 3]), ({"severity": "CRITICAL", "rule_id": 3}, [3])],
)
async def test_violations_are_filtered_by_severity_and_rule(
    serving: Serving, where: dict[str, Any], rules: list[int]
) -> None:
    served = await charts(serving)
    async with served.connect() as peer:
        await listening(peer, 1, where=where)
        await publish(served.bus, violation(1, 1), violation(1, 2, "WARNING"), violation(1, 3), sample(1))
        await peer.sync()
        assert [one["payload"]["rule_id"] for one in told(peer) if one["type"] == "violation"] == rules
        assert [one["type"] for one in told(peer)].count("sample") == 1


async def test_what_happened_before_is_there_for_who_comes_later(serving: Serving) -> None:
    served = await charts(serving)
    await publish(served.bus, sample(1), violation(1))
    async with served.connect() as peer:
        await peer.subscribe("spc.*", after=0, where={"characteristic_id": 1}, batch_ms=10)
        await peer.until("caught_up")
        assert [event["payload"]["type"] for event in peer.events] == ["spc.sample_processed", "spc.violation_created"]


async def test_no_event_is_written_twice_for_a_hundred_subscribers(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = await charts(serving)
    written: list[object] = []

    def counting(value: Any, **options: Any) -> bytes:
        written.append(value)
        return to_json(value, **options)

    async with served.connect() as peer:
        await listening(peer, 1)
        (client,) = served.sockets.hub.clients
        others = [served.sockets.hub.join(client.line, lambda _type: True, lambda: True) for _ in range(99)]
        for other in others:
            served.sockets.hub.listen(other, charts=[((None, 1), client.charts[None, 1])])
        monkeypatch.setattr("eventbus.gateway.wire.to_json", counting)
        await publish(served.bus, sample(1))
        for _ in range(100):
            assert (await peer.next())["type"] == "sample"
        assert len(written) == 1


async def test_a_handler_is_not_delayed_by_a_client_that_never_reads(serving: Serving) -> None:
    served = await charts(serving)
    handled: list[int] = []
    served.bus.subscribe(SampleProcessedEvent, lambda event: handled.append(event.sample_id))
    async with served.connect() as dead:
        await listening(dead, 1)
        await dead.subscribe("*")
        dead.connection.transport.pause_reading()
        (client,) = served.sockets.hub.clients
        large = "x" * 100_000
        while not client.is_behind:
            await publish(served.bus, Event("large.made", payload={"pad": large}))
        await publish(served.bus, *(sample(1, number) for number in range(500)))
        assert handled == [*range(500)]
        assert client.is_behind
        dead.connection.transport.resume_reading()  # or its close would wait for an answer in vain


async def test_the_last_events_before_the_end_are_received(serving: Serving) -> None:
    served = await charts(serving)
    async with served.connect() as peer:
        await listening(peer, 1)
        for number in range(50):
            await served.bus.publish(sample(1, number))
        await served.stop()
        assert await peer.closed() == (1001, "going away")
        assert [one["payload"]["sample_id"] for one in told(peer)] == [*range(50)]
