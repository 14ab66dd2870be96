from __future__ import annotations

import json
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from quantum_trader.events import Purpose
from quantum_trader.learning.evaluation import request
from quantum_trader.learning.task_queue import URGENCY, QueueHandler

AT = datetime(2001, 1, 1, tzinfo=UTC)


class Ticks:
    """A clock that moves a millisecond at each reading."""

    def __init__(self) -> None:
        self.readings = 0

    def now(self) -> datetime:
        return AT

    def monotonic_ns(self) -> int:
        self.readings += 1
        return self.readings * 1_000_000


def test_a_live_strategy_is_reviewed_before_anything_else() -> None:
    assert sorted(URGENCY, key=lambda purpose: URGENCY[purpose]) == [
        Purpose.LIVE_REVIEW,
        Purpose.CHALLENGE,
        Purpose.SHADOW,
        Purpose.BACKTEST,
    ]


@given(st.lists(st.sampled_from(list(Purpose)), max_size=20))
def test_tasks_leave_by_urgency_and_equals_as_they_came(purposes: list[Purpose]) -> None:
    queue = QueueHandler()
    for at, purpose in enumerate(purposes):
        queue.add(request("STRATEGY", f"{at:02}", purpose, 0, 9, timestamp=AT))
    restored = QueueHandler()
    restored.restore(json.loads(json.dumps(queue.state())))
    left = [(URGENCY[task.purpose], task.subject_id) for task in iter(queue.take, None)]
    assert left == sorted(left)
    assert len(left) == len(purposes)
    assert [(URGENCY[task.purpose], task.subject_id) for task in iter(restored.take, None)] == left


def test_waiting_and_running_are_measured() -> None:
    queue = QueueHandler(clock=Ticks())
    queue.add(request("STRATEGY", "a", Purpose.BACKTEST, 0, 9, timestamp=AT))
    task = queue.take()
    assert task is not None
    told = queue.done(task, "PASS")
    assert (told.wait_ms, told.run_ms, told.outcome) == (1.0, 1.0, "PASS")
