"""A small dose of each storm over PostgreSQL with every run of the suite, over the others by `make check-all`.

The whole of it, with its counts in a file, is run by `make torture`.

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

from eventbus.testing.servers import FaultProxy, PrivateServer
from tests.backends import Backend
from tests.processes.fleet import Fleet
from tests.processes.storms import (
    LEASE_S,
    PARTS,
    Storm,
    fail_network,
    kill_servers,
    kill_workers,
    pause_workers,
    through,
)

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


@pytest.mark.long
async def test_a_group_survives_a_bit_of_everything(own_server: PrivateServer, tmp_path: Path) -> None:
    fleet = Fleet(f"{own_server.url}?name=storm", tmp_path)
    try:
        async with FaultProxy(own_server.port) as proxy:
            storm = Storm(fleet, 2, url=f"{own_server.url_at(proxy.port)}?name=storm", timeout_s=1.5)
            async with storm.load():
                counts = await kill_workers(storm, 1)
                counts |= await pause_workers(storm, 1)
                counts |= await fail_network(storm, proxy, 6, SEED)
                counts |= await kill_servers(storm, own_server, 1)
            await storm.counted()
    finally:
        fleet.end()
    assert (counts["kills"], counts["pauses"], sum(counts["kinds"].values()), counts["server_kills"]) == (1, 1, 6, 1)


@pytest.mark.torture
async def test_200_deaths(fleet: Fleet, backend: Backend) -> None:
    storm = Storm(fleet, 3)
    write_down(backend, "worker_kills", await through(storm, kill_workers(storm, 200)))


@pytest.mark.torture
async def test_50_pauses(fleet: Fleet, backend: Backend) -> None:
    storm = Storm(fleet, 2)
    write_down(backend, "pauses", await through(storm, pause_workers(storm, 50)))


@pytest.mark.torture
async def test_200_server_deaths(own_server: PrivateServer, backend: Backend, tmp_path: Path) -> None:
    fleet = Fleet(f"{own_server.url}?name=storm", tmp_path)
    storm = Storm(fleet, 2)
    try:
        write_down(backend, "server_kills", await through(storm, kill_servers(storm, own_server, 200)))
    finally:
        fleet.end()


@pytest.mark.torture
async def test_1000_faults_of_the_network(fleet: Fleet, server: PrivateServer, backend: Backend) -> None:
    async with FaultProxy(server.port) as proxy:
        query = fleet.url.partition("?")[2]
        storm = Storm(fleet, 2, url=f"{server.url_at(proxy.port)}?{query}", timeout_s=1.5)
        write_down(backend, "network_faults", await through(storm, fail_network(storm, proxy, 1_000, SEED)))
