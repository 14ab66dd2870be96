"""Who may come in: tokens and their scopes, tickets for pages, origins and hosts, addresses that guess; and no token in any log."""

from __future__ import annotations

import logging
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from eventbus import Event, GatewayError, InMemoryEventBus, SystemClock
from eventbus.gateway import GatewaySettings, Limits
from eventbus.gateway.patterns import matches
from eventbus.gateway.tokens import TokenFile, create_token, read_tokens, revoke_token
from eventbus.testing.gateway import PATIENCE_S, Served
from tests.eventbus.gateway.facts import PLAIN, Serving

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class MovedClock(SystemClock):
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.moved_ns = 0

    def monotonic_ns(self) -> int:
        return super().monotonic_ns() + self.moved_ns

    def move(self, seconds: float) -> None:
        self.moved_ns += int(seconds * 1e9)


class Doors:
    """Tokens, and gateways that ask for them."""

    def __init__(self, serving: Serving, folder: Path) -> None:
        self.file = folder / "tokens.json"
        self.clock = MovedClock()
        self._serving = serving
        self.made: list[str] = []

    def token(self, *scopes: str, expires: datetime | None = None) -> str:
        _, text = create_token(self.file, "test", scopes, NOW, expires)
        self.made.append(text)
        self.clock.move(5)  # until then gateways that run know it
        return text

    async def open(self, **settings: Any) -> Served:
        self.token("read:nothing")
        bus = InMemoryEventBus()
        served = await self._serving(
            bus, clock=self.clock, settings=GatewaySettings(port=0, tokens=self.file, **settings)
        )
        for each in ("desk.opened", "desk.paid"):
            await bus.publish(Event(f"{each}.twice"))
        await bus.drain()
        return served


@pytest.fixture
def doors(serving: Serving, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[Doors]:
    """No token that a test makes, and no wrong one, may be in anything that is logged meanwhile."""
    caplog.set_level(logging.DEBUG)
    found = Doors(serving, tmp_path)
    yield found
    logged = "\n".join(f"{record.getMessage()} {record.__dict__}" for record in caplog.records)
    assert [token for token in (*found.made, WRONG) if token in logged] == []


WRONG = "wrong-token-wrong-token-wrong-token-wrong"


async def ask(served: Served, method: str, path: str, token: str | None, **options: Any) -> httpx.Response:
    headers = options.pop("headers", {}) | ({} if token is None else {"Authorization": f"Bearer {token}"})
    async with httpx.AsyncClient(verify=PLAIN, base_url=served.url, headers=headers, timeout=PATIENCE_S) as http:
        return await http.request(method, path, **options)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v1/status"),
        ("GET", "/api/v1/events"),
        ("GET", "/api/v1/events/x"),
        ("GET", "/api/v1/events/x/explain"),
        ("GET", "/api/v1/types"),
        ("GET", "/api/v1/subscriptions"),
        ("GET", "/api/v1/stats"),
        ("GET", "/api/v1/dead-letters"),
        ("GET", "/asyncapi.json"),
        ("GET", "/openapi.json"),
        ("POST", "/api/v1/events"),
        ("POST", "/api/v1/dead-letters/1/redrive"),
        ("DELETE", "/api/v1/dead-letters/1"),
        ("POST", "/api/v1/halt"),
        ("POST", "/api/v1/rearm"),
        ("POST", "/api/v1/ticket"),
    ],
)
async def test_every_route_asks_for_a_token(doors: Doors, method: str, path: str) -> None:
    served = await doors.open()
    for token, code in ((None, "no_token"), (WRONG, "bad_token")):
        answer = await ask(served, method, path, token)
        assert (answer.status_code, answer.json()["type"]) == (401, code)
        assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_interactive_pages_are_there_when_asked_for_and_open_no_document(doors: Doors) -> None:
    served = await doors.open()
    assert (await ask(served, "GET", "/docs", None)).status_code == 404
    served = await doors.open(docs=True)
    assert "/openapi.json" in (await ask(served, "GET", "/docs", None)).text
    assert (await ask(served, "GET", "/openapi.json", None)).status_code == 401


