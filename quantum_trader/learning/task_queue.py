"""Task queue: what waits to be evaluated, the most urgent first, and how long it waited and ran.

Order is a decision and depends on nothing but the tasks; times are told in `queue.*` for people and charts, never used. It
gives its news to who asks it, to be published with what else there is to tell.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from eventbus import Clock, EventBus, SystemClock
from quantum_trader.events import (
    EvaluationRequestedEvent,
    MetricRecordedEvent,
    Purpose,
    QueueTaskAddedEvent,
    QueueTaskProcessedEvent,
    SessionClosedEvent,
)

SOURCE = "queue"
EVALUATIONS: Final = "evaluations"
URGENCY: Final = {purpose: at for at, purpose in enumerate(Purpose)}  # the enum is written in this order


class QueueHandler:
    """Tasks by urgency of purpose, equals in the order they came. `clock` only measures."""

    publishes: ClassVar = (QueueTaskAddedEvent, QueueTaskProcessedEvent)

    def __init__(self, *, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._heap: list[tuple[int, int, EvaluationRequestedEvent]] = []
        self._count = 0
        self._added_ns: dict[str, int] = {}
        self._taken_ns: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, task: EvaluationRequestedEvent) -> QueueTaskAddedEvent:
        """Let a task wait for its turn; what there is to tell of it."""
        heapq.heappush(self._heap, (URGENCY[task.purpose], self._count, task))
        self._count += 1
        self._added_ns[task.evaluation_id] = self._clock.monotonic_ns()
        return QueueTaskAddedEvent(
            queue=EVALUATIONS,
            task_id=task.evaluation_id,
            depth=len(self._heap),
            timestamp=task.timestamp,
            source=SOURCE,
        )

    def take(self) -> EvaluationRequestedEvent | None:
        """The most urgent task, None when nothing waits."""
        if not self._heap:
            return None
        task = heapq.heappop(self._heap)[2]
        self._taken_ns[task.evaluation_id] = self._clock.monotonic_ns()
        return task

    def done(self, task: EvaluationRequestedEvent, outcome: str) -> QueueTaskProcessedEvent:
        """What became of a task taken before, to be told."""
        now = self._clock.monotonic_ns()
        taken = self._taken_ns.pop(task.evaluation_id, now)
        added = self._added_ns.pop(task.evaluation_id, taken)
        return QueueTaskProcessedEvent(
            queue=EVALUATIONS,
            task_id=task.evaluation_id,
            outcome=outcome,
            wait_ms=(taken - added) / 1e6,
            run_ms=(now - taken) / 1e6,
            timestamp=task.timestamp,
            source=SOURCE,
        )

    def state(self) -> dict[str, Any]:
        """Everything needed to go on after a restart, in plain JSON values; times start anew."""
        return {
            "waiting": [
                [urgency, number, task.model_dump(mode="json")] for urgency, number, task in sorted(self._heap)
            ],
            "count": self._count,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become what `state()` described."""
        self._heap = [
            (urgency, number, EvaluationRequestedEvent.model_validate(task))
            for urgency, number, task in state["waiting"]
        ]
        self._count = state["count"]


class MonitoringHandler:
    """Turns what the queues tell into metrics by the wall clock, one set per queue and session with tasks: the mean wait
    and run, the greatest depth. For the metrics logger and the charts of operations."""

    publishes: ClassVar = (MetricRecordedEvent,)

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus
        self._seen: dict[str, list[QueueTaskProcessedEvent]] = {}
        self._depth: dict[str, int] = {}
        bus.subscribe(QueueTaskAddedEvent, self.on_added, name="monitoring.added")
        bus.subscribe(QueueTaskProcessedEvent, self.on_processed, name="monitoring.processed")
        bus.subscribe(SessionClosedEvent, self.on_session_closed, name="monitoring.closed")

    async def on_added(self, event: QueueTaskAddedEvent) -> None:
        self._depth[event.queue] = max(event.depth, self._depth.get(event.queue, 0))

    async def on_processed(self, event: QueueTaskProcessedEvent) -> None:
        self._seen.setdefault(event.queue, []).append(event)

    async def on_session_closed(self, event: SessionClosedEvent) -> None:
        """Tell of the tasks since the last session."""
        seen, self._seen = self._seen, {}
        depth, self._depth = self._depth, {}
        for queue, tasks in sorted(seen.items()):
            await self._record("queue.depth", float(depth.get(queue, 0)), "tasks", queue, event)
            await self._record("queue.wait_ms", _mean([task.wait_ms for task in tasks]), "ms", queue, event)
            await self._record("queue.run_ms", _mean([task.run_ms for task in tasks]), "ms", queue, event)

    async def _record(self, metric: str, value: float, unit: str, queue: str, closed: SessionClosedEvent) -> None:
        await self._bus.publish(
            MetricRecordedEvent(
                metric=metric,
                value=value,
                unit=unit,
                labels={"queue": queue},
                clock="wall",
                session=closed.session,
                timestamp=closed.timestamp,
                source=SOURCE,
            )
        )


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
