"""`qt serve`: what it shows of a run that is over is what the run reported, and it takes no commands for it."""

from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from eventbus.testing.gateway import PATIENCE_S
from quantum_trader.cli import serving
from quantum_trader.cli.showing import Door
from quantum_trader.config import AppConfig
from quantum_trader.model import KillMode
from quantum_trader.runs.folder import RunFolder
from quantum_trader.web.panels import Panels

if TYPE_CHECKING:
    from tests.quantum_trader.conftest import Terminal


@pytest.fixture
def run(terminal: Terminal) -> RunFolder:
    """A short run that is over, in which something was filled."""
    terminal.ok(
        *("replay", "--profile", "fast", "--from", "2007-01-03", "--to", "2007-09-28", "--output", "run"),
    )
    return RunFolder(terminal.home / "run")


def test_finished_run_is_shown_as_it_was_reported(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    async def look() -> dict[str, Any]:
        listens: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        monkeypatch.setattr(serving, "say", listens.set_result)
        place = Door(port=0, allow_origins=["https://charts.example"]).at(AppConfig())
        served = asyncio.get_running_loop().create_task(
            serving._serve(run, place, lambda config: serving.looking_on(config, None, None))
        )
        url = (await listens).removeprefix("serving on ")
        async with httpx.AsyncClient(base_url=f"{url}/api/v1", trust_env=False, timeout=PATIENCE_S) as client:
            shown = {
                name: (await client.get(f"/views/{name}")).json()["data"]
                for name in ("run", "equity", "orders", "denials", "topology", "letters")
            }
            shown["status"] = (await client.get("/status")).json()
            shown["refused"] = (await client.post("/killswitch", json={"mode": "halt", "reason": "x"})).json()
            for name in ("charts", "other"):
                page = {"Origin": f"https://{name}.example"}
                shown[name] = (await client.get("/status", headers=page)).status_code
            fill = shown["orders"]["fills"][0]
            shown["story"] = (await client.get(f"/orders/{fill['order']}")).json()["nodes"]
            shown["causes"] = (await client.get(f"/events/{fill['event_id']}/explain")).json()["nodes"]
        served.cancel()
        await asyncio.wait({served})
        return shown

    shown, reported = asyncio.run(look()), json.loads(run.report.read_text())
    assert (shown["run"]["stage"], shown["run"]["digest"]) == ("over", reported["digest"])
    assert shown["run"]["session"] == shown["run"]["of"] == len(shown["equity"]["minute"])
    assert float(shown["equity"]["last"]["equity"]) == pytest.approx(float(reported["equity"]), abs=0.01)
    assert float(shown["equity"]["last"]["benchmark"]) == pytest.approx(float(reported["benchmark_equity"]), abs=0.01)
    assert shown["denials"]["denied"] == reported["denials"]
    assert shown["orders"]["filled"] == len(shown["orders"]["fills"]) > 0
    assert {"RiskGuard", "Executor"} <= set(shown["topology"]["stations"])
    assert {"killswitch", "acknowledge", "pace", "redrive"}.isdisjoint(shown["status"]["capabilities"])
    assert shown["refused"]["type"] == "run_over"
    assert (shown["charts"], shown["other"]) == (200, 403)
    assert [node["event"]["type"] for node in shown["story"]][:2] == ["market.bar", "signals.generated"]
    assert "trade.executed" in {node["event"]["type"] for node in shown["causes"]}


def test_another_run_in_its_place_is_shown_instead_and_nothing_of_the_first(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, last in (("run", "2"), ("other", "5")):
        terminal.ok("replay", "--from", "2012-12-01", "--until-session", last, "--output", name)
    run, other = RunFolder(terminal.home / "run"), RunFolder(terminal.home / "other")

    async def look() -> list[dict[str, Any]]:
        said, shown = asyncio.Queue[str](), list[dict[str, Any]]()
        monkeypatch.setattr(serving, "say", said.put_nowait)
        served = asyncio.get_running_loop().create_task(
            serving._serve(run, Door(port=0).at(AppConfig()), lambda config: config)
        )
        for _ in range(2):
            url = (await said.get()).removeprefix("serving on ")
            async with httpx.AsyncClient(base_url=f"{url}/api/v1", trust_env=False, timeout=PATIENCE_S) as client:
                views = [(await client.get(f"/views/{name}")).json()["data"] for name in ("run", "equity")]
            shown.append({"url": url, "bars": views[0]["bars"], "minutes": len(views[1]["minute"])})
            if len(shown) == 1:
                for file in sorted(
                    other.path.iterdir(), key=lambda file: file.name == "run.db"
                ):  # what lies beside it first
                    os.replace(file, run.path / file.name)
                async with asyncio.timeout(PATIENCE_S):
                    assert await said.get() == "another run lies here now: it is shown instead"
        served.cancel()
        await asyncio.wait({served})
        return shown

    first, second = asyncio.run(look())
    assert (first["minutes"], second["minutes"]) == (3, 6)
    assert second["bars"] == 2 * first["bars"] > 0
    assert second["url"] == first["url"]


def test_run_that_goes_on_elsewhere_takes_commands_by_its_inbox(terminal: Terminal) -> None:
    terminal.ok("replay", "--from", "2012-12-01", "--until-session", "3", "--output", "run")
    folder = RunFolder(terminal.home / "run")
    desk = serving.desk_over(folder, Panels([]))
    assert desk.capabilities == {"killswitch", "acknowledge"}
    desk.kill_switch(KillMode.HALT, "drill", "dashboard", None)
    terminal.ok("resume", "run", "--until-session", "5")
    assert "HALT, latched, by dashboard: drill" in terminal.ok("kill", "show", "--run", "run")