async def test_health_and_the_page_need_none_and_reveal_nothing(doors: Doors) -> None:
    served = await doors.open()
    assert (await ask(served, "GET", "/healthz", None)).json() == {"status": "ok"}
    assert (await ask(served, "GET", "/readyz", None)).json() == {"status": "ok"}
    assert (await ask(served, "GET", "/", None)).status_code == 200


async def test_a_token_in_another_place_than_its_header_is_none(doors: Doors) -> None:
    served = await doors.open()
    token = doors.token("read:*")
    for name in ("token", "access_token", "TOKEN", "ticket"):
        answer = await ask(served, "GET", f"/api/v1/status?{name}={token}", token)
        assert (answer.status_code, answer.json()["type"]) == (400, "token_in_query")
    answer = await ask(served, "GET", "/api/v1/status", None, headers={"Authorization": f"Basic {token}"})
    assert answer.status_code == 401


async def test_a_token_reads_what_its_scope_covers_and_learns_of_nothing_else(doors: Doors) -> None:
    served = await doors.open()
    token = doors.token("read:desk.opened*")
    page = (await ask(served, "GET", "/api/v1/events", token)).json()
    assert [item["payload"]["type"] for item in page["events"]] == ["desk.opened.twice"]
    everything = (await ask(served, "GET", "/api/v1/events", doors.token("read:*"))).json()["events"]
    hidden = everything[1]["payload"]["event_id"]
    for path in (f"/api/v1/events/{hidden}", f"/api/v1/events/{hidden}/explain"):
        assert (await ask(served, "GET", path, token)).status_code == 404


async def test_reading_never_means_publishing_nor_steering(doors: Doors) -> None:
    served = await doors.open(publishable=("*",))
    body = {"type": "desk.opened", "payload": {"desk": 1}}
    reader, writer, admin = doors.token("read:*"), doors.token("publish:desk.*"), doors.token("admin")
    for token, status in ((reader, 403), (admin, 403), (writer, 200)):
        answer = await ask(served, "POST", "/api/v1/events", token, json=body)
        assert answer.status_code == status
    trade = {"type": "trade.made", "payload": {"size": 1}}
    assert (await ask(served, "POST", "/api/v1/events", writer, json=trade)).json()["type"] == "missing_scope"
    for token, status in ((reader, 403), (writer, 403), (admin, 200)):
        assert (await ask(served, "POST", "/api/v1/halt", token, json={"reason": "drill"})).status_code == status
    for token, status in ((reader, 200), (writer, 403), (admin, 403)):
        assert (await ask(served, "GET", "/api/v1/status", token)).status_code == status


async def test_a_scope_does_not_open_what_the_gateway_keeps_shut(doors: Doors) -> None:
    served = await doors.open()
    answer = await ask(
        served, "POST", "/api/v1/events", doors.token("publish:*"), json={"type": "trade.made", "payload": {"size": 1}}
    )
    assert (answer.status_code, answer.json()["type"]) == (403, "not_publishable")


async def test_a_token_made_revoked_or_expired_meanwhile_counts_within_five_seconds(doors: Doors) -> None:
    served = await doors.open()
    token = doors.token("read:*")
    old = doors.token("read:*", expires=NOW)
    doors.clock.move(5)
    assert (await ask(served, "GET", "/api/v1/status", token)).status_code == 200
    assert (await ask(served, "GET", "/api/v1/status", old)).status_code == 401
    revoke_token(doors.file, next(one.id for one in read_tokens(doors.file) if one.scopes == ("read:*",)))
    doors.clock.move(5)
    assert (await ask(served, "GET", "/api/v1/status", token)).status_code == 401


async def test_a_file_that_cannot_be_read_lets_nobody_in(doors: Doors) -> None:
    served = await doors.open()
    token = doors.token("read:*")
    doors.clock.move(5)
    assert (await ask(served, "GET", "/api/v1/status", token)).status_code == 200
    doors.file.write_text("{")
    doors.clock.move(5)
    assert (await ask(served, "GET", "/api/v1/status", token)).status_code == 401


