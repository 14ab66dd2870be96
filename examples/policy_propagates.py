"""A policy reaches everybody before the next decision: the year 2008, replayed.

Volatility, then a drawdown of a tenth, make the meta strategy controller go DEFENSIVE, and so it is when autumn comes. The
same version of its policy is what the orchestrator, the balancer and the risk guard go by when the session is decided.
Where a turn leaves too much invested, it is trimmed.
"""

from __future__ import annotations

import asyncio
from itertools import pairwise

from eventbus import InMemoryEventBus
from quantum_trader.app import build, load_feed
from quantum_trader.config import load_config
from quantum_trader.events import OrderApprovedEvent, OrdersProposedEvent, PolicyUpdatedEvent, SessionDecideEvent
from quantum_trader.model import OrderKind, RiskMode

AUTUMN = {(2008, 9), (2008, 10)}


async def main() -> None:
    config = load_config(
        environ={},
        overrides={
            "universe": {"symbols": ("AAPL", "IBM"), "start": "2006-01-03", "end": "2008-12-31"},
            "strategies": {"all_live": True},
        },
    )
    bus = InMemoryEventBus(max_queue_size=100_000)
    system = build(bus, config, load_feed(config))
    policies: list[PolicyUpdatedEvent] = []
    trims: list[OrderApprovedEvent] = []
    disagreements: list[int] = []
    proposals: dict[int, int] = {}

    @bus.on(PolicyUpdatedEvent)
    async def on_policy(event: PolicyUpdatedEvent) -> None:
        policies.append(event)

    @bus.on(SessionDecideEvent)
    async def on_decide(event: SessionDecideEvent) -> None:
        # The barrier has been drained: whoever decides now knows the newest policy, or the barrier is no barrier.
        newest = policies[-1].version
        known = {
            system.orchestrator.policy.version if system.orchestrator.policy else 0,
            system.balancer.policy.version if system.balancer.policy else 0,
            system.guard.risk.policy.version if system.guard.risk.policy else 0,
        }
        if known != {newest}:
            disagreements.append(event.session)

    @bus.on(OrdersProposedEvent)
    async def on_proposed(event: OrdersProposedEvent) -> None:
        proposals[event.session] = event.policy_version

    @bus.on(OrderApprovedEvent)
    async def on_approved(event: OrderApprovedEvent) -> None:
        if event.kind is OrderKind.TRIM:
            trims.append(event)

    async with bus:
        await system.run()
    system.close()

    turns = [
        event for before, event in pairwise(policies) if event.risk_mode is RiskMode.DEFENSIVE is not before.risk_mode
    ]
    crisis = [event for event in turns if event.timestamp.year == 2008]
    autumn = {event.risk_mode for event in policies if (event.timestamp.year, event.timestamp.month) in AUTUMN}
    for event in crisis:
        print(
            f"{event.timestamp.date()}: {event.risk_mode} (version {event.version}), because {', '.join(event.reasons)}"
        )
    print(
        f"{len(policies)} policies over {len(proposals)} sessions, {len(trims)} trims, {len(disagreements)} disagreements"
    )

    assert crisis, "the crisis of 2008 went unnoticed"
    assert autumn == {RiskMode.DEFENSIVE}, "it did not last until autumn"
    assert disagreements == []
    assert any(0 <= trim.session - turn.session <= 5 for trim in trims for turn in turns), (
        "no turn was followed by a trim"
    )
    assert all(proposals[event.session] == event.version for event in crisis)
    assert len(bus.dead_letters) == 0


if __name__ == "__main__":
    asyncio.run(main())
