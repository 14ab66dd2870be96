"""With TLS, by a certificate that is made for the test: what is asked for is had, or refused."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventbus import JournalUnavailable, create_event_bus
from eventbus.testing.servers import NatsServer
from eventbus.testing.servers.nats import PASSWORD, USER
from tests.backends import refusal

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """With a key and a certificate for this host, which the user of the server may read."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
        files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *names, *files]
        subprocess.run(command, check=True, capture_output=True)
        (folder / "key.pem").chmod(0o644)
        yield folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[NatsServer]:
    config = f"""
    tls {{ cert_file: "{folder / "cert.pem"}", key_file: "{folder / "key.pem"}" }}
    authorization {{ user: {USER}, password: "{PASSWORD}" }}
    """
    with NatsServer(config=config) as server:
        yield server


async def test_a_bus_with_tls_by_url_and_by_parts(server: NatsServer, folder: Path) -> None:
    trusted = str(folder / "cert.pem")
    parts = {"backend": "nats", "host": "127.0.0.1", "port": server.port, "user": USER, "password": PASSWORD}
    for settings in (parts | {"ssl": trusted}, {"backend": "nats", "connection_string": f"{server.url}?ssl={trusted}"}):
        async with create_event_bus(settings) as bus:
            await bus.publish("desk:opened", {"n": 1})
            assert [event["n"] async for event in bus.replay()]


@pytest.mark.parametrize("query", ["", "?ssl=true"])
async def test_a_certificate_that_nobody_vouches_for(server: NatsServer, query: str) -> None:
    error = await refusal(f"{server.url}{query}")
    assert isinstance(error, JournalUnavailable)
    assert "check ssl=" in str(error)
