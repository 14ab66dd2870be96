"""Looking over HTTP: health, where the log stands, pages of events, causes, types, metrics."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from eventbus import Event, InMemoryEventBus, create_event_bus
from eventbus.testing.gateway import PATIENCE_S, Served
from tests.eventbus.gateway.facts import PLAIN, DeskOpened, Serving


def client(served: Served) -> httpx.AsyncClient:
    return httpx.AsyncClient(verify=PLAIN, base_url=served.url, timeout=PATIENCE_S)


async def get(served: Served, path: str, **query: Any) -> Any:
    async with client(served) as http:
        answer = await http.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def refusal(served: Served, path: str, **query: Any) -> tuple[int, dict[str, Any]]:
    async with client(served) as http:
        answer = await http.get(path, params=query)
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert {"type", "title", "status", "detail", "request_id"} <= body.keys()
    assert (body["status"], body["request_id"]) == (answer.status_code, answer.headers["x-request-id"])
    return answer.status_code, body


async def test_ready_means_that_events_are_taken(serving: Serving, tmp_path: Path) -> None:
    served = await serving(create_event_bus(f"sqlite:///{tmp_path}/run.db"))
    assert await get(served, "/healthz") == {"status": "ok"}
    assert await get(served, "/readyz") == {"status": "ok"}
    served.bus.stop()
    async with client(served) as http:
        answer = await http.get("/readyz")
        assert (answer.status_code, answer.json()) == (503, {"status": "not ok"})
        assert (await http.get("/healthz")).status_code == 200


async def journaled(serving: Serving, tmp_path: Path, count: int) -> Served:
    served = await serving(create_event_bus(f"sqlite:///{tmp_path}/run.db"))
    kinds = ("desk.seen", "desk.left")
    await served.bus.publish_many([Event(kinds[each % 2], payload={"n": each}) for each in range(count)])
    await served.bus.drain()
    return served


async def pages(served: Served, **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    after: int | None = 0
    while after is not None:
        page = await get(served, "/api/v1/events", after=after, **query)
        assert len(page["events"]) <= query.get("limit", 100)
        found += page["events"]
        after = page["next"]
    return found


@pytest.mark.parametrize("limit", [1, 7, 1_000])
async def test_pages_give_every_event_once_in_order(serving: Serving, tmp_path: Path, limit: int) -> None:
    served = await journaled(serving, tmp_path, 30)
    assert [item["seq"] for item in await pages(served, limit=limit)] == [*range(1, 31)]
    assert [item["seq"] for item in await pages(served, limit=limit, type="desk.l*")] == [*range(2, 31, 2)]


async def test_pages_go_back_behind_the_ring_where_there_is_a_journal(serving: Serving, tmp_path: Path) -> None:
    served = await journaled(serving, tmp_path, 500)
    await served.stop()
    served = await serving(create_event_bus(f"sqlite:///{tmp_path}/run.db"))
    assert served.gateway.ring.oldest == 501
    assert [item["payload"]["payload"]["n"] for item in await pages(served)] == [*range(500)]


async def test_a_page_begins_at_a_time(serving: Serving, tmp_path: Path) -> None:
    served = await serving(create_event_bus(f"sqlite:///{tmp_path}/run.db"))
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    for each in range(5):
        await served.bus.publish(Event("desk.seen", moment + timedelta(minutes=each), {"n": each}))
    await served.bus.drain()
    found = await pages(served, since="2026-01-01T00:03:00Z")
    assert [item["payload"]["payload"]["n"] for item in found] == [3, 4]


async def test_a_position_that_is_gone_is_said_with_the_oldest(serving: Serving, tmp_path: Path) -> None:
    served = await journaled(serving, tmp_path, 0)
    for _ in range(30):
        await served.bus.publish_many([Event("desk.seen") for _ in range(100)])
    await served.bus.trim(before=2_000, force=True)
    oldest = served.bus.journal.first
    assert oldest > 1
    served.gateway.ring.begin(served.gateway.ring.epoch, 3_000)
    status, body = await refusal(served, "/api/v1/events", after=1)
    assert (status, body["type"], body["oldest"]) == (410, "gone", oldest)
    assert (await get(served, "/api/v1/events", after=0, limit=1))["events"][0]["seq"] == oldest
    assert (await refusal(served, "/api/v1/events", after=0, epoch="other"))[0] == 410
    assert (await refusal(served, "/api/v1/events", after=9_999))[0] == 410
    assert (await get(served, "/api/v1/events", after=0, epoch=served.gateway.ring.epoch))["events"]


@pytest.mark.parametrize(
    "query",
    [
        {"after": -1},
        {"after": "x"},
        {"after": 2**63},
        {"limit": 0},
        {"limit": 1_001},
        {"type": "a b"},
        {"type": "x" * 129},
        {"since": "yesterday"},
        {"since": "2026-01-01T00:00:00"},
        {"epoch": "e" * 65},
    ],
)
async def test_a_question_that_is_wrong_names_its_field_and_echoes_nothing(
    serving: Serving, query: dict[str, Any]
) -> None:
    status, body = await refusal(await serving(), "/api/v1/events", **query)
    assert (status, body["type"]) == (422, "invalid")
    assert body["detail"].startswith(next(iter(query)))
    assert "yesterday" not in body["detail"]


async def test_one_event_and_what_came_of_it(serving: Serving) -> None:
    bus = InMemoryEventBus()

    async def answer(event: Event) -> None:
        await bus.publish("desk.seen", {"desk": event["desk"]})

    bus.subscribe("desk.opened", answer, name="clerk")
    served = await serving(bus)
    first = DeskOpened(desk=1)
    await bus.publish(first)
    await bus.drain()
    assert (await get(served, f"/api/v1/events/{first.event_id}"))["payload"]["payload"]["desk"] == 1
    tree = await get(served, f"/api/v1/events/{first.event_id}/explain")
    assert [(node["depth"], node["event"]["type"]) for node in tree["nodes"]] == [(0, "desk.opened"), (1, "desk.seen")]
    assert tree["nodes"][0]["handled"][0] | {"queued_s": 0, "ran_s": 0} == {
        "subscription": "clerk",
        "status": "succeeded",
        "attempts": 1,
        "queued_s": 0,
        "ran_s": 0,
    }
    for path in ("/api/v1/events/nobody", "/api/v1/events/nobody/explain"):
        status, body = await refusal(served, path)
        assert (status, body["type"]) == (404, "unknown_event")
    rows = (await get(served, "/api/v1/subscriptions"))["subscriptions"]
    assert [(row["name"], row["selector"], row["succeeded"]) for row in rows] == [("clerk", "desk.opened", 1)]


async def test_stats_count_the_clients(serving: Serving) -> None:
    served = await serving()
    async with served.connect():
        assert (await get(served, "/api/v1/stats"))["clients"] == 1
    async with asyncio.timeout(PATIENCE_S):
        while (await get(served, "/api/v1/stats"))["clients"]:
            pass


async def test_types_are_told_with_their_schema_and_known_again_by_their_tag(serving: Serving) -> None:
    served = await serving()
    async with client(served) as http:
        for path in ("/api/v1/types", "/asyncapi.json", "/openapi.json"):
            first = await http.get(path)
            again = await http.get(path, headers={"If-None-Match": first.headers["etag"]})
            assert (first.status_code, again.status_code, again.content) == (200, 304, b"")
        types = {one["type"]: one for one in (await http.get("/api/v1/types")).json()["types"]}
    opened = types["desk.opened"]
    assert (opened["version"], opened["kind"], opened["key"], opened["publishable"]) == (2, "event", "desk", True)
    assert opened["payload_schema"]["properties"].keys() == {"desk", "name", "share", "is_open"}
    assert opened["payload_schema"]["required"] == ["desk"]
    assert not types["trade.made"]["publishable"]


async def test_metrics_are_of_the_bus_and_of_the_gateway(serving: Serving) -> None:
    served = await serving()
    async with client(served) as http:
        await http.get("/nothing/here")
        page = (await http.get("/metrics")).text
    assert "eventbus_published_events_total" in page
    assert f'eventbus_gateway_refused_total{{bus="{served.bus.name}",reason="not_found"}} 1.0' in page
    assert f'eventbus_gateway_clients{{bus="{served.bus.name}"}} 0.0' in page


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api/v1/nothing", 404, "not_found"),
        ("GET", "/../../etc/passwd", 404, "not_found"),
        ("GET", "/%2e%2e/app.py", 404, "not_found"),
        ("PUT", "/api/v1/events", 405, "method_not_allowed"),
        ("DELETE", "/api/v1/status", 405, "method_not_allowed"),
        ("POST", "/", 404, "not_found"),
    ],
)
async def test_what_is_not_here_is_a_problem(serving: Serving, method: str, path: str, status: int, code: str) -> None:
    served = await serving()
    async with client(served) as http:
        answer = await http.request(method, path)
    assert (answer.status_code, answer.json()["type"]) == (status, code)
    assert ("allow" in answer.headers) == (status == 405)


async def test_the_page_may_load_nothing_from_elsewhere_and_be_framed_by_nobody(serving: Serving) -> None:
    served = await serving()
    async with client(served) as http:
        answer = await http.get("/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in answer.headers
    assert "<script>" not in answer.text
