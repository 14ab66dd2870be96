"""The dashboard of a run over HTTP: its pages and views are there, and its commands are those of the run and not of its bus."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import httpx
import pytest

from eventbus import Event, InMemoryEventBus
from eventbus.gateway import GatewaySettings
from quantum_trader.events import RunCompletedEvent
from quantum_trader.pace import Pace
from quantum_trader.web.dashboard import create_dashboard
from quantum_trader.web.desk import Desk
from quantum_trader.web.panels import Panels

ENDS = {"run.started": (("TradingSystem",), ("Characteristics",))}


class Given:
    """A dashboard, and what was commanded through it."""

    def __init__(self, bus: InMemoryEventBus, client: httpx.AsyncClient, panels: Panels, asked: list[Event]) -> None:
        self.bus = bus
        self.client = client
        self.panels = panels
        self.asked = asked

    async def post(self, path: str, body: Any) -> tuple[int, Any]:
        answer = await self.client.post(f"/api/v1/{path}", json=body)
        return answer.status_code, answer.json()


@pytest.fixture
async def given() -> AsyncIterator[Given]:
    bus, panels, asked, clock = InMemoryEventBus(), Panels([], sessions=5), list[Event](), Pace(40.0)
    desk = Desk(panels, ask=asked.append, pace=lambda: clock)
    app = create_dashboard(
        bus,
        panels,
        desk,
        settings=GatewaySettings(port=0, run_owns_events=True),
        wiring=lambda: ENDS,
        keeps=lambda subscription: "it decides" if subscription.startswith("ledger.") else "",
    )

    async def served(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "state": {}}, receive, send)  # which a server brings, and this transport does not

    transport = httpx.ASGITransport(served)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client,
    ):
        yield Given(bus, client, panels, asked)


async def test_pages_of_the_run_stand_before_those_of_the_bus(given: Given) -> None:
    page = await given.client.get("/")
    assert "<title>Quantum Trader</title>" in page.text
    assert page.headers["content-security-policy"].startswith("default-src 'self'")
    for path in ("/trading/app.js", "/trading/trading.css", "/page.js", "/style.css", "/vendor/uplot.js"):
        assert (await given.client.get(path)).status_code == 200
    assert (await given.client.get("/trading/../../pyproject.toml")).status_code == 404
    assert (await given.client.get("/trading/%2e%2e/desk.py")).status_code == 404


async def test_views_of_the_run_stand_beside_those_of_the_bus(given: Given) -> None:
    status = (await given.client.get("/api/v1/status")).json()
    assert {"run", "equity", "charts", "orders", "bus", "letters", "topology"} <= set(status["views"])
    assert {"killswitch", "acknowledge", "pace"} <= set(status["capabilities"])
    assert {"publish", "halt"}.isdisjoint(status["capabilities"])
    run = (await given.client.get("/api/v1/views/run")).json()
    assert (run["view"], run["data"]["of"]) == ("run", 5)
    topology = (await given.client.get("/api/v1/views/topology")).json()["data"]
    assert topology["routes"][0] | {"per_s": 0} == {
        "type": "run.started", "kind": "event", "producers": ["TradingSystem"], "consumers": ["Characteristics"],
        "total": 0, "per_s": 0,
    }  # fmt: skip
    for name in ("chart:1", "chart:x", "chart:"):
        assert (await given.client.get(f"/api/v1/views/{name}")).status_code in (404, 422)


async def test_run_owns_its_events(given: Given) -> None:
    for path, body in (
        ("events", {"type": "feed.anomaly", "payload": {}}),
        ("halt", {"reason": "drill"}),
        ("rearm", {"token": "t", "reason": "drill"}),
    ):
        status, problem = await given.post(path, body)
        assert (status, problem["type"]) == (409, "run_owns_its_events")


async def test_letter_of_what_decides_stays_and_one_of_an_onlooker_is_redriven(given: Given) -> None:
    handled: list[str] = []

    async def fail_once(event: Event, name: str) -> None:
        handled.append(name)
        if handled.count(name) == 1:
            raise TimeoutError("late")

    for name in ("ledger.trade", "archive.desk"):
        given.bus.subscribe("desk.note", partial(fail_once, name=name), name=name)
    await given.bus.publish(Event("desk.note", payload={}))
    await given.bus.drain()
    rows = (await given.client.get("/api/v1/views/letters")).json()["data"]["rows"]
    kept = {row["subscription"]: row["kept"] for row in rows}
    assert kept == {"ledger.trade": "it decides", "archive.desk": ""}
    answers = {row["subscription"]: await given.post(f"dead-letters/{row['id']}/redrive", {}) for row in rows}
    await given.bus.drain()
    assert answers["archive.desk"] == (202, {"redriven": 1})
    status, problem = answers["ledger.trade"]
    assert (status, problem["type"], problem["detail"]) == (409, "not_redrivable", "it decides")
    assert sorted(handled) == ["archive.desk", "archive.desk", "ledger.trade"]


async def test_command_is_accepted_and_takes_effect_before_the_next_session(given: Given) -> None:
    status, answer = await given.post("killswitch", {"mode": "reduce_only", "reason": "drill"})
    assert (status, answer["effective"]) == (202, "next_session")
    (asked,) = given.asked
    assert answer["command_id"] == asked.event_id
    assert (asked["mode"], asked["actor"], asked["reason"]) == ("REDUCE_ONLY", "dashboard", "drill")


async def test_speed_and_pause_are_no_commands_of_the_run(given: Given) -> None:
    assert await given.post("speed", {"sessions_per_s": 2.0, "paused": True}) == (
        200, {"sessions_per_s": 2.0, "paused": True},
    )  # fmt: skip
    assert given.asked == []


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("killswitch", {"mode": "stop", "reason": "x"}, "mode"),
        ("killswitch", {"mode": "halt"}, "reason"),
        ("killswitch", {"mode": "halt", "reason": ""}, "reason"),
        ("killswitch", {"mode": "halt", "reason": "a\nb"}, "reason"),
        ("killswitch", {"mode": "halt", "reason": "x", "force": True}, "the request"),
        ("speed", {"sessions_per_s": -1}, "sessions_per_s"),
        ("speed", {"sessions_per_s": "fast"}, "sessions_per_s"),
        ("speed", {"paused": 1}, "paused"),
        ("violations/x/acknowledge", {"user": "ada"}, "reason"),
        ("violations/x/acknowledge", {"user": "", "reason": "x"}, "user"),
    ],
)
async def test_what_is_wrong_is_named_and_nothing_is_commanded(given: Given, path: str, body: Any, field: str) -> None:
    status, problem = await given.post(path, body)
    assert (status, problem["type"]) == (422, "invalid")
    assert problem["detail"].startswith(field)
    assert given.asked == []


async def test_run_that_is_over_takes_no_commands(given: Given) -> None:
    given.panels.take([RunCompletedEvent(run_id="r", sessions=5, det_events=1, digest="d")])
    for path, body in (("killswitch", {"mode": "halt", "reason": "x"}), ("speed", {"paused": True})):
        status, problem = await given.post(path, body)
        assert (status, problem["type"]) == (409, "run_over")


async def test_what_is_asked_about_the_run_is_answered(given: Given) -> None:
    assert (await given.client.get("/api/v1/state")).json()["stage"] == "waiting"
    assert (await given.client.get("/api/v1/orders/none")).json() == {"order_id": "none", "nodes": []}
    assert (await given.client.get("/api/v1/charts/7")).json()["type"] == "unknown_chart"
    assert (await given.client.get("/api/v1/report")).status_code == 200
    paths = (await given.client.get("/openapi.json")).json()["paths"]
    assert {"/api/v1/killswitch", "/api/v1/speed", "/api/v1/violations/{violation_id}/acknowledge"} <= set(paths)
