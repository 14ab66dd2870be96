"""Publishing over HTTP: what is accepted is on the bus once, what is refused is refused whole, by a code and a named field."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from eventbus import EventBus, InMemoryEventBus, create_event_bus
from eventbus.gateway import GatewaySettings, Limits
from eventbus.testing.gateway import PATIENCE_S, Served
from tests.eventbus.gateway.facts import PLAIN, Serving

OPENED = {"type": "desk.opened", "payload": {"desk": 3}}
TRADE = {"type": "trade.made", "payload": {"size": 1}}


def client(served: Served, **headers: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(verify=PLAIN, base_url=served.url, headers=headers, timeout=PATIENCE_S)


async def publish(served: Served, body: Any, **headers: str) -> httpx.Response:
    async with client(served) as http:
        return await http.post("/api/v1/events", json=body, headers=headers)


async def types_on(served: Served) -> list[str]:
    async with client(served) as http:
        return [event["payload"]["type"] for event in (await http.get("/api/v1/events")).json()["events"]]


async def test_one_event_is_published_and_its_receipt_answered(serving: Serving) -> None:
    served = await serving()
    answer = await publish(
        served, OPENED | {"event_id": "e1", "source": "desk", "timestamp": "2026-01-02T03:04:05+00:00"}
    )
    assert answer.status_code == 200
    assert answer.json() == {"receipts": [{"event_id": "e1", "seq": None, "durability": "memory"}]}
    async with client(served) as http:
        event = (await http.get("/api/v1/events/e1")).json()["payload"]
    assert (event["source"], event["timestamp"]) == ("desk", "2026-01-02T03:04:05+00:00")
    assert event["payload"] == {"desk": 3, "name": "", "share": 0.5, "is_open": True}


async def test_a_list_is_published_in_its_order(serving: Serving, tmp_path: Path) -> None:
    served = await serving(create_event_bus(f"sqlite:///{tmp_path}/run.db"))
    answer = await publish(served, [OPENED | {"event_id": f"e{number}"} for number in range(1_000)])
    assert [one["event_id"] for one in answer.json()["receipts"]] == [f"e{number}" for number in range(1_000)]
    assert [one["seq"] for one in answer.json()["receipts"]] == [*range(1, 1_001)]
    assert {one["durability"] for one in answer.json()["receipts"]} == {"power_loss"}


@pytest.mark.parametrize(
    ("wrong", "status", "code"),
    [
        (TRADE, 403, "not_publishable"),
        ({"type": "desk.closed"}, 404, "unknown_type"),
        (OPENED | {"version": 3}, 409, "unsupported_version"),
        (OPENED | {"colour": 1}, 422, "invalid"),
        ({"type": "desk.opened", "payload": {"desk": "3"}}, 422, "invalid"),
        (3, 422, "invalid"),
    ],
)
async def test_a_list_with_one_that_is_wrong_is_refused_whole_and_names_it(
    serving: Serving, wrong: Any, status: int, code: str
) -> None:
    served = await serving()
    answer = await publish(served, [OPENED, OPENED, wrong, OPENED])
    assert (answer.status_code, answer.json()["type"], answer.json()["index"]) == (status, code, 2)
    assert await types_on(served) == []


@pytest.mark.parametrize("count", [0, 1_001])
async def test_a_list_has_one_to_a_thousand(serving: Serving, count: int) -> None:
    served = await serving()
    assert (await publish(served, [OPENED] * count)).status_code == 422
    assert await types_on(served) == []


async def test_an_event_that_comes_again_is_one_event(serving: Serving) -> None:
    served = await serving()
    first, again = [await publish(served, OPENED | {"event_id": "e1"}) for _ in range(2)]
    assert first.json() == again.json()
    assert await types_on(served) == ["desk.opened"]


async def test_the_same_event_at_the_same_time_is_one_event(serving: Serving, tmp_path: Path) -> None:
    served = await serving(create_event_bus(f"sqlite:///{tmp_path}/run.db"))
    answers = await asyncio.gather(*(publish(served, OPENED | {"event_id": "e1"}) for _ in range(20)))
    assert {answer.text for answer in answers} == {answers[0].text}
    assert answers[0].json()["receipts"][0]["seq"] == 1
    assert await types_on(served) == ["desk.opened"]


async def test_an_event_that_comes_again_after_a_restart_is_one_event(serving: Serving, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/run.db"
    served = await serving(create_event_bus(url))
    first = await publish(served, OPENED | {"event_id": "e1"})
    await served.stop()
    served = await serving(create_event_bus(url))
    again = await publish(served, OPENED | {"event_id": "e1"})
    other = await publish(served, OPENED | {"event_id": "e1", "payload": {"desk": 4}})
    assert again.json() == first.json()
    assert (other.status_code, other.json()["type"]) == (409, "id_conflict")
    assert await types_on(served) == ["desk.opened"]


@pytest.mark.parametrize(
    "other", [{"payload": {"desk": 4}}, {"type": "desk.paid", "payload": {"amount": "1"}}, {"source": "elsewhere"}]
)
async def test_an_id_with_another_body_is_a_conflict(serving: Serving, other: dict[str, Any]) -> None:
    served = await serving()
    await publish(served, OPENED | {"event_id": "e1"})
    answer = await publish(
        served, [{"type": "desk.opened", "payload": {"desk": 9}}, OPENED | {"event_id": "e1"} | other]
    )
    assert (answer.status_code, answer.json()["type"]) == (409, "id_conflict")
    assert await types_on(served) == ["desk.opened"]


async def test_two_bodies_under_one_id_in_one_list_are_a_conflict(serving: Serving) -> None:
    served = await serving()
    answer = await publish(
        served, [OPENED | {"event_id": "e1"}, {"type": "desk.opened", "payload": {"desk": 9}, "event_id": "e1"}]
    )
    assert (answer.status_code, answer.json()["index"]) == (409, 1)
    assert await types_on(served) == []


async def test_an_idempotency_key_makes_a_request_count_once(serving: Serving) -> None:
    served = await serving()
    first, again = [await publish(served, [OPENED, OPENED], **{"Idempotency-Key": "k1"}) for _ in range(2)]
    other = await publish(served, [OPENED], **{"Idempotency-Key": "k2"})
    conflict = await publish(served, [OPENED | {"payload": {"desk": 9}}], **{"Idempotency-Key": "k1"})
    assert first.json() == again.json()
    assert other.json()["receipts"][0]["event_id"] not in first.text
    assert (conflict.status_code, conflict.json()["type"]) == (409, "id_conflict")
    assert await types_on(served) == ["desk.opened"] * 3


async def test_an_older_version_is_brought_up_to_date(serving: Serving) -> None:
    served = await serving()
    await publish(served, OPENED | {"version": 1, "event_id": "e1"})
    async with client(served) as http:
        assert (await http.get("/api/v1/events/e1")).json()["payload"]["payload"]["name"] == "unnamed"


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        ({"desk": True}, "desk"),
        ({"desk": 1.0}, "desk"),
        ({"desk": "1"}, "desk"),
        ({}, "desk"),
        ({"desk": 1, "share": "0.5"}, "share"),
        ({"desk": 1, "is_open": 1}, "is_open"),
        ({"desk": 1, "event_id": "mine"}, "payload"),
        ({"desk": 1, "other": 1}, "payload"),
    ],
)
async def test_the_class_of_a_type_checks_it_and_nothing_is_converted(
    serving: Serving, payload: dict[str, Any], field: str
) -> None:
    served = await serving()
    answer = await publish(served, {"type": "desk.opened", "payload": payload})
    assert (answer.status_code, answer.json()["type"]) == (422, "invalid")
    assert field in answer.json()["detail"]
    assert await types_on(served) == []


@pytest.mark.parametrize(
    "amount", [1, 1.5, "1e5", "1E+999999999", "\u0661", "1_000", " 1", "NaN", "1.0000000001", "1" * 13, ""]
)
async def test_money_is_a_text_of_plain_digits(serving: Serving, amount: Any) -> None:
    served = await serving()
    for payload in ({"amount": amount}, {"amount": "1", "parts": ["1", amount]}):
        assert (await publish(served, {"type": "desk.paid", "payload": payload})).status_code == 422
    assert (
        await publish(served, {"type": "desk.paid", "payload": {"amount": "-10.50", "parts": ["0.1"]}})
    ).status_code == 200


async def test_types_without_a_class_need_to_be_allowed(serving: Serving) -> None:
    served = await serving(settings=GatewaySettings(port=0, allow_adhoc=True))
    assert (await publish(served, {"type": "any.thing", "payload": {"a": [1, {"b": None}]}})).status_code == 200
    assert (await publish(served, {"type": "any.thing", "version": 1})).json()["type"] == "unsupported_version"


async def test_what_is_listed_may_be_published_and_nothing_else(serving: Serving) -> None:
    served = await serving(settings=GatewaySettings(port=0, publishable=("trade.*",)))
    assert (await publish(served, TRADE)).status_code == 200
    assert (await publish(served, OPENED)).json()["type"] == "not_publishable"


async def test_money_does_not_move_while_halted(serving: Serving) -> None:
    served = await serving()
    served.bus.halt("drill")
    answer = await publish(served, [OPENED, {"type": "desk.paid", "payload": {"amount": "1"}}])
    assert (answer.status_code, answer.json()["type"]) == (409, "halted")
    assert await types_on(served) == []
    assert (await publish(served, OPENED)).status_code == 200


async def full(serving: Serving, wait_s: float) -> tuple[Served, asyncio.Event]:
    """A gateway whose bus has no room until the event is set."""
    bus: EventBus = InMemoryEventBus(max_queue_size=2)
    let_go = asyncio.Event()

    async def wait(_event: object) -> None:
        await let_go.wait()

    bus.subscribe("desk.*", wait)
    served = await serving(bus, settings=GatewaySettings(port=0, limits=Limits(publish_wait_s=wait_s)))
    await publish(served, [OPENED, OPENED])
    return served, let_go


async def test_a_bus_without_room_is_overloaded_and_the_id_stays_free(serving: Serving) -> None:
    served, let_go = await full(serving, 0.01)
    try:
        answer = await publish(served, [OPENED | {"event_id": "e1"}, OPENED])
    finally:
        let_go.set()
    assert (answer.status_code, answer.json()["type"], answer.headers["retry-after"]) == (503, "overloaded", "1")
    assert await served.bus.drain()
    assert (await publish(served, OPENED | {"event_id": "e1", "payload": {"desk": 5}})).status_code == 200
    assert await types_on(served) == ["desk.opened"] * 3


async def test_a_list_that_began_is_finished_however_long_the_bus_has_no_room(serving: Serving) -> None:
    served, let_go = await full(serving, 20)
    publishing = asyncio.create_task(publish(served, [OPENED] * 10))
    asyncio.get_running_loop().call_later(0.05, let_go.set)
    assert len((await publishing).json()["receipts"]) == 10
    assert len(await types_on(served)) == 12


async def test_a_run_makes_its_own_events(serving: Serving) -> None:
    served = await serving(settings=GatewaySettings(port=0, run_owns_events=True))
    answer = await publish(served, OPENED)
    assert (answer.status_code, answer.json()["type"]) == (409, "run_owns_its_events")
    async with client(served) as http:
        assert "publish" not in (await http.get("/api/v1/status")).json()["capabilities"]


async def test_an_outcome_that_nobody_knows_is_said_and_a_retry_settles_it(
    serving: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from eventbus import JournalUnavailable, OutcomeUnknown
    from eventbus.journal.sqlite import SqliteJournal

    served = await serving(create_event_bus(f"sqlite:///{tmp_path}/run.db"))
    append = SqliteJournal.append
    for error, code in (
        (OutcomeUnknown("e1", "cut"), "outcome_unknown"),
        (JournalUnavailable("run.db", "full"), "journal_unavailable"),
    ):

        async def broken(_self: SqliteJournal, _batch: object, error: Exception = error) -> Any:
            raise error

        monkeypatch.setattr(SqliteJournal, "append", broken)
        answer = await publish(served, OPENED | {"event_id": "e1"})
        assert (answer.status_code, answer.json()["type"]) == (503, code)
        assert "retry-after" in answer.headers
    monkeypatch.setattr(SqliteJournal, "append", append)
    assert (await publish(served, OPENED | {"event_id": "e1"})).status_code == 200
