"""Handler classes beside a gateway: `--with module:build`, and the example service as its users run it, killed at any moment."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from eventbus import Event, EventBus, GatewayError, InMemoryEventBus
from eventbus.gateway import create_gateway, service_named
from tests.eventbus.gateway.processes import PATIENCE_S, ROOT, serving_process

EXAMPLES = ROOT / "examples"
OPTIONS = ("--bus", "sqlite:///run.db", "--allow-adhoc", "--with", "evaluation_service:build")


async def started(service: Any) -> InMemoryEventBus:
    """A bus after an application with this service began and ended."""
    bus = InMemoryEventBus()
    app = create_gateway(bus, services=[service])
    async with app.router.lifespan_context(app):
        assert bus.is_running
        await bus.publish_and_wait("desk.opened", {"desk": 1})
    return bus


class Desk:
    """A class that subscribes its bound methods before any loop runs."""

    def __init__(self, bus: EventBus) -> None:
        assert not bus.is_running
        self.seen: list[str] = []
        bus.subscribe("desk.opened", self.opened)
        bus.subscribe("desk.*", self.anything)

    async def opened(self, event: Event) -> None:
        self.seen.append(f"opened {event['desk']} {event.get('retry_count', 0)}")

    async def anything(self, event: Event) -> None:
        self.seen.append(event.type)


async def test_a_class_is_a_service() -> None:
    made: list[Desk] = []
    await started(lambda bus: made.append(Desk(bus)))
    assert sorted(made[0].seen) == ["desk.opened", "opened 1 0"]


@pytest.mark.parametrize("is_async", [False, True])
async def test_what_a_service_gives_is_entered_and_left_after_the_drain(is_async: bool) -> None:
    told: list[str] = []

    def build(bus: EventBus) -> Any:
        async def slow(_event: Event) -> None:
            told.append("handled")

        bus.subscribe("desk.opened", slow)

        @asynccontextmanager
        async def lasting() -> AsyncIterator[None]:
            told.append("entered")
            yield
            told.append("left")

        return lasting()

    async def build_async(bus: EventBus) -> Any:
        return build(bus)

    await started(build_async if is_async else build)
    assert told == ["entered", "handled", "left"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("json", "module:build"),
        (":build", "module:build"),
        ("no.such.module:build", "no.such"),
        ("json:nothing", "nothing of that name"),
        ("os:getcwd", "nothing of that name to call with a bus"),
        (".json:dumps", "relative import"),
    ],
)
def test_a_name_that_is_none_is_told(name: str, said: str) -> None:
    with pytest.raises(GatewayError, match=said):
        service_named(name)


BROKEN = {
    "no_syntax": ("def build(bus)\n", "expected ':' .no_syntax.py, line 1"),
    "no_import": ("raise RuntimeError('no disk')\n", "RuntimeError: no disk .*no_import.py:1"),
    "no_build": (
        "def build(bus):\n    raise ValueError('no desk')\n",
        "ValueError: no desk .*no_build.py:2",
    ),
    "no_bus": ("async def build():\n    pass\n", "nothing of that name to call with a bus"),
}


@pytest.mark.parametrize("module", BROKEN)
async def test_a_service_that_cannot_be_built_is_told_with_its_own_line(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command says that in one line: with a traceback it would show the operator our frames, not his."""
    source, said = BROKEN[module]
    (tmp_path / f"{module}.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(GatewayError, match=f"--with {module}:build: .*{said}"):
        await started(service_named(f"{module}:build"))


@pytest.mark.slow
@pytest.mark.parametrize("kills_after_s", [0.0, pytest.param(0.2, marks=pytest.mark.long)])
def test_the_example_service_loses_nothing_when_it_is_killed(tmp_path: Path, kills_after_s: float) -> None:
    sys.path.insert(0, str(EXAMPLES))
    try:
        from evaluation_service import RETRIES, Storage  # type: ignore[import-not-found] # found in the line above
    finally:
        sys.path.remove(str(EXAMPLES))
    tasks: list[dict[str, Any]] = [{"eval_id": f"good-{number}", "score": number} for number in range(40)]
    tasks += [{"eval_id": f"bad-{number}", "error": {"severity": "critical"}} for number in range(10)]
    events = [{"type": "queue.task.added", "payload": task, "event_id": f"task-{task['eval_id']}"} for task in tasks]

    with serving_process(tmp_path, *OPTIONS, modules=EXAMPLES) as served:
        first = httpx.post(f"{served.url}/api/v1/events", json=events, timeout=PATIENCE_S).json()
        try:
            served.process.wait(kills_after_s)
        except subprocess.TimeoutExpired:
            served.process.send_signal(signal.SIGKILL)
    with serving_process(tmp_path, *OPTIONS, modules=EXAMPLES) as served:
        assert httpx.post(f"{served.url}/api/v1/events", json=events, timeout=PATIENCE_S).json() == first
        until = time.monotonic() + PATIENCE_S
        with Storage(str(tmp_path / "evaluations.db")) as storage:
            while (
                storage.metrics().get("tasks.processed") != 40 + 10 * (1 + RETRIES)
                or storage.metrics()["evaluations.active"]
            ):
                assert time.monotonic() < until, storage.metrics()
        page = httpx.get(
            f"{served.url}/api/v1/events", params={"type": "alert.critical", "limit": 1_000}, timeout=PATIENCE_S
        ).json()
        tree = httpx.get(f"{served.url}/api/v1/events/task-bad-0/explain", timeout=PATIENCE_S).json()
        served.process.send_signal(signal.SIGTERM)
        assert served.wait() == 0
    with Storage(str(tmp_path / "evaluations.db")) as storage:
        assert storage.results() == {f"good-{number}": str(number) for number in range(40)}
        assert storage.metrics() == {
            "alerts.critical": 10 * (1 + RETRIES),
            "evaluations.active": 0,
            "evaluations.completed": 40,
            "evaluations.retried": 10 * RETRIES,
            "tasks.processed": 40 + 10 * (1 + RETRIES),
        }
    assert len(page["events"]) == 10 * (1 + RETRIES)
    retries = [
        node["event"]["payload"]["retry_count"] for node in tree["nodes"] if node["event"]["type"] == "evaluation.retry"
    ]
    assert retries == [*range(1, RETRIES + 1)]
