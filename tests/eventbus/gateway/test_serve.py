"""`eventbus serve`, as an operator runs it: a process that says where it listens, and ends when it is asked to."""

from __future__ import annotations

import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from eventbus import create_event_bus
from eventbus.cli import run
from tests.eventbus.gateway.processes import PATIENCE_S, ROOT, serving_process


def test_it_says_where_it_listens_and_is_well_and_ends_when_asked(tmp_path: Path) -> None:
    with serving_process(tmp_path, "--bus", "memory://") as served:
        assert httpx.get(f"{served.url}/healthz", timeout=PATIENCE_S).json() == {"status": "ok"}
        assert httpx.get(f"{served.url}/readyz", timeout=PATIENCE_S).json() == {"status": "ok"}
        assert httpx.get(f"{served.url}/api/v1/status", timeout=PATIENCE_S).json()["halted"] is False
        assert "<title>" in httpx.get(f"{served.url}/", timeout=PATIENCE_S).text
        served.process.send_signal(signal.SIGTERM)
        assert served.wait() == 0


def complaint(folder: Path, *arguments: str) -> tuple[int, str]:
    """The exit code of a command that cannot work, and the one line that it says."""
    command = [sys.executable, "-c", "from eventbus.cli import main; main()", *arguments]
    ended = subprocess.run(
        command,
        cwd=folder,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1, ended.stderr
    return ended.returncode, ended.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--bus", "nowhere://x"], "available are"),
        (["--bus", "memory://", "--host", "0.0.0.0"], "--tokens"),
        (["--bus", "memory://", "--tokens", "none.json"], "eventbus token create"),
        (["--bus", "memory://", "--with", "no_such_module:build"], "no_such_module"),
        (["--bus", "memory://", "--publishable", "a b"], "--publishable"),
        (["--bus", "memory://", "--allow-origin", "charts"], "--allow-origin"),
        (["--bus", "memory://", "--drain-timeout", "1e9"], "--drain-timeout"),
        (["--bus", "memory://", "--tls-cert", "c.pem"], "--tls-key"),
        (["--bus", "memory://", "--port", "99999"], "65535"),
    ],
)
def test_what_cannot_be_served_is_one_line_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code = run(["serve", *arguments])
    out, line = capsys.readouterr()
    assert (code in (2, 3), out, line.count("\n")) == (True, "", 1)
    assert said in line


@pytest.mark.slow
def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, line = complaint(tmp_path, "serve", "--bus", "memory://", "--port", str(taken.getsockname()[1]))
    assert (code, "in use" in line, "--port" in line) == (3, True, True)


@pytest.mark.slow
async def test_a_journal_that_another_process_writes_is_told(tmp_path: Path) -> None:
    async with create_event_bus(f"sqlite:///{tmp_path}/run.db"):
        code, line = complaint(tmp_path, "serve", "--bus", "sqlite:///run.db", "--port", "0")
    assert (code, "in use" in line) == (3, True)


@pytest.mark.slow
def test_it_speaks_tls(tmp_path: Path) -> None:
    made = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        "k.pem",
        "-out",
        "c.pem",
        "-days",
        "1",
    ]
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*made, *subject], cwd=tmp_path, capture_output=True, check=True)
    code, line = complaint(
        tmp_path, "serve", "--bus", "memory://", "--port", "0", "--tls-cert", "k.pem", "--tls-key", "none.pem"
    )
    assert (code, "PEM" in line) == (3, True)
    with serving_process(tmp_path, "--bus", "memory://", "--tls-cert", "c.pem", "--tls-key", "k.pem") as served:
        assert served.url.startswith("https://")
        trusted = ssl.create_default_context(cafile=str(tmp_path / "c.pem"))
        assert httpx.get(f"{served.url}/healthz", verify=trusted, timeout=PATIENCE_S).json() == {"status": "ok"}


def test_a_token_is_made_listed_and_revoked_by_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "tokens.json"

    def command(*arguments: str) -> str:
        assert run(["token", *arguments, "--tokens", str(file)]) == 0
        return capsys.readouterr().out

    scopes = ["--scope", "read:trade.*", "--scope", "publish:signal.*"]
    token = command("create", "--name", "desk", *scopes, "--expires", "30d").strip()
    listed = command("list")
    assert token not in listed
    assert token not in file.read_text()
    token_id = listed.splitlines()[1].split("\t")[0].split()[0]
    assert "read:trade.* publish:signal.*" in listed
    assert token_id in command("revoke", token_id)
    assert "no tokens" in command("list") or not command("list").strip()
    for wrong in (["root"], ["read:*", "--expires", "soon"], ["read:*", "--expires", "2020-01-01"]):
        assert run(["token", "create", "--tokens", str(file), "--name", "x", "--scope", *wrong]) in (2, 3)
        assert capsys.readouterr().err.count("\n") == 1
