"""Events of what users bring. They are told only where somebody brought something, so no shipped run knows them."""

from __future__ import annotations

from eventbus import Event
from quantum_trader.events.marks import Decision


class StrategyFailedEvent(Decision, Event, type="strategy.failed", key="strategy_id"):
    """A strategy of a user's own raised, or asked for what nobody can do. It is asked no more; what it holds is sold.

    `place` is file and line, `symbol` the one it was asked about, "" when it was asked about all.
    """

    strategy_id: str
    symbol: str
    session: int
    place: str
    error: str
    remedy: str
