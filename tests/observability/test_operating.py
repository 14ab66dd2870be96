"""What watches a bus, as Prometheus itself sees it: each alert as it fires, and every query of the dashboard over a bus that runs.

Prometheus is the one of the system (Debian's package of that name), as Chromium is for the pages. CI has it.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from eventbus import Event, Kind, Retry, create_event_bus
from eventbus.gateway import GatewaySettings, Limits
from eventbus.testing.gateway import serve_here
from eventbus.testing.servers.found import free_port

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "config" / "observability"
RULES = CONFIG / "alerts.yml"
DASHBOARD = json.loads((CONFIG / "grafana" / "eventbus.json").read_text())
QUERIES = {
    f"{panel['title']}/{target['refId']}": target["expr"]
    for panel in DASHBOARD["panels"]
    for target in panel.get("targets", ())
}
ALERTS = sorted(re.findall(r"- alert: (\w+)", RULES.read_text()))
# What a dashboard fills in: all of everything, and a window of some scrapes.
FILLED = {"$__rate_interval": "10s", "$job": ".*", "$bus": ".*"}
PATIENCE_S = 120.0


class Fill(Event, type="operating.fill", kind=Kind.EXECUTION):
    """Something that is counted."""

    n: int = 0


def program(name: str) -> str:
    """A program of Debian's `prometheus`. CI has it, whatever else it skips."""
    found = shutil.which(name)
    if found is None:
        if os.environ.get("CI") == "true":
            raise FileNotFoundError(f"no {name} here: apt-get install prometheus")
        pytest.skip(f"no {name} here: apt-get install prometheus")
    return found


