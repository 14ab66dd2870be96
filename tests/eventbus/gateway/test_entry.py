"""Who comes in by the WebSocket: tokens in a header, a subprotocol or the first message, their scopes, and their end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import websockets

from eventbus.gateway import GatewaySettings, Limits
from eventbus.gateway.entry import BEARER
from eventbus.gateway.tokens import create_token, revoke_token
from eventbus.testing import VirtualClock
from eventbus.testing.gateway import PATIENCE_S, Peer, Served, until

Serving = Callable[..., Awaitable[Served]]


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    return tmp_path / "tokens.json"


def token(file: Path, *scopes: str, expires: datetime | None = None) -> str:
    return create_token(file, "test", scopes, datetime.now(UTC), expires)[1]


def settings(file: Path, **limits: float) -> GatewaySettings:
    return GatewaySettings(port=0, tokens=file, limits=Limits(**limits))  # type: ignore[arg-type] # numbers of either kind


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


async def first_frame(served: Served, **options: object) -> tuple[Peer, websockets.ClientConnection]:
    url = served.url.replace("http", "ws") + "/api/v1/ws"
    connection = await websockets.connect(url, **options)  # type: ignore[arg-type] # as the test gives them
    return Peer(connection), connection


async def test_a_token_in_the_header_is_welcomed_at_once(serving: Serving, tokens: Path) -> None:
    text = token(tokens, "read:*")
    served = await serving(settings=settings(tokens))
    async with served.connect(additional_headers=bearer(text)) as peer:
        assert peer.welcome["type"] == "welcome"


async def test_who_is_turned_away_is_no_error_of_the_server(serving: Serving, caplog: pytest.LogCaptureFixture) -> None:
    """Anybody could fill the log with them, and wake somebody up."""
    served = await serving(settings=GatewaySettings(port=0))
    with pytest.raises(websockets.InvalidStatus) as refused:
        await first_frame(served, origin="http://evil.example")
    assert refused.value.response.status_code == 403
    await served.stop()
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


async def test_a_token_in_a_subprotocol_is_welcomed_at_once(serving: Serving, tokens: Path) -> None:
    text = token(tokens, "read:*")
    served = await serving(settings=settings(tokens))
    async with served.connect(subprotocols=["eventbus.v1", BEARER + text]) as peer:
        assert peer.welcome["type"] == "welcome"
        assert peer.connection.subprotocol == "eventbus.v1"


async def test_who_shows_none_is_asked_first_and_welcomed_after_auth(serving: Serving, tokens: Path) -> None:
    text = token(tokens, "read:*")
    served = await serving(settings=settings(tokens))
    async with served.connect() as peer:
        assert peer.welcome == {"type": "auth_required"}
        assert len(served.sockets.hub) == 0
        assert (await peer.ask(type="auth", token=text))["type"] == "welcome"
        await peer.subscribe("*")


@pytest.mark.parametrize(
    "message",
    ['{"type":"auth","token":"wrong"}', '{"type":"subscribe","topics":["*"]}', "no json", '{"type":"auth"}'],
    ids=["wrong", "something else", "no json", "no token"],
)
async def test_who_does_not_say_who_it_is_is_4401(serving: Serving, tokens: Path, message: str) -> None:
    token(tokens, "read:*")
    served = await serving(settings=settings(tokens))
    async with served.connect() as peer:
        await peer.connection.send(message)
        assert (await peer.closed())[0] == 4401
    assert served.sockets.counts.closed[4401] == 1


async def test_who_says_nothing_is_4401(serving: Serving, tokens: Path) -> None:
    token(tokens, "read:*")
    served = await serving(settings=settings(tokens, auth_s=0.05))
    async with served.connect() as peer:
        assert (await peer.closed())[0] == 4401


async def test_a_wrong_token_in_the_handshake_is_401(serving: Serving, tokens: Path) -> None:
    token(tokens, "read:*")
    served = await serving(settings=settings(tokens))
    with pytest.raises(websockets.InvalidStatus) as refused:
        await first_frame(served, additional_headers=bearer("wrong"))
    assert refused.value.response.status_code == 401
    assert b"wrong" not in (refused.value.response.body or b"")


async def test_a_token_that_reads_nothing_stays_outside(serving: Serving, tokens: Path) -> None:
    text = token(tokens, "publish:signal.*")
    served = await serving(settings=settings(tokens))
    async with served.connect() as peer:
        await peer.say(type="auth", token=text)
        assert (await peer.closed())[0] == 4403


async def test_a_client_sees_what_its_scopes_cover(serving: Serving, tokens: Path) -> None:
    text = token(tokens, "read:desk.*", "read:view.bus")
    served = await serving(settings=settings(tokens))
    async with served.connect(additional_headers=bearer(text)) as peer:
        await peer.subscribe("*", id="all")
        for topic in ("desk.opened", "risk.changed", "desk.closed"):
            await served.bus.publish(topic, {})
        await peer.sync()
        await peer.say(type="subscribe", id="again", topics=["*"], after=0)
        await peer.until("caught_up")
        assert peer.seqs == [1, 3, 1, 3]
        error = await peer.ask(type="subscribe", characteristic_ids=[1])
        assert (error["type"], error["code"]) == ("error", "forbidden")
        error = await peer.ask(type="subscribe", views=["letters"])
        assert error["code"] == "forbidden"
        await peer.say(type="subscribe", views=["bus"])
        await peer.until("view")
        assert served.sockets.hub.tell_everybody("ack_update", {}, topic="spc.violation_acknowledged") == 0


async def test_a_token_that_is_revoked_while_connected_is_4401(serving: Serving, tokens: Path) -> None:
    made, text = create_token(tokens, "test", ["read:*"], datetime.now(UTC), None)
    clock = VirtualClock()
    served = await serving(settings=settings(tokens), clock=clock)
    async with served.connect(additional_headers=bearer(text)) as peer:
        served.sockets.hub.beat()
        assert (await peer.ask(type="ping"))["type"] == "pong"
        revoke_token(tokens, made.id)
        clock.move(5)
        served.sockets.hub.beat()
        assert (await peer.closed())[0] == 4401
        await until(lambda: len(served.sockets.hub) == 0)


async def test_a_token_has_so_many_connections(serving: Serving, tokens: Path) -> None:
    text = token(tokens, "read:*")
    served = await serving(settings=settings(tokens, connections_per_token=1))
    async with served.connect(additional_headers=bearer(text)) as peer:
        with pytest.raises(websockets.InvalidStatus) as refused:
            await first_frame(served, additional_headers=bearer(text))
        assert refused.value.response.status_code == 503
        async with served.connect() as late:
            await late.say(type="auth", token=text)
            assert (await late.closed())[0] == 1013
        await peer.sync()
    await until(lambda: len(served.sockets.hub) == 0)
    async with asyncio.timeout(PATIENCE_S), served.connect(additional_headers=bearer(text)) as peer:
        assert peer.welcome["type"] == "welcome"


async def test_a_ticket_lets_its_page_in_once(serving: Serving, tokens: Path) -> None:
    text = token(tokens, "read:*")
    served = await serving(settings=settings(tokens))
    who = served.gateway.auth.identify(text, "127.0.0.1")
    ticket = served.gateway.auth.ticket(who, served.url)
    async with served.connect(origin=served.url) as peer:
        assert (await peer.ask(type="auth", token=ticket))["type"] == "welcome"
    async with served.connect(origin=served.url) as peer:
        await peer.say(type="auth", token=ticket)
        assert (await peer.closed())[0] == 4401


async def test_no_token_is_in_any_log(serving: Serving, tokens: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = token(tokens, "read:*")
    caplog.set_level(0)
    served = await serving(settings=settings(tokens))
    async with served.connect(subprotocols=[BEARER + text, "eventbus.v1"]) as peer:
        await peer.subscribe("*")
    async with served.connect() as peer:
        await peer.ask(type="auth", token=text)
    here = [record.getMessage() for record in caplog.records if not record.name.startswith("websockets.client")]
    assert not [line for line in here if text in line]
