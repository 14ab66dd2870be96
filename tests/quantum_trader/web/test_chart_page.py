"""The program of a control-chart page, as its document gives it: written anew, run in a browser, from a page of another origin."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from playwright.async_api import Page, async_playwright

from eventbus.gateway import GatewaySettings
from eventbus.testing.gateway import Served
from quantum_trader.events import (
    ControlLimitsUpdatedEvent,
    SampleProcessedEvent,
    ViolationAcknowledgedEvent,
    ViolationCreatedEvent,
)
from quantum_trader.monitoring.alerts import AlertManager
from quantum_trader.web.broadcaster import WebSocketBroadcaster

pytestmark = pytest.mark.browser

Serving = Callable[..., Awaitable[Served]]
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
AT = datetime(2024, 1, 15, 10, 30, tzinfo=UTC)

# What the page does with a message is its own; here it keeps them.
PAGE = """<!doctype html><title>charts</title><script>
const seen = { chart: [], alert: [], status: [], limits: [], other: [], closed: null };
const updateChart = (payload) => seen.chart.push(payload);
const showAlert = (payload) => seen.alert.push(payload);
const updateViolationStatus = (payload) => seen.status.push(payload);
const updateChartLimits = (payload) => seen.limits.push(payload);

const ws = new WebSocket('%s/api/v1/ws');

ws.onopen = () => {
  ws.send(JSON.stringify({ type: 'subscribe', characteristic_ids: [1, 2, 3] }));
};

ws.onmessage = (event) => {
  const message = JSON.parse(event.data);
  switch (message.type) {
    case 'sample':
      updateChart(message.payload);
      break;
    case 'violation':
      showAlert(message.payload);
      break;
    case 'ack_update':
      updateViolationStatus(message.payload);
      break;
    case 'control_limits':
      updateChartLimits(message.payload);
      break;
    default:
      seen.other.push(message.type);
  }
};

ws.onclose = (event) => { seen.closed = event.code; };

const heartbeat = () => ws.send(JSON.stringify({ type: 'ping' }));
setInterval(heartbeat, 30000);
</script>"""


class Site:
    """Where the page comes from."""

    def __init__(self) -> None:
        self.html = ""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = self.html.encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()


@asynccontextmanager
async def opened() -> AsyncIterator[tuple[Page, Site, str, list[str]]]:
    """A page, the site that it will come from and its origin, and what it says on its console."""
    site = Site()
    said: list[str] = []
    async with await asyncio.start_server(site.answer, "127.0.0.1", 0) as server, async_playwright() as playwright:
        origin = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        browser = await playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        page = await browser.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        try:
            yield page, site, origin, said
        finally:
            await browser.close()


async def seen(page: Page, condition: str) -> dict[str, Any]:
    """What the page has, as soon as that is so."""
    await page.wait_for_function(f"() => {condition}", timeout=120_000, polling=50)
    found: dict[str, Any] = await page.evaluate("seen")
    return found


async def test_the_program_runs_as_it_stands(serving: Serving) -> None:
    async with opened() as (page, site, origin, said):
        served = await serving(settings=GatewaySettings(port=0, allow_origins=(origin,)))
        AlertManager(served.bus, [WebSocketBroadcaster(served.bus, served.sockets.hub)])
        site.html = PAGE % served.url.replace("http", "ws")
        await page.goto(f"{origin}/")
        await seen(page, "seen.other.includes('subscribed')")
        for number, chart in enumerate((1, 2, 3, 4)):
            await served.bus.publish(
                SampleProcessedEvent(
                    sample_id=number,
                    characteristic_id=chart,
                    mean=10.5,
                    range_value=None,
                    zone="zone_c_upper",
                    in_control=True,
                    timestamp=AT,
                )
            )
        await served.bus.publish(
            ViolationCreatedEvent(
                violation_id=10,
                sample_id=1,
                characteristic_id=2,
                rule_id=1,
                rule_name="Outlier",
                severity="CRITICAL",
                timestamp=AT,
            )
        )
        await served.bus.publish(
            ControlLimitsUpdatedEvent(
                characteristic_id=1, center_line=100.0, ucl=103.0, lcl=97.0, sample_count=50, timestamp=AT
            )
        )
        await served.bus.publish(
            ViolationAcknowledgedEvent(violation_id=10, user="john.doe", reason="Tool Change", timestamp=AT)
        )
        await page.evaluate("heartbeat()")
        found = await seen(
            page,
            "seen.chart.length === 3 && seen.alert.length && seen.status.length && seen.limits.length"
            " && seen.other.includes('pong')",
        )
        assert [point["characteristic_id"] for point in found["chart"]] == [1, 2, 3]
        assert found["chart"][0]["value"] == 10.5
        assert (found["alert"][0]["rule_name"], found["alert"][0]["severity"]) == ("Outlier", "CRITICAL")
        assert (found["status"][0]["acknowledged"], found["status"][0]["user"]) == (True, "john.doe")
        assert (found["limits"][0]["ucl"], found["limits"][0]["method"]) == (103.0, "moving_range")
        assert await page.evaluate("new Date(seen.chart[0].timestamp).getTime()") == AT.timestamp() * 1_000
        assert found["other"] == ["welcome", "subscribed", "pong"]
        await served.stop()
        assert (await seen(page, "seen.closed !== null"))["closed"] == 1001
        assert said == []


async def test_a_page_of_an_origin_that_nobody_allowed_stays_outside(serving: Serving) -> None:
    async with opened() as (page, site, origin, _said):
        served = await serving()
        site.html = PAGE % served.url.replace("http", "ws")
        await page.goto(f"{origin}/")
        assert (await seen(page, "seen.closed !== null"))["closed"] == 1006
        assert len(served.sockets.hub) == 0
