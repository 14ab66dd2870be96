"""Order states: the table, its invariants under random events, and what a refused event leaves behind: nothing."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantum_trader.execution.order_state import (
    TERMINAL,
    TRANSITIONS,
    IllegalTransition,
    OrderState,
    Step,
    WorkingOrder,
)
from quantum_trader.model import Order, OrderKind, Side

QTY = Decimal(10)


def fresh(state: OrderState = OrderState.NEW) -> WorkingOrder:
    order = Order("1-s-AAPL-BUY-1", "i", "s", "AAPL", Side.BUY, OrderKind.ENTRY, QTY, 100.0, stop=95.0, session=1)
    return WorkingOrder(order, state, expires_session=4)


def fitting(working: WorkingOrder, step: Step, draw: int) -> Decimal:
    """A quantity that suits the step, where there is one."""
    match step:
        case Step.FILL_REST:
            return working.leaves
        case Step.FILL_PART:
            return Decimal(1 + draw % max(1, int(working.leaves) - 1))
        case _:
            return Decimal(0)


def test_order_walks_to_its_end_through_partial_fills() -> None:
    working = fresh()
    for step, qty in [
        (Step.APPROVE, 0),
        (Step.ACCEPT, 0),
        (Step.FILL_PART, 3),
        (Step.FILL_PART, 6),
        (Step.FILL_REST, 1),
    ]:
        assert working.apply(step, f"{step}-{working.filled}", qty=Decimal(qty))
    assert (working.state, working.filled, working.leaves, working.fills) == (OrderState.FILLED, QTY, Decimal(0), 3)


def test_no_transition_leaves_a_terminal_state() -> None:
    assert {state for state, _ in TRANSITIONS} == set(OrderState) - TERMINAL


@pytest.mark.parametrize("state", OrderState)
@pytest.mark.parametrize("step", Step)
def test_what_the_table_lacks_raises_and_changes_nothing(state: OrderState, step: Step) -> None:
    working = fresh(state)
    before = working.export()
    if (state, step) in TRANSITIONS:
        assert working.apply(step, "e", qty=fitting(working, step, 0))
        assert working.state is TRANSITIONS[state, step]
        return
    with pytest.raises(IllegalTransition, match=rf"1-s-AAPL-BUY-1: {step} in state {state}") as raised:
        working.apply(step, "e", qty=fitting(working, step, 0))
    assert (raised.value.state, raised.value.step) == (state, step)
    assert working.export() == before


@pytest.mark.parametrize(
    ("step", "qty"),
    [(Step.FILL_PART, 0), (Step.FILL_PART, QTY), (Step.FILL_REST, QTY - 1), (Step.FILL_REST, 11), (Step.CANCEL, 1)],
)
def test_fill_that_does_not_fit_raises_and_changes_nothing(step: Step, qty: Decimal) -> None:
    working = fresh(OrderState.ACCEPTED)
    before = working.export()
    with pytest.raises(IllegalTransition, match="does not fit"):
        working.apply(step, "e", qty=qty)
    assert working.export() == before


def test_exact_duplicate_is_ignored_even_after_the_end() -> None:
    working = fresh(OrderState.ACCEPTED)
    assert working.apply(Step.FILL_REST, "f#1", qty=QTY)
    assert not working.apply(Step.FILL_REST, "f#1", qty=QTY)
    assert working.filled == QTY


def test_known_event_id_with_another_meaning_is_illegal() -> None:
    working = fresh(OrderState.ACCEPTED)
    working.apply(Step.FILL_PART, "f#1", qty=Decimal(4))
    with pytest.raises(IllegalTransition, match="already taken as FILL_PART of 4"):
        working.apply(Step.FILL_PART, "f#1", qty=Decimal(5))
    assert working.filled == 4


@given(st.lists(st.tuples(st.sampled_from(Step), st.integers(0, 12).map(Decimal), st.integers(0, 6)), max_size=30))
def test_random_events_keep_the_invariants(events: list[tuple[Step, Decimal, int]]) -> None:
    working = fresh()
    for step, qty, number in events:
        before, filled, was_terminal = working.export(), working.filled, working.is_terminal
        try:
            changed = working.apply(step, f"e{number}", qty=qty)
        except IllegalTransition:
            changed = False
        if not changed:
            assert working.export() == before
        assert not (was_terminal and changed)
        assert 0 <= filled <= working.filled <= QTY
        assert working.leaves == (0 if working.is_terminal else QTY - working.filled)
        assert (working.state is OrderState.FILLED) == (working.filled == QTY)


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 8)), max_size=12))
def test_random_legal_events_end_in_a_terminal_state_or_wait(choices: list[tuple[int, int]]) -> None:
    working = fresh()
    for number, (choice, draw) in enumerate(choices):
        legal = [step for state, step in TRANSITIONS if state is working.state]
        # One share left cannot be filled in part.
        legal = [step for step in legal if step is not Step.FILL_PART or working.leaves > 1]
        if not legal:
            assert working.is_terminal
            return
        step = legal[choice % len(legal)]
        assert working.apply(step, f"e{number}", qty=fitting(working, step, draw))
        assert WorkingOrder.load(json.loads(json.dumps(working.export()))) == working
