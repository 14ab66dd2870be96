"""Policy: decisions as values, made without a loop."""

from __future__ import annotations

import math
import random
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventbus import (
    Event,
    InMemoryEventBus,
    Kind,
    OnFailure,
    Overflow,
    Policy,
    PolicyConflict,
    PolicyOptions,
    Reject,
    Retry,
    RetryLater,
)
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


class Unprintable(Exception):
    """Whatever looks at it is sorry."""

    __hash__ = None  # type: ignore[assignment] # on purpose

    def __str__(self) -> str:
        raise RuntimeError("no")

    def __repr__(self) -> str:
        raise RuntimeError("no")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no")


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
        ("isolation", ["task"]),
        ("concurrency", True),
        ("concurrency", None),
        ("queue_size", True),
        ("timeout", float("inf")),
        ("timeout", True),
        ("timeout", "2"),
        ("timeout", 1e300),
        ("timeout", 10**400),
        ("timeout", timedelta(seconds=1)),
        ("max_age", float("nan")),
        ("max_age", -1),
        ("where", "symbol"),
        ("key", 3),
        ("key", ""),
        ("retry", 3),
        ("overflow", "spill"),
        ("overflow", 1),
        ("on_failure", "ignore"),
        ("on_failure", None),
        ("retry", Unprintable()),
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
    ("argument", "value"),
    [
        ("attempts", 0),
        ("attempts", None),
        ("attempts", 2.0),
        ("attempts", True),
        ("delay", -1.0),
        ("delay", math.inf),
        ("delay", math.nan),
        ("delay", None),
        ("delay", "1"),
        ("delay", timedelta(seconds=1)),
        ("factor", 0.5),
        ("factor", math.inf),
        ("factor", True),
        ("max_delay", -0.1),
        ("max_delay", math.inf),
        ("max_delay", "1"),
        ("jitter", 1),
        ("out_of_order", "no"),
        ("on", OSError),
        ("on", OSError()),
        ("on", ()),
        ("on", "OSError"),
        ("on", None),
        ("on", [OSError, int]),
        ("on", [ExceptionGroup]),
        ("on", Unprintable()),
    ],
)
def test_impossible_retry_is_refused(argument: str, value: Any) -> None:
    with pytest.raises(PolicyConflict, match="retry") as caught:
        Retry(**{argument: value})
    assert caught.value.argument == f"retry.{argument}"


@pytest.mark.parametrize("on", [[OSError], {OSError}, iter([OSError])], ids=["list", "set", "iterator"])
def test_exceptions_may_come_in_any_iterable(on: Any) -> None:
    retry = Retry(on=on)
    assert retry == Retry(on=(OSError,))
    assert isinstance(Policy(retry=retry).after(ConnectionError(), attempt=1, rng=RNG), RetryIn)


def test_longest_pause_follows_the_delay_unless_given() -> None:
    assert Retry(delay=60, jitter=False).pause(1, RNG) == 60
    assert Retry(delay=60, jitter=False).pause(2, RNG) == 60
    assert Retry(delay=20, jitter=False).pause(9, RNG) == 30
    assert Retry(delay=1, max_delay=None, jitter=False).pause(11, RNG) == 1024
    assert Retry(delay=1, max_delay=None, jitter=False).pause(10_000, RNG) < math.inf
    with pytest.raises(PolicyConflict, match="less than delay"):
        Retry(delay=60, max_delay=59.9)


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
    assert Policy().after(RetryLater(after=2.5), attempt=9, rng=RNG) == RetryIn(2.5)
    assert isinstance(Policy().after(RetryLater(after=2.5), attempt=10, rng=RNG), GiveUp)
    two = Policy(retry=Retry(attempts=2, delay=4.0, jitter=False))
    assert two.after(RetryLater(), attempt=1, rng=RNG) == RetryIn(4.0)
    assert isinstance(two.after(RetryLater(after=0.1), attempt=2, rng=RNG), GiveUp)


def fails(*causes: BaseException) -> BaseException:
    """What a task group, in another, makes of exceptions of its children."""
    return BaseExceptionGroup("unhandled errors in a TaskGroup", [BaseExceptionGroup("inner", causes)])


def test_a_group_is_retried_when_everything_in_it_may_be() -> None:
    policy = Policy(retry=Retry(on=(OSError,), delay=2, jitter=False))
    assert policy.after(fails(ConnectionResetError(), OSError()), attempt=1, rng=RNG) == RetryIn(2)
    assert policy.after(fails(ConnectionResetError(), ValueError()), attempt=1, rng=RNG) == GiveUp("handler failed")
    assert policy.after(fails(OSError()), attempt=3, rng=RNG) == GiveUp("handler failed 3 times")
    assert Policy().after(fails(OSError()), attempt=1, rng=RNG) == GiveUp("handler failed")
    assert isinstance(Policy(retry=Retry()).after(fails(OSError(), SystemExit()), attempt=1, rng=RNG), GiveUp)


def test_one_rejection_in_a_group_rejects_it() -> None:
    failure = fails(OSError(), Reject("no such desk"), RetryLater(after=1))
    assert Policy(retry=Retry()).after(failure, attempt=1, rng=RNG) == GiveUp("rejected: no such desk")


def test_the_longest_wait_in_a_group_counts() -> None:
    assert Policy().after(fails(RetryLater(after=1), RetryLater(after=3)), attempt=1, rng=RNG) == RetryIn(3)
    assert Policy(retry=Retry()).after(fails(RetryLater(after=9), OSError()), attempt=1, rng=RNG) == RetryIn(9)
    assert Policy().after(fails(RetryLater(after=9), OSError()), attempt=1, rng=RNG) == GiveUp("handler failed")


def test_whatever_an_exception_does_it_is_answered() -> None:
    class NoReason(Reject):
        def __init__(self) -> None:
            pass

    class Odd(RetryLater):
        def __init__(self) -> None:
            self.after = math.nan

    class Liar(Exception):
        @property  # type: ignore[misc] # on purpose
        def __class__(self) -> Any:
            raise RuntimeError("no")

    policy = Policy(retry=Retry(on=(OSError,)))
    for failure in (NoReason(), Odd(), Liar(), Unprintable(), fails(NoReason(), Odd(), Unprintable())):
        assert isinstance(policy.after(failure, attempt=1, rng=RNG), GiveUp)
    late = RetryLater("busy")
    late.__dict__["after"] = "soon"
    assert isinstance(policy.after(late, attempt=1, rng=RNG), GiveUp)


retries = st.builds(
    lambda delay, more, **rest: Retry(delay=delay, max_delay=delay + more, **rest),
    attempts=st.integers(1, 50),
    delay=st.floats(0, 100),
    factor=st.floats(1, 10),
    more=st.floats(0, 1000),
    jitter=st.booleans(),
)


@given(retries, st.integers(1, 1_000), st.integers())
def test_pause_is_within_its_bounds(retry: Retry, attempt: int, seed: int) -> None:
    assert isinstance(retry.max_delay, float)
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


def test_policies_are_values() -> None:
    assert Policy(concurrency=2) == Policy(concurrency=2)
    assert OnFailure("dead_letter") is Policy().on_failure


def test_who_misspells_a_keyword_is_told_all_there_are() -> None:
    misspelt: Any = {"gruop": "ledger"}
    with pytest.raises(PolicyConflict, match="gruop: is no policy") as refused:
        InMemoryEventBus().subscribe("desk.opened", print, **misspelt)
    told = str(refused.value).partition("there are ")[2].split(", ")
    assert set(told) == set(PolicyOptions.__annotations__)
