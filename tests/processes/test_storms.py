"""A small dose of each storm with every run of the suite; the whole of it, with its counts in a file, by `make torture`.

`EVENTBUS_TORTURE_S` ends each of them after so many seconds: then the file tells how far it came.
"""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from eventbus.testing.servers import PrivateServer
from tests.backends import Backend
from tests.processes.fleet import Fleet
from tests.processes.storms import LEASE_S, PARTS, fail_network, kill_servers, kill_workers, pause_workers

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
SEED = 7

pytestmark = pytest.mark.server


def write_down(backend: Backend, storm: str, counts: dict[str, Any]) -> None:
    """Into the file of results of a backend, beside those of other storms."""
    file = RESULTS / f"torture-{backend.name}.json"
    file.parent.mkdir(exist_ok=True)
    known = json.loads(file.read_text()) if file.exists() else {}
    known["machine"] = (
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    )
    known["settings"] = {"lease_s": LEASE_S, "parts": PARTS, "seed": SEED}
    known[storm] = {"at": f"{datetime.now(UTC):%Y-%m-%d}", **counts}
    file.write_text(json.dumps(known, indent=2) + "\n")


async def test_a_worker_dies_with_work_in_flight(fleet: Fleet) -> None:
    counts = await kill_workers(fleet, 2)
    assert counts["with_work_in_flight"] >= 1


async def test_a_worker_pauses_for_longer_than_its_lease(fleet: Fleet) -> None:
    counts = await pause_workers(fleet, 1)
    assert counts["with_work_taken_over"] == 1


async def test_the_server_is_killed_with_its_children(own_server: PrivateServer, tmp_path: Path) -> None:
    fleet = Fleet(f"{own_server.url}?name=storm", tmp_path)
    try:
        counts = await kill_servers(fleet, own_server, 1)
    finally:
        fleet.end()
    assert counts["server_kills"] == 1


async def test_the_network_fails(fleet: Fleet, server: PrivateServer) -> None:
    counts = await fail_network(fleet, server, 10, SEED)
    assert sum(counts["kinds"].values()) == 10


@pytest.mark.torture
async def test_200_deaths(fleet: Fleet, backend: Backend) -> None:
    counts = await kill_workers(fleet, 200)
    write_down(backend, "worker_kills", counts)
    assert counts["with_work_in_flight"] >= counts["kills"] * 0.9


@pytest.mark.torture
async def test_50_pauses(fleet: Fleet, backend: Backend) -> None:
    write_down(backend, "pauses", await pause_workers(fleet, 50))


@pytest.mark.torture
async def test_200_server_deaths(own_server: PrivateServer, backend: Backend, tmp_path: Path) -> None:
    fleet = Fleet(f"{own_server.url}?name=storm", tmp_path)
    try:
        write_down(backend, "server_kills", await kill_servers(fleet, own_server, 200))
    finally:
        fleet.end()


@pytest.mark.torture
async def test_1000_faults_of_the_network(fleet: Fleet, server: PrivateServer, backend: Backend) -> None:
    write_down(backend, "network_faults", await fail_network(fleet, server, 1_000, SEED))
