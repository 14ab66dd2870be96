"""One private server for all tests here, and a bus of its own on it for each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from zlib import crc32

import pytest

from eventbus.testing.servers import PostgresServer
from tests.processes.fleet import Fleet


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresServer]:
    """One for all tests here; each has a bus of its own on it."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def fleet(server: PostgresServer, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """Over a bus of its own."""
    name = f"b{crc32(request.node.nodeid.encode())}"
    fleet = Fleet(f"{server.url}?name={name}", tmp_path)
    yield fleet
    fleet.end()
