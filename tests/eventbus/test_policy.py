"""Policy: decisions as values, made without a loop."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventbus import Event, Kind, OnFailure, Overflow, Policy, PolicyConflict, Reject, Retry, RetryLater
from eventbus.policy import GiveUp, RetryIn


class PolicyFill(Event, type="policy.fill", kind=Kind.EXECUTION, key="order"):
    order: str


class PolicyQuote(Event, type="policy.quote", kind=Kind.QUOTE, key="symbol"):
    symbol: str


class PolicySignal(Event, type="policy.signal", kind=Kind.SIGNAL, max_age=5.0):
    pass


class PolicyAlarm(Event, type="policy.alarm", kind=Kind.CONTROL):
    pass


class PolicyFact(Event, type="policy.fact"):
    symbol: str = "A"


RNG = random.Random(1)


# --- arguments --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("concurrency", 0),
        ("concurrency", -1),
        ("concurrency", 1.5),
        ("concurrency", "2"),
        ("queue_size", 0),
        ("timeout", 0),
        ("timeout", -1.0),
        ("timeout", float("nan")),
        ("max_age", 0),
        ("isolation", "process"),
    ],
)
def test_impossible_value_is_refused_by_name(argument: str, value: Any) -> None:
    with pytest.raises(PolicyConflict, match=argument) as caught:
        Policy(**{argument: value})
    assert caught.value.argument == argument
    assert caught.value.reason


@pytest.mark.parametrize("overflow", [Overflow.DROP_OLDEST, Overflow.DROP_NEWEST, Overflow.REJECT])
def test_overflow_that_acts_at_a_size_needs_one(overflow: Overflow) -> None:
    with pytest.raises(PolicyConflict, match="queue_size"):
        Policy(overflow=overflow)
    Policy(overflow=overflow, queue_size=1)


@pytest.mark.parametrize(
    "arguments", [{"attempts": 0}, {"delay": -1.0}, {"factor": 0.5}, {"max_delay": -0.1}], ids=lambda a: next(iter(a))
)
def test_impossible_retry_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(PolicyConflict, match="retry"):
        Retry(**arguments)


# --- kinds ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("overflow", [o for o in Overflow if o.is_lossy])
@pytest.mark.parametrize("cls", [PolicyFill, PolicyAlarm])
def test_what_is_never_dropped_cannot_be_subscribed_lossy(cls: type[Event], overflow: Overflow) -> None:
    with pytest.raises(PolicyConflict, match="never dropped: use block"):
        Policy(overflow=overflow, queue_size=2).check_kind(cls.__event__)


def test_execution_never_expires() -> None:
    with pytest.raises(PolicyConflict, match="never expires"):
        Policy(max_age=1.0).check_kind(PolicyFill.__event__)
    Policy(max_age=1.0).check_kind(PolicyAlarm.__event__)


def test_overflow_follows_the_kind_unless_told() -> None:
    lossy = Policy(overflow=Overflow.DROP_OLDEST, queue_size=1)
    assert Policy().overflow_for(PolicyFact.__event__) is Overflow.BLOCK
    assert Policy().overflow_for(PolicySignal.__event__) is Overflow.BLOCK
    assert Policy().overflow_for(PolicyQuote.__event__) is Overflow.LATEST_BY_KEY
    assert lossy.overflow_for(PolicyFact.__event__) is Overflow.DROP_OLDEST
    assert lossy.overflow_for(PolicyQuote.__event__) is Overflow.DROP_OLDEST
    assert Policy(overflow=Overflow.BLOCK).overflow_for(PolicyQuote.__event__) is Overflow.BLOCK


def test_wildcard_that_drops_spares_what_is_never_dropped() -> None:
    lossy = Policy(overflow=Overflow.DROP_NEWEST, queue_size=1)
    assert lossy.overflow_for(PolicyFill.__event__) is Overflow.BLOCK
    assert lossy.overflow_for(PolicyAlarm.__event__) is Overflow.BLOCK


def test_the_shorter_age_counts_and_executions_have_none() -> None:
    assert Policy().max_age_for(PolicyFact.__event__) is None
    assert Policy().max_age_for(PolicySignal.__event__) == 5.0
    assert Policy(max_age=2.0).max_age_for(PolicySignal.__event__) == 2.0
    assert Policy(max_age=9.0).max_age_for(PolicySignal.__event__) == 5.0
    assert Policy(max_age=2.0).max_age_for(PolicyFill.__event__) is None


def test_key_comes_from_the_subscription_or_the_class() -> None:
    quote, fact = PolicyQuote(symbol="AAPL"), PolicyFact(symbol="MSFT")
    assert Policy().key_of(quote) == "AAPL"
    assert Policy().key_of(fact) is None
    assert Policy(key="symbol").key_of(fact) == "MSFT"
    assert Policy(key=lambda event: event.symbol[0]).key_of(fact) == "M"
    assert Policy(key="absent").key_of(fact) is None


# --- after a failure ----------------------------------------------------------------------------------------------------


def test_without_retry_there_is_one_attempt() -> None:
    assert Policy().after(ValueError(), attempt=1, rng=RNG) == GiveUp("handler failed")


def test_retry_ends_after_its_attempts() -> None:
    policy = Policy(retry=Retry(attempts=3, delay=1.0, factor=2.0, jitter=False))
    assert policy.after(ValueError(), attempt=1, rng=RNG) == RetryIn(1.0)
    assert policy.after(ValueError(), attempt=2, rng=RNG) == RetryIn(2.0)
    assert policy.after(ValueError(), attempt=3, rng=RNG) == GiveUp("handler failed 3 times")


def test_retry_only_on_what_is_named() -> None:
    policy = Policy(retry=Retry(on=(OSError,), jitter=False))
    assert isinstance(policy.after(ConnectionError(), attempt=1, rng=RNG), RetryIn)
    assert isinstance(policy.after(ValueError(), attempt=1, rng=RNG), GiveUp)
    assert isinstance(Policy(retry=Retry()).after(SystemExit(), attempt=1, rng=RNG), GiveUp)


def test_reject_gives_up_at_once_with_its_reason() -> None:
    assert Policy(retry=Retry()).after(Reject("no such desk"), attempt=1, rng=RNG) == GiveUp("rejected: no such desk")


def test_retry_later_uses_the_policys_attempts_or_ten() -> None:
    assert Policy().after(RetryLater(2.5), attempt=9, rng=RNG) == RetryIn(2.5)
    assert isinstance(Policy().after(RetryLater(2.5), attempt=10, rng=RNG), GiveUp)
    two = Policy(retry=Retry(attempts=2, delay=4.0, jitter=False))
    assert two.after(RetryLater(), attempt=1, rng=RNG) == RetryIn(4.0)
    assert isinstance(two.after(RetryLater(0.1), attempt=2, rng=RNG), GiveUp)


retries = st.builds(
    Retry,
    attempts=st.integers(1, 50),
    delay=st.floats(0, 100),
    factor=st.floats(1, 10),
    max_delay=st.floats(0, 1000),
    jitter=st.booleans(),
)


@given(retries, st.integers(1, 1_000), st.integers())
def test_pause_is_within_its_bounds(retry: Retry, attempt: int, seed: int) -> None:
    assert 0 <= retry.pause(attempt, random.Random(seed)) <= retry.max_delay


@given(retries.filter(lambda retry: not retry.jitter), st.integers(1, 200))
def test_pause_never_shrinks_without_jitter(retry: Retry, attempt: int) -> None:
    assert retry.pause(attempt, RNG) <= retry.pause(attempt + 1, RNG)


def test_jitter_is_full() -> None:
    retry = Retry(delay=1.0, factor=1.0)
    pauses = [retry.pause(1, random.Random(seed)) for seed in range(200)]
    assert min(pauses) < 0.1
    assert max(pauses) > 0.9


# --- what the bus reads from it -------------------------------------------------------------------------------------------


def test_gate_is_a_lossless_queue_of_its_own() -> None:
    assert Policy(queue_size=1).is_gate
    assert Policy(queue_size=1, overflow=Overflow.BLOCK).is_gate
    assert Policy(queue_size=1, overflow=Overflow.REJECT).is_gate
    assert not Policy().is_gate
    assert not Policy(queue_size=1, overflow=Overflow.DROP_OLDEST).is_gate


def test_deadline_concurrency_and_isolation_need_a_task() -> None:
    assert not Policy().needs_task
    assert Policy(timeout=1.0).needs_task
    assert Policy(concurrency=2).needs_task
    assert Policy(isolation="task").needs_task


def test_policies_are_values() -> None:
    assert Policy(concurrency=2) == Policy(concurrency=2)
    assert OnFailure("dead_letter") is Policy().on_failure
