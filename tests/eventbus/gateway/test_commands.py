"""Commands over HTTP: halt and re-arm, dead letters redriven and purged, tickets; each may be sent again."""

from __future__ import annotations

from typing import Any

import httpx

from eventbus import Event, InMemoryEventBus
from eventbus.testing.gateway import PATIENCE_S, Served
from tests.eventbus.gateway.facts import PLAIN, Serving


def client(served: Served) -> httpx.AsyncClient:
    return httpx.AsyncClient(verify=PLAIN, base_url=served.url, timeout=PATIENCE_S)


async def test_a_bus_is_halted_and_re_armed_by_the_token_of_its_halt(serving: Serving) -> None:
    served = await serving()
    async with client(served) as http:
        halt = (await http.post("/api/v1/halt", json={"reason": "drill"})).json()
        again = (await http.post("/api/v1/halt", json={"reason": "other"})).json()
        status = (await http.get("/api/v1/status")).json()
        wrong = await http.post("/api/v1/rearm", json={"token": "x", "reason": "over"})
        right = await http.post("/api/v1/rearm", json={"token": halt["token"], "reason": "over"})
        twice = await http.post("/api/v1/rearm", json={"token": halt["token"], "reason": "over"})
    assert halt.keys() == {"token", "reason", "since"}
    assert (halt, halt["reason"]) == (again, "drill")
    assert (status["halted"], status["reason"]) == (True, "drill")
    assert (wrong.status_code, wrong.json()["type"]) == (409, "wrong_rearm_token")
    assert right.json() == {"halted": False}
    assert (twice.status_code, twice.json()["type"]) == (409, "not_halted")
    assert not served.bus.is_halted


async def test_who_is_not_sure_that_it_re_armed_asks_again_under_its_key(serving: Serving) -> None:
    served = await serving()
    async with client(served) as http:
        token = (await http.post("/api/v1/halt", json={"reason": "drill"})).json()["token"]
        body, key = {"token": token, "reason": "over"}, {"Idempotency-Key": "k"}
        first, again = [await http.post("/api/v1/rearm", json=body, headers=key) for _ in range(2)]
    assert (first.status_code, first.json()) == (again.status_code, again.json()) == (200, {"halted": False})


async def test_a_halt_needs_a_reason(serving: Serving) -> None:
    served = await serving()
    async with client(served) as http:
        bodies: tuple[Any, ...] = (
            {},
            {"reason": ""},
            {"reason": "a\nb"},
            {"reason": " "},
            {"reason": 1},
            {"reason": "a", "by": "me"},
            [],
        )
        for body in bodies:
            assert (await http.post("/api/v1/halt", json=body)).status_code == 422
    assert not served.bus.is_halted


class Failing:
    """A handler that fails while it is told to."""

    def __init__(self) -> None:
        self.fails = True
        self.seen: list[Event] = []

    async def __call__(self, event: Event) -> None:
        self.seen.append(event)
        if self.fails:
            raise OSError("no route to ledger")


async def with_letters(serving: Serving, count: int = 1) -> tuple[Served, Failing]:
    bus, handler = InMemoryEventBus(), Failing()
    bus.subscribe("desk.opened", handler, name="ledger")
    served = await serving(bus)
    async with client(served) as http:
        await http.post(
            "/api/v1/events", json=[{"type": "desk.opened", "payload": {"desk": each}} for each in range(count)]
        )
    await bus.drain()
    return served, handler


async def letters(served: Served, **query: Any) -> dict[str, Any]:
    async with client(served) as http:
        found: dict[str, Any] = (await http.get("/api/v1/dead-letters", params=query)).json()
    return found


async def test_dead_letters_are_told_without_a_traceback(serving: Serving) -> None:
    served, _ = await with_letters(serving, 3)
    found = await letters(served)
    assert (found["total"], len(found["letters"]), found["next"]) == (3, 3, None)
    letter = found["letters"][0]
    assert (letter["subscription"], letter["reason"], letter["attempts"]) == ("ledger", "handler failed", 1)
    assert "no route to ledger" in letter["error"]
    assert "Traceback" not in str(found)
    assert letter["event"]["payload"]["desk"] == 0


async def test_dead_letters_come_in_pages(serving: Serving) -> None:
    served, _ = await with_letters(serving, 5)
    seen, after = [], 0
    while after is not None:
        page = await letters(served, after=after, limit=2)
        seen += [letter["event"]["payload"]["desk"] for letter in page["letters"]]
        after = page["next"]
    assert seen == [0, 1, 2, 3, 4]


async def test_a_redriven_letter_is_delivered_and_its_ending_comes_as_an_event(serving: Serving) -> None:
    served, handler = await with_letters(serving)
    letter_id = (await letters(served))["letters"][0]["id"]
    for fails, ending in ((True, "dead_lettered"), (False, "settled")):
        handler.fails = fails
        told = served.bus.expect("system.dead_letter.redriven", timeout=PATIENCE_S)
        async with client(served) as http:
            answer = await http.post(f"/api/v1/dead-letters/{letter_id}/redrive")
        assert (answer.status_code, answer.json()) == (202, {"redriven": 1})
        event = await told
        assert (event["letter_id"], event["subscription"], event["ending"]) == (letter_id, "ledger", ending)
        letter_id += 1
    assert len(handler.seen) == 3
    assert (await letters(served))["total"] == 0


async def test_a_letter_whose_subscription_is_gone_is_kept(serving: Serving) -> None:
    served, _ = await with_letters(serving)
    served.bus.clear_handlers()
    letter_id = (await letters(served))["letters"][0]["id"]
    async with client(served) as http:
        answer = await http.post(f"/api/v1/dead-letters/{letter_id}/redrive")
    assert (answer.status_code, answer.json()["type"]) == (409, "no_subscription")
    assert (await letters(served))["total"] == 1


async def test_a_letter_is_purged_once(serving: Serving) -> None:
    served, _ = await with_letters(serving, 2)
    letter_id = (await letters(served))["letters"][0]["id"]
    async with client(served) as http:
        first = await http.delete(f"/api/v1/dead-letters/{letter_id}", headers={"Idempotency-Key": "k"})
        again = await http.delete(f"/api/v1/dead-letters/{letter_id}", headers={"Idempotency-Key": "k"})
        without = await http.delete(f"/api/v1/dead-letters/{letter_id}")
        never = await http.post("/api/v1/dead-letters/99/redrive")
    assert (first.json(), again.json()) == ({"purged": 1}, {"purged": 1})
    assert (without.status_code, without.json()["type"]) == (404, "unknown_letter")
    assert never.status_code == 404
    assert (await letters(served))["total"] == 1


async def test_a_failed_command_is_asked_again_under_its_key(serving: Serving) -> None:
    served, handler = await with_letters(serving)
    handler.fails = False
    letter_id = (await letters(served))["letters"][0]["id"]
    subscription = served.bus.subscriptions[0]
    subscription.cancel()
    async with client(served) as http:
        path, key = f"/api/v1/dead-letters/{letter_id}/redrive", {"Idempotency-Key": "k"}
        assert (await http.post(path, headers=key)).status_code == 409
        served.bus.subscribe("desk.opened", handler, name="ledger")
        assert (await http.post(path, headers=key)).status_code == 202
