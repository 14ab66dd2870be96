"""Counts: what a page of metrics says of the WebSocket clients."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import httpx
from prometheus_client.parser import text_string_to_metric_families

from eventbus.gateway.counts import Counts
from eventbus.testing.gateway import PATIENCE_S, Served

Serving = Callable[..., Awaitable[Served]]


async def test_the_page_counts_what_was_sent_refused_and_closed_and_how_late_it_was(serving: Serving) -> None:
    served = await serving()
    for _ in range(3):
        await served.bus.publish("count.me", {})
    async with served.connect() as peer, httpx.AsyncClient(timeout=PATIENCE_S) as http:
        await peer.subscribe("*", after=0)
        await peer.until("caught_up")
        await served.bus.publish("count.me", {})
        await peer.sync()
        await peer.ask(type="dance")
        await peer.connection.send(b"binary")
        await peer.closed()
        page = (await http.get(f"{served.url}/metrics")).text
    found = {
        (sample.name, *(value for label, value in sample.labels.items() if label != "bus")): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name.startswith("eventbus_gateway_")
    }
    assert found["eventbus_gateway_sent_messages_total", "event"] == 4
    assert found["eventbus_gateway_sent_messages_total", "error"] == 1
    assert found["eventbus_gateway_replayed_events_total",] == 3
    assert found["eventbus_gateway_refused_total", "unknown_type"] == 1
    assert found["eventbus_gateway_closed_total", "1003"] == 1
    assert found["eventbus_gateway_conflated_total",] == 0
    assert found["eventbus_gateway_outbox_bytes",] == 0
    assert found["eventbus_gateway_send_delay_seconds_count",] >= 1
    assert found["eventbus_gateway_clients",] in (0, 1)


def test_labels_are_bounded_whatever_clients_do() -> None:
    """Beside a page of a bus, which has at most 166 series, they are 200 in all."""
    counts = Counts("desk")
    for number in range(50):
        counts.sent[f"kind {number}"] += 1
        counts.closed[4_000 + number] += 2
        counts.refused[f"reason {number}"] += 3
    found = [sample for family in counts.collect() for sample in family.samples]
    assert len(found) == 34
    assert {sample.labels["bus"] for sample in found} == {"desk"}
    refused = {sample.labels["reason"]: sample.value for sample in found if "reason" in sample.labels}
    assert (refused["reason 0"], refused["other"]) == (3, 45 * 3)
