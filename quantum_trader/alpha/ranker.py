"""Opportunity ranker: keeps each symbol's history and says which symbols deserve capital next.

Bars in, `opportunities.updated` out: every few sessions, and whenever an exclusion or the wanted number changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from eventbus import EventBus
from quantum_trader.alpha.ranking import WEIGHTS, Components, Exclusion, Ranking, SymbolHistory, rank
from quantum_trader.events import (
    Alive,
    ComponentHeartbeatEvent,
    MarketBarEvent,
    OpportunitiesUpdatedEvent,
    PolicyUpdatedEvent,
    RunStartedEvent,
    SessionClosedEvent,
    unwatched,
)
from quantum_trader.model import Station

SOURCE = "opportunity_ranker"


class OpportunityRanker:
    """Wires the ranking to the bus. `every`: sessions between two rankings; `top_n`: members until a policy says."""

    publishes: ClassVar = (OpportunitiesUpdatedEvent, ComponentHeartbeatEvent)

    def __init__(
        self,
        bus: EventBus,
        *,
        every: int = 5,
        top_n: int = 5,
        weights: Components = WEIGHTS,
        lead: float = 0.05,
        min_dollar_volume: float = 5e6,
        alive: Alive = unwatched,
    ) -> None:
        self._bus = bus
        self._alive = alive
        self._every = every
        self._weights = weights
        self._lead = lead
        self._min_dollar_volume = min_dollar_volume
        self._histories: dict[str, SymbolHistory] = {}
        self._top_n = top_n
        self._wanted = [(-1, top_n)]  # session told in, number: a number told in a session counts from the next
        self._last: Ranking | None = None
        bus.subscribe(MarketBarEvent, self.on_bar, name="ranker.bar")
        bus.subscribe(PolicyUpdatedEvent, self.on_policy_updated, name="ranker.policy")
        bus.subscribe(SessionClosedEvent, self.on_session_closed, name="ranker.closed")

    async def on_bar(self, event: MarketBarEvent) -> None:
        history = self._histories.get(event.symbol)
        if history is None:
            history = self._histories[event.symbol] = SymbolHistory()
        history.update(event.bar)

    async def on_policy_updated(self, event: PolicyUpdatedEvent) -> None:
        self._wanted.append((event.session, event.top_n))

    async def on_session_closed(self, event: SessionClosedEvent) -> None:
        if self._is_due(event.session):
            await self._rank(event)
        self._alive(Station.RANKER, SOURCE)

    async def _rank(self, event: SessionClosedEvent) -> None:
        ranking = self._last = rank(
            self._histories,
            event.session,
            top_n=self._top_n,
            incumbents=() if self._last is None else self._last.top,
            weights=self._weights,
            lead=self._lead,
            min_dollar_volume=self._min_dollar_volume,
        )
        await self._bus.publish(
            OpportunitiesUpdatedEvent(
                top_symbols=ranking.top,
                scores={symbol: round(score, 9) for symbol, score in ranking.scores.items()},
                criteria={"weights": self._weights._asdict(), "lead": self._lead, "top_n": self._top_n},
                excluded_count=len(ranking.excluded),
                session=event.session,
                effective_session=event.session,
                components={symbol: ranks._asdict() for symbol, ranks in ranking.ranks.items()},
                excluded={symbol: reason.value for symbol, reason in ranking.excluded.items()},
                timestamp=event.timestamp,
                source=SOURCE,
            )
        )

    def state(self) -> dict[str, Any]:
        """Everything needed to go on after a restart, in plain JSON values."""
        last = self._last
        return {
            "histories": {symbol: history.state() for symbol, history in self._histories.items()},
            "top_n": self._top_n,
            "wanted": [list(told) for told in self._wanted],
            "last": last
            and {
                "top": list(last.top),
                "scores": dict(last.scores),
                "ranks": {symbol: list(ranks) for symbol, ranks in last.ranks.items()},
                "excluded": {symbol: reason.value for symbol, reason in last.excluded.items()},
            },
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become what `state()` described."""
        self._histories = {symbol: SymbolHistory() for symbol in state["histories"]}
        for symbol, saved in state["histories"].items():
            self._histories[symbol].restore(saved)
        self._top_n = state["top_n"]
        self._wanted = [(session, number) for session, number in state["wanted"]]
        last = state["last"]
        self._last = last and Ranking(
            tuple(last["top"]),
            dict(last["scores"]),
            {symbol: Components(*ranks) for symbol, ranks in last["ranks"].items()},
            {symbol: Exclusion(reason) for symbol, reason in last["excluded"].items()},
        )

    def _is_due(self, session: int) -> bool:
        top_n = [number for told, number in self._wanted if told < session][-1]
        self._wanted = [(-1, top_n), *((told, number) for told, number in self._wanted if told >= session)]
        changed, self._top_n = top_n != self._top_n, top_n
        if self._last is None or changed or session % self._every == 0:
            return True
        least = self._min_dollar_volume
        excluded = {
            symbol: reason
            for symbol, history in self._histories.items()
            if (reason := history.exclusion(session, min_dollar_volume=least)) is not None
        }
        return excluded != self._last.excluded


class OpenRanker:
    """Lets every symbol in, with equal scores: for runs that study something else than ranking."""

    publishes: ClassVar = (OpportunitiesUpdatedEvent,)

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus
        bus.subscribe(RunStartedEvent, self.on_run_started, name="ranker.run")

    async def on_run_started(self, event: RunStartedEvent) -> None:
        await self._bus.publish(
            OpportunitiesUpdatedEvent(
                top_symbols=event.universe,
                scores=dict.fromkeys(event.universe, 0.5),
                timestamp=event.timestamp,
                source=SOURCE,
            )
        )
