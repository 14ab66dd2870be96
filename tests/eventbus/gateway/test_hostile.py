"""Two thousand hostile inputs and more: none crashes the gateway, blocks its loop, or gets another 5xx than 503."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

import httpx
import pytest

from eventbus.gateway import GatewaySettings, Limits
from tests.eventbus.gateway import hostile
from tests.eventbus.gateway.threaded import Watched, gateway_in_a_thread

AT_ONCE = 48
WAIT_S = 2.0  # for what the gateway waits for itself
HEADS, BODIES, ADDRESSES, FRAMES = 800, 800, 400, 400
STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})")


@pytest.fixture(scope="module")
def watched() -> Iterator[Watched]:
    settings = GatewaySettings(port=0, allow_adhoc=True, limits=Limits(receive_s=0.5, idle_s=0.5))
    with gateway_in_a_thread(settings) as found:
        yield found


@pytest.fixture(autouse=True)
def unharmed(watched: Watched, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """After each storm: it is well, its loop never stood still, and nothing in its log is a fault."""
    caplog.set_level(logging.INFO)
    yield
    assert httpx.get(f"{watched.url}/readyz").json() == {"status": "ok"}
    assert watched.watchdog.count == 0
    faults = [record for record in caplog.get_records("call") if record.levelno >= logging.ERROR]
    assert [(record.getMessage(), record.exc_text) for record in faults] == []


async def send(watched: Watched, data: bytes, greeting: bytes = b"") -> bytes:
    """Everything that is answered to these bytes, until the gateway ends the line or is waiting for more.

    With a greeting, that is answered first.
    """
    url = urlsplit(watched.url)
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    answer = b""
    try:
        async with asyncio.timeout(WAIT_S):
            if greeting:
                writer.write(greeting)
                answer += await reader.readuntil(b"\r\n\r\n")
            writer.write(data)
            while more := await reader.read(65_536):
                answer += more
    except (ConnectionError, TimeoutError):
        pass
    finally:
        writer.close()
    return answer


async def storm(watched: Watched, inputs: Iterable[bytes], greeting: bytes = b"") -> list[bytes]:
    """All of them, many at once; gives what was answered."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(data: bytes) -> bytes:
        async with room:
            return await send(watched, data, greeting)

    return await asyncio.gather(*(one(data) for data in inputs))


def statuses(answers: Iterable[bytes]) -> set[int]:
    """Every status that was answered; no answer tells how anything was made."""
    found: set[int] = set()
    for answer in answers:
        assert b"Traceback" not in answer
        assert b'File "' not in answer
        found |= {int(status) for status in STATUS.findall(answer)}
    return found


def is_fine(status: int) -> bool:
    return status < 500 or status == 503


async def test_heads(watched: Watched) -> None:
    answers = await storm(watched, hostile.heads(1, HEADS))
    assert len(answers) == HEADS
    found = statuses(answers)
    assert {status for status in found if not is_fine(status)} == set()
    assert {200, 400, 405} <= found


async def test_bodies(watched: Watched) -> None:
    head = (
        b"POST /api/v1/events HTTP/1.1\r\n"
        + hostile.HOST
        + hostile.JSON
        + b"Connection: close\r\nContent-Length: %d\r\n\r\n"
    )
    answers = await storm(watched, (head % len(body) + body for body in hostile.bodies(2, BODIES)))
    assert len(answers) == BODIES
    found = statuses(answers)
    assert {status for status in found if not is_fine(status)} == set()
    assert {200, 400, 422} <= found


async def test_addresses(watched: Watched) -> None:
    answers = await storm(watched, hostile.addresses(3, ADDRESSES))
    assert len(answers) == ADDRESSES
    found = statuses(answers)
    assert {status for status in found if not is_fine(status)} == set()
    assert {200, 404, 422} <= found
    assert not any(b"root:" in answer for answer in answers)


async def test_frames(watched: Watched) -> None:
    answers = await storm(watched, (frames + hostile.CLOSE for frames in hostile.frames(4, FRAMES)), hostile.UPGRADE)
    assert len(answers) == FRAMES
    assert statuses(answers) == {101}
    assert sum(b"bad_json" in answer for answer in answers) > 10


def test_there_are_two_thousand_and_more() -> None:
    assert HEADS + BODIES + ADDRESSES + FRAMES >= 2_000
