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
    found: dict[str, list[dict[int, int]]] = {}
    for name, (fault, made_for) in FAULTS.items():
        runs = found[name] = [await first_alarms(fault, seed) for seed in range(RUNS)]
        delays = {rule: sorted(run[rule] for run in runs if rule in run) for rule in ALL_RULES}
        told = ", ".join(
            f"{names[rule]} {after[len(after) // 2]} ({len(after)})" for rule, after in delays.items() if after
        )
        print(f"  {name:26} {told}")
        assert any(len(delays[rule]) == RUNS for rule in made_for), f"{name}: no rule made for it fired in every run"

    small, large = [sum(min(run.values()) for run in found[f"shift by {size} sigma"]) / RUNS for size in (1, 2)]
    print(f"a larger fault is found sooner: after {small:.1f} points at 1 sigma, {large:.1f} at 2")
    assert large < small


if __name__ == "__main__":
    asyncio.run(main())
