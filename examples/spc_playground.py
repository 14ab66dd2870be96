"""Control charts on data with a known fault: which rule fires, and how many points after the fault began.

Noise first, for the baseline; then a shift, a trend, a mixture of two sources, an alternation, or values averaged until
they hug the centre. Every rule finds the fault that it was made for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np

from eventbus import InMemoryEventBus
from quantum_trader.events import MetricRecordedEvent, ViolationCreatedEvent
from quantum_trader.monitoring.characteristics import Characteristics
from quantum_trader.monitoring.rules import RULES
from quantum_trader.monitoring.spc_engine import SpcEngine

START = datetime(2020, 1, 1, tzinfo=UTC)
BASELINE = 250
FAULTY = 60  # points after the baseline
RUNS = 5
ALL_RULES = tuple(rule.id for rule in RULES)

# What a fault makes of standard normal noise `x`, `at` points after it began; and the rules made for it.
Fault = Callable[[float, int], float]
FAULTS: dict[str, tuple[Fault, set[int]]] = {
    "outlier, 5 sigma once": (lambda x, at: 5.0 if at == 0 else x, {1}),
    "shift by 1 sigma": (lambda x, at: x + 1.0, {2, 6}),
    "shift by 2 sigma": (lambda x, at: x + 2.0, {1, 2, 5, 6}),
    "trend, 0.3 sigma a point": (lambda x, at: 0.3 * x + 0.3 * at, {1, 2, 3, 5, 6}),
    "alternation": (lambda x, at: 0.2 * x + (0.9 if at % 2 else -0.9), {4}),
    "values averaged": (lambda x, at: 0.3 * x, {7}),
    "mixture of two sources": (lambda x, at: 0.3 * x + (2.0 if x > 0 else -2.0), {8}),
}


async def first_alarms(fault: Fault, seed: int) -> dict[int, int]:
    """Points from the start of the fault to the first alarm of each rule, alarms on the noise before it left out."""
    noise = np.random.Generator(np.random.Philox(key=seed)).standard_normal(BASELINE + FAULTY)
    found: dict[int, int] = {}

    async def note(event: ViolationCreatedEvent) -> None:
        # A rule that looks back needs all of its points in the fault to be counted as finding it.
        delay = event.sample_id - BASELINE
        if min(event.involved) >= BASELINE:
            found.setdefault(event.rule_id, delay + 1)

    async with InMemoryEventBus() as bus:
        known = Characteristics(bus)
        SpcEngine(bus)
        bus.subscribe(ViolationCreatedEvent, note)
        await known.create(
            "playground", {"type": "imr", "baseline": BASELINE, "rebase": None, "rules": ALL_RULES}, at=START
        )
        await bus.drain()
        for at, x in enumerate(noise.tolist()):
            value = x if at < BASELINE else fault(x, at - BASELINE)
            await bus.publish(
                MetricRecordedEvent(
                    metric="playground", value=value, unit="1", session=at, timestamp=START + timedelta(days=at)
                )
            )
        await bus.drain()
        assert len(bus.dead_letters) == 0
    return found


async def main() -> None:
    names = {rule.id: rule.name for rule in RULES}
    print(f"points until a rule fires, median of {RUNS} runs; in brackets how many runs it fired in")
    for name, (fault, made_for) in FAULTS.items():
        runs = [await first_alarms(fault, seed) for seed in range(RUNS)]
        delays = {rule: sorted(run[rule] for run in runs if rule in run) for rule in ALL_RULES}
        told = ", ".join(
            f"{names[rule]} {found[len(found) // 2]} ({len(found)})" for rule, found in delays.items() if found
        )
        print(f"  {name:26} {told}")
        assert any(len(delays[rule]) == RUNS for rule in made_for), f"{name}: no rule made for it fired in every run"

    shift_1, shift_2 = (
        [min(run.values()) for run in [await first_alarms(FAULTS[name][0], seed) for seed in range(RUNS)]]
        for name in ("shift by 1 sigma", "shift by 2 sigma")
    )
    print(
        f"a larger fault is found sooner: {sum(shift_1) / RUNS:.1f} points at 1 sigma, {sum(shift_2) / RUNS:.1f} at 2"
    )
    assert sum(shift_2) < sum(shift_1)


if __name__ == "__main__":
    asyncio.run(main())
