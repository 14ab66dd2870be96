"""A bus of its own for each test, on the private server of the session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from zlib import crc32

import pytest

from eventbus.testing.servers import PrivateServer
from tests.processes.fleet import Fleet


@pytest.fixture
def fleet(server: PrivateServer, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """Over a bus of its own."""
    name = f"b{crc32(request.node.nodeid.encode())}"
    fleet = Fleet(f"{server.url}?name={name}", tmp_path)
    yield fleet
    fleet.end()
