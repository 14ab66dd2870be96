"""Causes: an event names the one it came of, may get its id from it, and has one hop more than the farthest of its causes."""

from __future__ import annotations

from contextvars import Context

import pytest

from eventbus import Event, HopLimit
from eventbus.causality import History
from eventbus.road.burst import Burst
from eventbus.road.causes import HOP_LIMIT, Causes


def test_the_cause_that_was_named_is_stamped() -> None:
    root, event = Event("causes.root"), Event("causes.event")
    Causes(History(10), None).stamp(event, None, root, 1)
    assert (event.causation_id, event.correlation_id) == (root.event_id, root.correlation_id)


def test_what_nobody_caused_is_left_as_it_is() -> None:
    event = Event("causes.event")
    causes = Causes(History(10), None)
    causes.stamp(event, None, None, 0)
    assert event.causation_id is None
    assert causes.hops(event, None, None) == 0


def test_a_chain_of_named_causes_has_an_end() -> None:
    history = History(100)
    causes, cause = Causes(history, None), Event("causes.event")
    history.remember([cause], Burst(cause, Context(), 0, 1, 0))
    for hops in range(1, HOP_LIMIT + 1):
        event = Event("causes.event")
        assert causes.hops(event, None, cause) == hops
        cause = event
    with pytest.raises(HopLimit):
        causes.hops(Event("causes.event"), None, cause)