async def test_an_address_that_guesses_is_shut_out_for_five_minutes(doors: Doors) -> None:
    served = await doors.open()
    token = doors.token("read:*")
    doors.clock.move(5)
    for _ in range(10):
        assert (await ask(served, "GET", "/api/v1/status", WRONG)).status_code == 401
    answer = await ask(served, "GET", "/api/v1/status", token)
    assert (answer.status_code, answer.json()["type"]) == (429, "too_many_wrong_tokens")
    assert 290 <= int(answer.headers["retry-after"]) <= 300
    doors.clock.move(301)
    assert (await ask(served, "GET", "/api/v1/status", token)).status_code == 200


async def test_wrong_tokens_now_and_then_are_no_guessing(doors: Doors) -> None:
    served = await doors.open()
    for _ in range(4):
        for _ in range(9):
            assert (await ask(served, "GET", "/api/v1/status", WRONG)).status_code == 401
        doors.clock.move(61)


async def test_behind_a_proxy_the_last_hop_is_the_address(doors: Doors) -> None:
    served = await doors.open(behind_proxy=True, limits=Limits(wrong_tokens=2))
    for hops, status in (
        ("1.1.1.1, 2.2.2.2", 401),
        ("9.9.9.9, 2.2.2.2", 401),
        ("2.2.2.2", 429),
        ("2.2.2.2, 3.3.3.3", 401),
    ):
        answer = await ask(served, "GET", "/api/v1/status", WRONG, headers={"X-Forwarded-For": hops})
        assert answer.status_code == status


async def test_without_a_proxy_nobody_chooses_an_address(doors: Doors) -> None:
    served = await doors.open(limits=Limits(wrong_tokens=2))
    for hop, status in (("1.1.1.1", 401), ("2.2.2.2", 401), ("3.3.3.3", 429)):
        answer = await ask(served, "GET", "/api/v1/status", WRONG, headers={"X-Forwarded-For": hop})
        assert answer.status_code == status


async def test_a_ticket_is_good_once_for_its_page_and_for_thirty_seconds(doors: Doors) -> None:
    served = await doors.open()
    token = doors.token("read:*")
    doors.clock.move(5)
    auth, origin = served.gateway.auth, served.url

    async def ticket() -> str:
        answer = await ask(served, "POST", "/api/v1/ticket", token, headers={"Origin": origin})
        assert answer.json()["expires_in"] == 30
        text: str = answer.json()["ticket"]
        doors.made.append(text)
        return text

    first = await ticket()
    assert auth.identify(first, "1.1.1.1", origin).may_read("desk.opened")
    for text, page in ((first, origin), (await ticket(), "http://elsewhere"), (await ticket(), "")):
        with pytest.raises(GatewayError):
            auth.identify(text, "1.1.1.1", page)
    late = await ticket()
    doors.clock.move(31)
    with pytest.raises(GatewayError):
        auth.identify(late, "1.1.1.1", origin)


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://localhost", "file://"]
)
async def test_a_page_from_elsewhere_may_not_come_in(serving: Serving, origin: str) -> None:
    served = await serving()
    for path in ("/", "/api/v1/status", "/healthz"):
        answer = await ask(served, "GET", path, None, headers={"Origin": origin})
        assert (answer.status_code, answer.json()["type"]) == (403, "bad_origin")
    halted = await ask(served, "POST", "/api/v1/halt", None, json={"reason": "drill"}, headers={"Origin": origin})
    assert halted.status_code == 403
    assert not served.bus.is_halted


