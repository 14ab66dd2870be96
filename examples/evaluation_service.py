"""A standalone service: evaluations over HTTP, three retries, an alert on what is critical, killed and started again without loss.

    eventbus serve --bus sqlite:///run.db --allow-adhoc --with evaluation_service:build

Run by itself it is its own operator: it starts that service, sends it work, kills it in the middle, starts it again, and looks
whether everything was done once.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from eventbus import Event, EventBus

RETRIES = 3


class Storage:
    """Results and metrics in a file. What is written twice is there once, so a handler may be called again after a crash."""

    def __init__(self, path: str) -> None:
        self._file = sqlite3.connect(path, isolation_level=None)
        self._file.execute("PRAGMA busy_timeout = 5000")
        self._file.execute("CREATE TABLE IF NOT EXISTS results (eval_id TEXT PRIMARY KEY, result TEXT)")
        self._file.execute(
            "CREATE TABLE IF NOT EXISTS counts (name TEXT, step INT, event_id TEXT, PRIMARY KEY (name, event_id))"
        )

    def store_result(self, eval_id: str, result: object) -> None:
        self._file.execute("INSERT OR REPLACE INTO results VALUES (?, ?)", (eval_id, str(result)))

    def count(self, name: str, event: Event, step: int = 1) -> None:
        """Add to a metric, once for each event."""
        self._file.execute("INSERT OR IGNORE INTO counts VALUES (?, ?, ?)", (name, step, event.event_id))

    def results(self) -> dict[str, str]:
        return dict(self._file.execute("SELECT eval_id, result FROM results"))

    def metrics(self) -> dict[str, int]:
        return dict(self._file.execute("SELECT name, SUM(step) FROM counts GROUP BY name"))

    def __enter__(self) -> Storage:
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()


class Handlers:
    """What the classes below share: handlers that keep their place in the journal, and events that follow from others."""

    def __init__(self, bus: EventBus, storage: Storage) -> None:
        self.bus, self.storage = bus, storage
        for name in dir(self):
            if name.startswith("on_"):
                topic = name.removeprefix("on_").replace("_", ".")
                bus.subscribe(topic, getattr(self, name), group=topic)

    async def follow(self, cause: Event, topic: str, payload: dict[str, Any]) -> None:
        """Publish what follows. The same cause gives the same event again, so that it counts once however often it is handled."""
        event_id = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{cause.event_id}/{topic}"))
        await self.bus.publish(Event(topic, cause.timestamp, payload, event_id=event_id))


class QueueHandlers(Handlers):
    """`queue.*`: does the work."""

    async def on_queue_task_added(self, event: Event) -> None:
        task = event.payload
        await self.follow(event, "evaluation.started", {"eval_id": task["eval_id"]})
        if "error" in task:
            failed = {"eval_id": task["eval_id"], "error": task["error"], "retry_count": event.get("retry_count", 0)}
            await self.follow(event, "evaluation.failed", failed)
        else:
            await self.follow(event, "evaluation.completed", {"eval_id": task["eval_id"], "result": task["score"]})
        await self.follow(event, "queue.task.processed", {"eval_id": task["eval_id"]})


class EvaluationHandlers(Handlers):
    """`evaluation.*`: keeps results, raises alerts, tries again."""

    async def on_evaluation_started(self, event: Event) -> None:
        self.storage.count("evaluations.active", event)
        await self.follow(event, "metrics.evaluation.started", {"eval_id": event["eval_id"]})

    async def on_evaluation_completed(self, event: Event) -> None:
        self.storage.store_result(event["eval_id"], event["result"])
        self.storage.count("evaluations.active", event, -1)
        self.storage.count("evaluations.completed", event)
        await self.follow(event, "cleanup.evaluation", {"eval_id": event["eval_id"]})

    async def on_evaluation_failed(self, event: Event) -> None:
        self.storage.count("evaluations.active", event, -1)
        error, retries = event.payload["error"], event.get("retry_count", 0)
        if error.get("severity") == "critical":
            await self.follow(event, "alert.critical", {"service": "evaluation", "error": error})
        if retries < RETRIES:
            retry = {"eval_id": event["eval_id"], "retry_count": retries + 1, "error": error}
            await self.follow(event, "evaluation.retry", retry)

    async def on_evaluation_retry(self, event: Event) -> None:
        self.storage.count("evaluations.retried", event)
        await self.follow(event, "queue.task.added", event.payload)


class MonitoringHandlers(Handlers):
    """What is counted besides."""

    async def on_alert_critical(self, event: Event) -> None:
        self.storage.count("alerts.critical", event)

    async def on_queue_task_processed(self, event: Event) -> None:
        self.storage.count("tasks.processed", event)


def build(bus: EventBus) -> Storage:
    """What `--with evaluation_service:build` calls, before the bus runs; the storage is closed when the bus has drained."""
    storage = Storage(os.environ.get("EVALUATION_STORAGE", "evaluations.db"))
    for handlers in (QueueHandlers, EvaluationHandlers, MonitoringHandlers):
        handlers(bus, storage)
    return storage


# --- the operator ---------------------------------------------------------------------------------------------------------


@contextmanager
def service(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The service, and where it listens."""
    options = ["--bus", "sqlite:///run.db", "--allow-adhoc", "--port", "0", "--with", "evaluation_service:build"]
    command = [sys.executable, "-c", "from eventbus.cli import main; main()", "serve", *options]
    paths = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": paths}
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        yield process, process.stdout.readline().removeprefix("serving on ").strip()
        process.kill()


def is_done(metrics: dict[str, int]) -> bool:
    return metrics.get("tasks.processed") == 10 + 2 * (1 + RETRIES) and metrics.get("evaluations.active") == 0


def main() -> None:
    tasks: list[dict[str, Any]] = [{"eval_id": f"good-{number}", "score": number / 10} for number in range(10)]
    tasks += [{"eval_id": "bad", "error": {"severity": "critical"}}, {"eval_id": "poor", "error": {"severity": "low"}}]
    events = [{"type": "queue.task.added", "payload": task, "event_id": f"task-{task['eval_id']}"} for task in tasks]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with service(folder) as (process, url):
            httpx.post(f"{url}/api/v1/events", json=events, timeout=60).raise_for_status()
            process.send_signal(signal.SIGKILL)  # whatever it is at
        with service(folder) as (process, url):
            # A client that is not sure sends again.
            httpx.post(f"{url}/api/v1/events", json=events, timeout=60).raise_for_status()
            until = time.monotonic() + 120
            with Storage(str(folder / "evaluations.db")) as storage:
                while not is_done(storage.metrics()):
                    assert time.monotonic() < until, storage.metrics()
                    time.sleep(0.02)
            process.send_signal(signal.SIGTERM)
            assert process.wait() == 0
        with Storage(str(folder / "evaluations.db")) as storage:
            results, metrics = storage.results(), storage.metrics()
    print(f"{len(results)} results, {metrics}")
    assert results == {f"good-{number}": str(number / 10) for number in range(10)}
    assert metrics["evaluations.completed"] == 10
    assert metrics["evaluations.retried"] == 2 * RETRIES
    assert metrics["alerts.critical"] == 1 + RETRIES
    print("killed in the middle, started again: everything was done once")


if __name__ == "__main__":
    main()