def promtool(*arguments: str | Path) -> str:
    done = subprocess.run([program("promtool"), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def slug(alert: str) -> str:
    return f"docs/alerts.md#{alert.lower()}"


# --- the files --------------------------------------------------------------------------------------------------------


@pytest.mark.server
def test_the_rules_are_rules() -> None:
    assert f"{len(ALERTS)} rules found" in promtool("check", "rules", RULES)


@pytest.mark.server
def test_the_configuration_that_is_deployed_can_be_read(tmp_path: Path) -> None:
    for name in ("prometheus.yml", "alerts.yml"):
        shutil.copy(CONFIG / name, tmp_path)
    (tmp_path / "metrics.token").write_text("made by eventbus token create")
    promtool("check", "config", tmp_path / "prometheus.yml")


@pytest.mark.server
def test_each_alert_fires_for_what_is_sick_and_for_nothing_that_is_well() -> None:
    promtool("test", "rules", Path(__file__).with_name("alerts.test.yml"))


def test_each_alert_is_tried_as_it_fires() -> None:
    tried = Path(__file__).with_name("alerts.test.yml").read_text()
    fires = re.findall(r"alertname: (\w+)\n\s+exp_alerts:\n", tried)
    assert sorted(fires) == ALERTS


def test_each_alert_has_its_line_in_the_run_book() -> None:
    rules, book = RULES.read_text(), (ROOT / "docs" / "alerts.md").read_text()
    assert sorted(re.findall(r"runbook_url: (\S+)", rules)) == sorted(map(slug, ALERTS))
    assert [alert for alert in ALERTS if f"## {alert}\n" not in book] == []


def test_every_panel_says_what_it_shows_and_asks_for_job_and_bus() -> None:
    for panel in DASHBOARD["panels"]:
        assert panel["title"]
        if panel["type"] != "row":
            assert panel["description"]
            assert panel["targets"]
    assert [name for name, query in QUERIES.items() if '{job=~"$job", bus=~"$bus"' not in query] == []


# --- a real server over a bus that runs -----------------------------------------------------------------------------


class Prometheus:
    """A server of our own that scrapes five times a second."""

    def __init__(self, folder: Path, target: str) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        (folder / "alerts.yml").write_text(RULES.read_text())
        (folder / "prometheus.yml").write_text(
            "global: {scrape_interval: 200ms, evaluation_interval: 200ms}\n"
            "rule_files: [alerts.yml]\n"
            f"scrape_configs: [{{job_name: eventbus, static_configs: [{{targets: ['{target}']}}]}}]\n"
        )
        self._command = [
            program("prometheus"),
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={self.url.removeprefix('http://')}",
            "--log.level=error",
        ]
        self._client = httpx.AsyncClient(base_url=self.url, timeout=PATIENCE_S)

    async def __aenter__(self) -> Prometheus:
        self._process = await asyncio.create_subprocess_exec(*self._command)
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._client.aclose()
        self._process.kill()
        await self._process.wait()

    async def get(self, path: str, **params: str) -> Any:
        """What it answers; None while it does not yet."""
        try:
            answer = await self._client.get(f"/api/v1/{path}", params=params)
        except httpx.TransportError:
            assert self._process.returncode is None, "Prometheus ended"
            return None
        if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            return None
        assert answer.status_code == httpx.codes.OK, answer.text
        return answer.json()["data"]

    async def has(self, query: str) -> bool:
        """Does the query give a number?"""
        for name, value in FILLED.items():
            query = query.replace(name, value)
        found = await self.get("query", query=query)
        return found is not None and any(not math.isnan(float(one["value"][1])) for one in found["result"])


@asynccontextmanager
async def watched(folder: Path) -> AsyncIterator[tuple[Any, Prometheus, Callable[[], Any]]]:
    """A journaled bus behind a gateway, with a group, a handler that fails and a client; and what keeps it busy."""

    async def fails_at_times(event: Fill) -> None:
        if event.n % 3 == 0:
            raise OSError("no")

    async def fine(_event: Event) -> None: ...

    bus = create_event_bus(f"sqlite:///{folder / 'run.db'}", name="desk")
    bus.subscribe(Fill, fails_at_times, name="picky", retry=Retry(attempts=2, delay=0.0))
    bus.subscribe("operating.*", fine, name="ledger", group="ledger")
    async with AsyncExitStack() as ends:
        served = await serve_here(bus, settings=GatewaySettings(port=0, limits=Limits(messages_per_s=10_000)))
        ends.push_async_callback(served.stop)
        prometheus = await ends.enter_async_context(Prometheus(folder, served.url.removeprefix("http://")))
        peer = await ends.enter_async_context(served.connect())
        await peer.subscribe("operating.*")

        async def busy() -> None:
            for n in range(4):
                await bus.publish(Fill(n=n))
            await peer.ask(type="dance")
            async with served.connect() as other:
                await other.connection.send(b"binary")  # refused, and closed for it
                await other.closed()
            await peer.sync()

        yield bus, prometheus, busy


@pytest.mark.server
async def test_no_query_of_the_dashboard_is_empty_and_alerts_fire_over_a_bus_that_runs(tmp_path: Path) -> None:
    async with watched(tmp_path) as (bus, prometheus, busy), asyncio.timeout(2 * PATIENCE_S):
        missing, began = dict(QUERIES), asyncio.get_running_loop().time()
        while missing and asyncio.get_running_loop().time() < began + PATIENCE_S:
            await busy()
            missing = {name: query for name, query in missing.items() if not await prometheus.has(query)}
        assert missing == {}

        rules = (await prometheus.get("rules"))["groups"][0]["rules"]
        assert sorted(rule["name"] for rule in rules) == ALERTS
        token = bus.halt("tried")
        firing: set[str] = set()
        while not {"EventBusHalted", "EventBusDeadLetters"} <= firing:
            found = (await prometheus.get("alerts"))["alerts"]
            firing = {alert["labels"]["alertname"] for alert in found if alert["state"] == "firing"}
        assert {rule["health"] for rule in (await prometheus.get("rules"))["groups"][0]["rules"]} == {"ok"}
        assert "EventBusDown" not in firing
        await bus.rearm(token)