async def test_a_page_of_its_own_and_one_that_is_listed_may(serving: Serving) -> None:
    served = await serving(settings=GatewaySettings(port=0, allow_origins=("http://charts.example",)))
    assert (await ask(served, "GET", "/api/v1/status", None, headers={"Origin": served.url})).status_code == 200
    answer = await ask(served, "GET", "/api/v1/status", None, headers={"Origin": "http://charts.example"})
    assert answer.headers["access-control-allow-origin"] == "http://charts.example"


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8765", "127.0.0.1.evil.example", "", "[::2]", "10.0.0.1"]
)
async def test_a_name_that_was_bent_to_this_machine_is_not_served(serving: Serving, host: str) -> None:
    served = await serving()
    answer = await ask(served, "GET", "/api/v1/status", None, headers={"Host": host})
    assert (answer.status_code, answer.json()["type"]) == (421, "unknown_host")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8765", "127.0.0.1", "[::1]:8765"])
async def test_the_names_of_this_machine_are(serving: Serving, host: str) -> None:
    served = await serving()
    assert (await ask(served, "GET", "/api/v1/status", None, headers={"Host": host})).status_code == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.1", "example.com"])
def test_what_would_be_open_to_the_network_is_not_built(tmp_path: Path, host: str) -> None:
    with pytest.raises(GatewayError, match="--tokens"):
        GatewaySettings(host=host)
    with pytest.raises(GatewayError, match="--behind-proxy"):
        GatewaySettings(host=host, tokens=tmp_path / "t.json")
    assert GatewaySettings(host=host, tokens=tmp_path / "t.json", behind_proxy=True).host == host
    assert (
        GatewaySettings(
            host=host, tokens=tmp_path / "t.json", tls_cert=tmp_path / "c.pem", tls_key=tmp_path / "k.pem"
        ).scheme
        == "https"
    )


async def test_metrics_are_open_to_this_machine_only(doors: Doors) -> None:
    served = await doors.open()
    assert (await ask(served, "GET", "/metrics", None)).status_code == 200
    served = await doors.open(host="0.0.0.0", behind_proxy=True)
    url = httpx.URL(served.url).copy_with(host="127.0.0.1")
    served.url = str(url).rstrip("/")
    assert (await ask(served, "GET", "/metrics", None)).status_code == 401


# --- the file --------------------------------------------------------------------------------------------------------


def test_the_file_holds_no_token_and_is_its_owners(tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    token, text = create_token(file, "desk", ["read:*", "admin"], NOW, NOW + timedelta(days=1))
    assert len(text) >= 43
    assert text not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert read_tokens(file) == [token]
    assert TokenFile(file, lambda: 0.0).find(text) == token
    assert TokenFile(file, lambda: 0.0).find(text[:-1]) is None


@pytest.mark.parametrize(
    "scopes", [[], ["root"], ["read:"], ["read:a b"], ["write:*"], ["admin:*"], ["read"], ["read:(a+)+"]]
)
def test_what_is_no_scope_is_refused(tmp_path: Path, scopes: list[str]) -> None:
    with pytest.raises(GatewayError, match="scope"):
        create_token(tmp_path / "tokens.json", "desk", scopes, NOW, None)
    assert not (tmp_path / "tokens.json").exists()


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    create_token(file, "desk", ["admin"], NOW, None)
    file.chmod(0o640)
    with pytest.raises(GatewayError, match="chmod 600"):
        read_tokens(file)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"tokens": [{}]}', '{"tokens": 1}', "\x00"])
def test_a_file_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "tokens.json"
    file.write_text(text)
    file.chmod(0o600)
    with pytest.raises(GatewayError, match="no file of tokens"):
        read_tokens(file)


@pytest.mark.parametrize(
    ("pattern", "name", "is_match"),
    [
        ("*", "a.b", True),
        ("a.*", "a.b.c", True),
        ("a.*", "a", False),
        ("*.b", "a.b", True),
        ("a*c*e", "abcde", True),
        ("a*c*e", "ace", True),
        ("a*c*c", "ac", False),
        ("a.b", "a.b.c", False),
        ("*a*a*a*", "aa", False),
        ("a*a", "a", False),
        ("ab*ba", "aba", False),
    ],
)
def test_patterns_match_as_a_subscription_does(pattern: str, name: str, is_match: bool) -> None:
    assert matches(pattern, name) is is_match


def test_no_pattern_takes_long() -> None:
    assert not matches("*a" * 60 + "*b", "a" * 128)
