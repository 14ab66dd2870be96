"""Errors: what a handler may raise to steer is checked where it is made, and every error says its remedy."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import pytest

from eventbus import (
    DuplicateEventType,
    NoReply,
    PolicyConflict,
    ReentrantPublish,
    Reject,
    RetryLater,
    WouldDeadlock,
    WrongProcess,
)


@pytest.mark.parametrize(
    ("after", "seconds"), [(2, 2.0), (0, 0.0), (0.5, 0.5), (timedelta(minutes=1), 60.0), (None, None)]
)
def test_retry_later_waits_seconds_or_a_timedelta(after: Any, seconds: float | None) -> None:
    later = RetryLater("busy", after=after)
    assert (later.after, later.reason, str(later)) == (seconds, "busy", "busy")


@pytest.mark.parametrize("after", [-1, math.nan, math.inf, True, "5", [5], timedelta(-1), 10**400])
def test_a_senseless_wait_is_refused_where_it_is_made(after: Any) -> None:
    with pytest.raises(PolicyConflict) as caught:
        RetryLater(after=after)
    assert caught.value.argument == "after"


@pytest.mark.parametrize("reason", [5, 2.5, timedelta(1), None, ValueError("x")])
def test_the_reason_comes_first_and_is_a_text(reason: Any) -> None:
    for steer in (RetryLater, Reject):
        with pytest.raises(PolicyConflict, match="reason") as caught:
            steer(reason)
        assert caught.value.argument == "reason"


def test_errors_say_what_to_do() -> None:
    assert "add_signal_handler" in str(ReentrantPublish())
    assert "build a bus in each process" in str(WrongProcess("publish()", 41))
    assert "raise max_queue_size" in str(WouldDeadlock(5))
    circle = WouldDeadlock(call="request()", circle=("a", "b"))
    assert "request() inside a handler would wait for itself (a -> b -> a)" in str(circle)
    assert (circle.circle, circle.call) == (("a", "b"), "request()")


def test_who_asks_nobody_is_told_so() -> None:
    assert str(NoReply("risk.check", 0)) == "nobody listens to risk.check: subscribe a handler that returns a value"
    assert "delivered 2 times" in str(NoReply("risk.check", 2))


def test_a_file_that_is_run_and_imported_is_told_what_it_is() -> None:
    assert "a module of their own" in str(DuplicateEventType("order.placed", "__main__.Placed", "shop.Placed"))
    assert "choose another type name" in str(DuplicateEventType("order.placed", "desk.Placed", "shop.Placed"))
