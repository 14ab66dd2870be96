"""Two thousand hostile inputs and more: none crashes the gateway, blocks its loop, or gets another 5xx than 503."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

import httpx
import pytest

from tests.eventbus.gateway import hostile
from tests.eventbus.gateway.processes import PATIENCE_S, ServingProcess, serving_process

AT_ONCE = 32  # connections
TURNS = 2  # that send at once: all that is ready is one turn of the loop
TURN_S = 0.1  # for who sends nothing that is answered
WAIT_S = 1.0  # for what waits for more
HEADS, BODIES, ADDRESSES, FRAMES = 800, 800, 400, 400
pytestmark = pytest.mark.timed  # a loop that gets no processor is one that stands still

STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServingProcess]:
    with serving_process(tmp_path_factory.mktemp("hostile"), "--bus", "memory://", "--allow-adhoc") as found:
        yield found


@pytest.fixture(autouse=True)
def unharmed(served: ServingProcess) -> Iterator[None]:
    """After each storm: it is well, its loop never stood still, and nothing in its log is a fault."""
    yield
    assert httpx.get(f"{served.url}/readyz", timeout=PATIENCE_S).json() == {"status": "ok"}
    assert [line for line in served.logged if line["level"] not in ("info", "warning")] == []
    assert (
        'eventbus_loop_blocks_total{bus="eventbus"} 0.0' in httpx.get(f"{served.url}/metrics", timeout=PATIENCE_S).text
    )


class Storm:
    """Many connections, few of which send at any moment."""

    def __init__(self, served: ServingProcess, greeting: bytes) -> None:
        self._url = urlsplit(served.url)
        self._greeting = greeting
        self._room = asyncio.Semaphore(AT_ONCE)
        self._turns = asyncio.Semaphore(TURNS)

    async def send(self, data: bytes) -> bytes:
        """Everything that is answered to these bytes, until the gateway ends the line or is waiting for more."""
        async with self._room:
            reader, writer = await asyncio.open_connection(self._url.hostname, self._url.port)
            answer = bytearray()
            try:
                async with asyncio.timeout(WAIT_S):
                    async with self._turns:
                        if self._greeting:
                            writer.write(self._greeting)
                            answer += await reader.readuntil(b"\r\n\r\n")
                        writer.write(data)
                        reading = asyncio.ensure_future(self._read(reader, answer))
                        await asyncio.wait([reading], timeout=TURN_S)
                    await reading
            except (ConnectionError, TimeoutError, asyncio.IncompleteReadError):
                pass
            finally:
                writer.close()
            return bytes(answer)

    @staticmethod
    async def _read(reader: asyncio.StreamReader, answer: bytearray) -> None:
        while hostile.PONG not in answer and (more := await reader.read(65_536)):
            answer += more


async def storm(served: ServingProcess, inputs: Iterable[bytes], greeting: bytes = b"") -> list[bytes]:
    """All of them; gives what was answered. With a greeting, that is answered first."""
    sending = Storm(served, greeting)
    return await asyncio.gather(*(sending.send(data) for data in inputs))


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


async def test_heads(served: ServingProcess) -> None:
    answers = await storm(served, hostile.heads(1, HEADS))
    assert len(answers) == HEADS
    found = statuses(answers)
    assert {status for status in found if not is_fine(status)} == set()
    assert {200, 400, 405} <= found


async def test_bodies(served: ServingProcess) -> None:
    head = (
        b"POST /api/v1/events HTTP/1.1\r\n"
        + hostile.HOST
        + hostile.JSON
        + b"Connection: close\r\nContent-Length: %d\r\n\r\n"
    )
    answers = await storm(served, (head % len(body) + body for body in hostile.bodies(2, BODIES)))
    assert len(answers) == BODIES
    found = statuses(answers)
    assert {status for status in found if not is_fine(status)} == set()
    assert {200, 400, 422} <= found


async def test_addresses(served: ServingProcess) -> None:
    answers = await storm(served, hostile.addresses(3, ADDRESSES))
    assert len(answers) == ADDRESSES
    found = statuses(answers)
    assert {status for status in found if not is_fine(status)} == set()
    assert {200, 404, 422} <= found
    assert not any(b"root:" in answer for answer in answers)


async def test_frames(served: ServingProcess) -> None:
    answers = await storm(served, hostile.frames(4, FRAMES), hostile.UPGRADE)
    assert len(answers) == FRAMES
    assert statuses(answers) == {101}
    assert any(b"bad_json" in answer for answer in answers)


def test_there_are_two_thousand_and_more() -> None:
    assert HEADS + BODIES + ADDRESSES + FRAMES >= 2_000
