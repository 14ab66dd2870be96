"""How much of anything a client may send: each limit met by the bad input over a real socket, and by the answer that it gets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from eventbus.gateway import GatewaySettings, Limits
from eventbus.gateway.limits import Buckets, Places
from eventbus.gateway.parsing import parse_json
from eventbus.gateway.problems import Problem
from eventbus.gateway.tokens import create_token
from eventbus.testing.gateway import PATIENCE_S, Served
from tests.eventbus.gateway import hostile
from tests.eventbus.gateway.facts import Serving
from tests.eventbus.gateway.test_auth import NOW, MovedClock, ask

HEAD = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST /api/v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
OPENED: dict[str, Any] = {"type": "desk.opened", "payload": {"desk": 3}}


@asynccontextmanager
async def socket_to(served: Served) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    url = urlsplit(served.url)
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def answer_of(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    async with asyncio.timeout(PATIENCE_S):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
    return int(head[0].split()[1]), headers, body


async def said(served: Served, *pieces: bytes) -> tuple[int, str]:
    """The status and the code of the answer to raw bytes."""
    async with socket_to(served) as (reader, writer):
        for piece in pieces:
            writer.write(piece)
        status, headers, body = await answer_of(reader)
    assert headers["content-type"] == "application/problem+json"
    problem = json.loads(body)
    assert problem["status"] == status
    assert problem["request_id"] == headers["x-request-id"]
    return status, problem["type"]


async def is_cut(reader: asyncio.StreamReader) -> bool:
    """Does the connection end?"""
    async with asyncio.timeout(PATIENCE_S):
        try:
            while await reader.read(65_536):
                pass
        except ConnectionError:
            pass
    return True


def small(**limits: Any) -> GatewaySettings:
    return GatewaySettings(port=0, limits=Limits(**limits))


# --- heads -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pieces",
    [
        [HEAD, b"X: " + b"a" * 17_000 + b"\r\n\r\n"],
        [HEAD, b"X: " + b"a" * 17_000],
        [HEAD, b"".join(b"X-%d: 1\r\n" % number for number in range(64)), b"\r\n"],
        [b"GET /" + b"a" * 17_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"],
        [
            b"GET /api/v1/ws HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: websocket\r\nX: "
            + b"a" * 17_000
            + b"\r\n\r\n"
        ],
    ],
)
async def test_a_head_has_a_size(serving: Serving, pieces: Sequence[bytes]) -> None:
    assert await said(await serving(), *pieces) == (431, "head_too_large")


@pytest.mark.parametrize(
    "head",
    [
        b"\x16\x03\x01\x02\x00\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"GET  / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"G\x00T / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        HEAD + b"X : 1\r\n\r\n",
        HEAD + b"X\x00: 1\r\n\r\n",
        HEAD + b"Content-Length: -1\r\n\r\n",
        HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
        HEAD + b"Transfer-Encoding: gzip\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\nXYZ\r\n",
    ],
)
async def test_what_is_no_request_is_refused(serving: Serving, head: bytes) -> None:
    status, code = await said(await serving(), head)
    assert (status, code) in {(400, "bad_request"), (501, "bad_request")}


# --- time ------------------------------------------------------------------------------------------------------------


async def test_a_head_that_comes_too_slowly_is_answered_and_cut(serving: Serving) -> None:
    served = await serving(settings=small(receive_s=0.05))
    async with socket_to(served) as (reader, writer):
        writer.write(HEAD)
        status, _, body = await answer_of(reader)
        assert (status, json.loads(body)["type"]) == (408, "too_slow")
        assert await is_cut(reader)


@pytest.mark.parametrize("framing", [b"Content-Length: 100\r\n\r\n[", b"Transfer-Encoding: chunked\r\n\r\n1\r\n[\r\n"])
async def test_a_body_that_comes_too_slowly_is_answered_and_cut(serving: Serving, framing: bytes) -> None:
    served = await serving(settings=small(receive_s=0.05))
    async with socket_to(served) as (reader, writer):
        writer.write(POST + framing)
        status, _, body = await answer_of(reader)
        assert (status, json.loads(body)["type"]) == (408, "too_slow")
        assert await is_cut(reader)


async def test_bytes_now_and_then_do_not_prolong_it(serving: Serving) -> None:
    served = await serving(settings=small(receive_s=0.2))
    async with socket_to(served) as (reader, writer):
        writer.write(HEAD)
        cut = asyncio.create_task(answer_of(reader))
        while not cut.done():
            writer.write(b"X: 1\r\n"[:1])
            await asyncio.wait([cut], timeout=0.02)
        assert cut.result()[0] == 408


async def test_a_connection_without_a_request_is_closed(serving: Serving) -> None:
    served = await serving(settings=small(idle_s=0.05))
    async with socket_to(served) as (reader, _):
        assert await is_cut(reader)


async def test_a_connection_is_kept_between_requests_and_closed_when_idle(serving: Serving) -> None:
    served = await serving(settings=small(idle_s=3.0))
    async with socket_to(served) as (reader, writer):
        for _ in range(3):
            writer.write(HEAD + b"\r\n")
            assert (await answer_of(reader))[0] == 200
        assert await is_cut(reader)


async def test_requests_in_a_row_are_all_answered(serving: Serving) -> None:
    served = await serving()
    async with socket_to(served) as (reader, writer):
        writer.write((HEAD + b"\r\n") * 5)
        assert [(await answer_of(reader))[0] for _ in range(5)] == [200] * 5


async def test_who_does_not_read_an_answer_is_cut(serving: Serving) -> None:
    served = await serving(settings=small(idle_s=0.05))
    for _ in range(30):
        await served.bus.publish("desk.seen", {"text": "x" * 200_000})
    await served.bus.drain()
    async with socket_to(served) as (reader, writer):
        writer.transport.pause_reading()  # type: ignore[attr-defined] # of the transport, which can
        writer.write(b"GET /api/v1/events?limit=1000 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        async with asyncio.timeout(PATIENCE_S):
            while not len(served.gateway.places):  # noqa: ASYNC110 - nothing tells when it has come
                await asyncio.sleep(0)
            while len(served.gateway.places):  # noqa: ASYNC110 - nor when it is gone
                await asyncio.sleep(0)
        assert not reader.at_eof()


async def test_an_answer_has_a_size_and_the_next_goes_on(serving: Serving) -> None:
    served = await serving()
    for number in range(30):
        await served.bus.publish("desk.seen", {"n": number, "text": "x" * 200_000})
    await served.bus.drain()
    seen: list[int] = []
    after: int | None = 0
    pages = 0
    while after is not None:
        answer = await ask(served, "GET", f"/api/v1/events?limit=1000&after={after}", None)
        assert len(answer.content) < 5_000_000
        page = answer.json()
        seen += [item["payload"]["payload"]["n"] for item in page["events"]]
        after, pages = page["next"], pages + 1
    assert seen == [*range(30)]
    assert pages == 2


async def test_frames_that_come_with_the_handshake_are_heard(serving: Serving) -> None:
    served = await serving()
    async with socket_to(served) as (reader, writer):
        writer.write(hostile.UPGRADE + hostile.text_frame(b'{"type":"ping","t":"end"}'))
        async with asyncio.timeout(PATIENCE_S):
            assert hostile.PONG in await reader.readuntil(hostile.PONG)


# --- bodies ----------------------------------------------------------------------------------------------------------


async def test_a_body_has_a_size_that_is_counted_while_it_comes(serving: Serving) -> None:
    served = await serving()
    chunk = b"10000\r\n" + b" " * 65_536 + b"\r\n"
    for framing in (b"Content-Length: 1048577\r\n\r\n", b"Content-Length: 99999999999999999999\r\n\r\n"):
        assert await said(served, POST + framing) == (413, "too_large")  # before any of it came
    assert await said(served, POST + b"Transfer-Encoding: chunked\r\n\r\n", chunk * 17) == (413, "too_large")


async def test_who_sends_on_without_end_is_cut(serving: Serving) -> None:
    served = await serving(settings=small(body_bytes=10_000))
    async with socket_to(served) as (reader, writer):
        writer.write(POST + b"Transfer-Encoding: chunked\r\n\r\n")
        with pytest.raises(ConnectionError):
            await send_on(writer)
        assert await is_cut(reader)


async def send_on(writer: asyncio.StreamWriter) -> None:
    for _ in range(10_000):
        writer.write(b"1000\r\n" + b" " * 4_096 + b"\r\n")
        await writer.drain()


async def test_an_event_has_a_size(serving: Serving) -> None:
    served = await serving(settings=GatewaySettings(port=0, allow_adhoc=True))
    parts = {f"p{number}": "x" * 60_000 for number in range(5)}
    answer = await ask(served, "POST", "/api/v1/events", None, json={"type": "a.b", "payload": parts})
    assert (answer.status_code, answer.json()["type"]) == (413, "too_large")
    del parts["p0"]
    assert (
        await ask(served, "POST", "/api/v1/events", None, json={"type": "a.b", "payload": parts})
    ).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "multipart/form-data; boundary=x"},
        {"Content-Type": ""},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
        {"Content-Type": "application/json", "Content-Encoding": "br, identity"},
    ],
)
async def test_a_body_is_plain_json(serving: Serving, headers: dict[str, str]) -> None:
    served = await serving()
    answer = await ask(served, "POST", "/api/v1/events", None, content=json.dumps(OPENED), headers=headers)
    assert answer.status_code == 415


async def test_json_may_name_its_charset(serving: Serving) -> None:
    served = await serving()
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    answer = await ask(served, "POST", "/api/v1/events", None, content=json.dumps(OPENED), headers=headers)
    assert answer.status_code == 200


def payload_of(value: bytes) -> bytes:
    return b'{"type":"a.b","payload":{"v":%b}}' % value


@pytest.mark.parametrize(
    ("value", "status", "code"),
    [
        (b"[" * 31 + b"]" * 31, 400, "too_complex"),
        (b"[" * 100_000, 400, "too_complex"),
        (b"{" + b",".join(b'"k%d":1' % number for number in range(257)) + b"}", 400, "too_complex"),
        (b"[" + b"1," * 20_000 + b"1]", 400, "too_complex"),
        (b'"' + b"x" * 65_537 + b'"', 400, "too_complex"),
        (b"NaN", 400, "bad_json"),
        (b"-Infinity", 400, "bad_json"),
        (b"1e999", 400, "bad_json"),
        (b'"\\ud800"', 400, "bad_json"),
        (b'"\\udc00\\ud800"', 400, "bad_json"),
        (b'"\xff"', 400, "bad_json"),
        (b'"\xed\xa0\x80"', 400, "bad_json"),
        (b'"\x01"', 400, "bad_json"),
        (b'{"a":1,"a":2}', 400, "bad_json"),
        (b'{"a":1,"\\u0061":2}', 400, "bad_json"),
        (b"01", 400, "bad_json"),
        (b"1}} {", 400, "bad_json"),
        (b"9223372036854775808", 422, "bad_number"),
        (b"-9223372036854775809", 422, "bad_number"),
        (b"1" * 20, 422, "bad_number"),
        (b"1" * 200_000, 422, "bad_number"),
        (b"0." + b"1" * 100, 422, "bad_number"),
    ],
)
async def test_json_that_is_no_plain_value_is_refused(serving: Serving, value: bytes, status: int, code: str) -> None:
    served = await serving(settings=GatewaySettings(port=0, allow_adhoc=True))
    headers = {"Content-Type": "application/json"}
    answer = await ask(served, "POST", "/api/v1/events", None, content=payload_of(value), headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (status, code)
    assert (await ask(served, "GET", "/api/v1/status", None)).json()["seq"] == 0


@pytest.mark.parametrize(
    "body", [b"", b"\xef\xbb\xbf{}", b"{} {}", b"{", b'"', b'"\\', b"\x00", "{}".encode("utf-16"), b"{'a':1}"]
)
async def test_what_is_no_json_is_refused(serving: Serving, body: bytes) -> None:
    served = await serving()
    answer = await ask(
        served, "POST", "/api/v1/events", None, content=body, headers={"Content-Type": "application/json"}
    )
    assert (answer.status_code, answer.json()["type"]) == (400, "bad_json")


@pytest.mark.parametrize(
    "value",
    [
        b"[" * 30 + b"]" * 30,
        b"9223372036854775807",
        b"-9223372036854775808",
        b"1e308",
        b'"\\ud83d\\ude00"',
        b'"\\u0000"',
        b'{"a":{"a":1},"b":[{"a":1}]}',
    ],
)
async def test_json_up_to_its_limits_is_taken(serving: Serving, value: bytes) -> None:
    served = await serving(settings=GatewaySettings(port=0, allow_adhoc=True))
    answer = await ask(
        served, "POST", "/api/v1/events", None, content=payload_of(value), headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 200


def test_a_text_that_never_ends_takes_no_longer_than_another() -> None:
    for body in (b'"' + b'\\"' * 500_000, b'{"a' * 200_000, b'"\\' * 300_000):
        with pytest.raises(Problem):
            parse_json(body, Limits(json_text=10_000_000))


@pytest.mark.parametrize("name", ["", "a b", "a\x00b", "a\nb", "x" * 129, "tréde", "a/b", "a*", "<script>", "a\u2028"])
@pytest.mark.parametrize("field", ["type", "event_id", "correlation_id"])
async def test_ids_and_topics_are_letters_digits_and_some_signs(serving: Serving, field: str, name: str) -> None:
    served = await serving(settings=GatewaySettings(port=0, allow_adhoc=True))
    answer = await ask(served, "POST", "/api/v1/events", None, json={"type": "a.b"} | {field: name})
    assert (answer.status_code, answer.json()["type"]) == (422, "invalid")
    assert answer.json()["detail"].startswith(field)


@pytest.mark.parametrize("timestamp", [0, "0", "2026-01-01", "2026-01-01T00:00:00", "now", None, "1767225600", {}])
async def test_a_time_is_iso_with_an_offset(serving: Serving, timestamp: Any) -> None:
    served = await serving()
    answer = await ask(served, "POST", "/api/v1/events", None, json=OPENED | {"timestamp": timestamp})
    assert answer.status_code == (200 if timestamp is None else 422)


async def test_a_refusal_echoes_nothing(serving: Serving) -> None:
    served = await serving()
    secret = "s3cret-marker"
    for body in ({"type": secret + "!"}, OPENED | {secret: 1}, {"type": "desk.opened", "payload": {secret: 1}}):
        answer = await ask(served, "POST", "/api/v1/events", None, json=body)
        assert answer.status_code == 422
        assert secret not in answer.text
        assert "Traceback" not in answer.text


# --- how often, and how many ------------------------------------------------------------------------------------------


def with_token(tmp_path: Path, *scopes: str, **limits: Any) -> tuple[GatewaySettings, str]:
    file = tmp_path / "tokens.json"
    _, token = create_token(file, "test", scopes, NOW, None)
    return GatewaySettings(port=0, tokens=file, publishable=("*",), limits=Limits(**limits)), token


async def test_a_token_has_so_many_requests_a_second(serving: Serving, tmp_path: Path) -> None:
    clock = MovedClock()
    settings, token = with_token(tmp_path, "read:*", requests_per_s=0.01, requests_burst=3)
    served = await serving(clock=clock, settings=settings)
    answers = [await ask(served, "GET", "/api/v1/status", token) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert answers[-1].json()["type"] == "too_many_requests"
    assert int(answers[-1].headers["retry-after"]) >= 90
    clock.move(101)
    assert (await ask(served, "GET", "/api/v1/status", token)).status_code == 200


async def test_a_token_publishes_so_many_trades_a_second(serving: Serving, tmp_path: Path) -> None:
    settings, token = with_token(tmp_path, "publish:*", trades_per_s=0.01, events=3)
    served = await serving(settings=settings)
    trade = {"type": "trade.made", "payload": {"size": 1}}
    assert (await ask(served, "POST", "/api/v1/events", token, json=[trade] * 3)).status_code == 200
    answer = await ask(served, "POST", "/api/v1/events", token, json=trade)
    assert (answer.status_code, answer.json()["type"]) == (429, "too_many_requests")
    assert (await ask(served, "POST", "/api/v1/events", token, json=OPENED)).status_code == 200


def test_a_bucket_fills_with_time() -> None:
    now = [0.0]
    buckets = Buckets(10, 20, lambda: now[0])
    buckets.take("a", 20)
    with pytest.raises(Problem):
        buckets.take("a")
    buckets.take("b", 20)
    now[0] = 1.0
    buckets.take("a", 10)
    with pytest.raises(Problem):
        buckets.take("a")


async def test_there_are_so_many_connections_web_sockets_counted_too(serving: Serving) -> None:
    served = await serving(settings=small(connections=2))
    async with served.connect() as peer, socket_to(served) as (reader, writer):
        writer.write(HEAD + b"\r\n")
        assert (await answer_of(reader))[0] == 200
        assert await said(served, HEAD + b"\r\n") == (503, "too_many_connections")
        await peer.connection.close()
        async with asyncio.timeout(PATIENCE_S):
            while not await has_place(served):
                pass
    async with asyncio.timeout(PATIENCE_S):
        while not (await has_place(served)):
            pass


async def has_place(served: Served) -> bool:
    async with socket_to(served) as (reader, writer):
        writer.write(HEAD + b"\r\n")
        return (await answer_of(reader))[0] == 200


def test_an_address_has_so_many_places_and_this_machine_any() -> None:
    places = Places(Limits(connections=10, connections_per_address=2))
    assert [places.enter("1.1.1.1") for _ in range(3)] == [True, True, False]
    places.leave("1.1.1.1")
    assert places.enter("1.1.1.1")
    assert [places.enter("127.0.0.1") for _ in range(9)] == [True] * 8 + [False]


async def test_a_token_has_so_many_connections_at_once(serving: Serving, tmp_path: Path) -> None:
    settings, token = with_token(tmp_path, "read:*", connections_per_token=1)
    served = await serving(settings=settings)
    async with served.connect(additional_headers={"Authorization": f"Bearer {token}"}):
        answer = await ask(served, "GET", "/api/v1/status", token)
        assert (answer.status_code, answer.json()["type"]) == (503, "too_many_connections")
        assert "retry-after" in answer.headers


def test_a_token_has_so_many_places() -> None:
    places = Places(Limits(connections_per_token=1))
    full = pytest.raises(Problem, match="too_many_connections")
    with places.of_token("a"), places.of_token("b"), full, places.of_token("a"):
        pass
    with places.of_token("a"):
        pass


async def test_while_it_stops_it_takes_nothing_more(serving: Serving) -> None:
    served = await serving()
    let_go = asyncio.Event()

    async def wait(_event: object) -> None:
        await let_go.wait()

    served.bus.subscribe("desk.opened", wait)
    body = json.dumps(OPENED).encode()
    publish = POST + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    async with socket_to(served) as (reader, writer):
        writer.write(publish)
        assert (await answer_of(reader))[0] == 200
        stopping = asyncio.create_task(served.gateway.stop())
        await asyncio.sleep(0)
        writer.write(publish)
        status, headers, answer = await answer_of(reader)
        writer.write(HEAD + b"\r\n")
        assert (await answer_of(reader))[0] == 200
        let_go.set()
        await stopping
    assert (status, json.loads(answer)["type"]) == (503, "stopping")
    assert "retry-after" in headers
