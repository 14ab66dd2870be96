"""Events of alpha: what strategies want, how symbols rank, which strategies exist and at what stage."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from eventbus import Event, Kind
from quantum_trader.events.marks import Decision, Item, Weight
from quantum_trader.model import StrategyLifecycle


class SignalItem(Item):
    """One strategy wants another target in one symbol: 1 long, 0 flat. `confidence` is its PSR, scaled by the rank of the symbol.

    With a `weight` the target is that fraction of equity: 1 buys up to it, 0 sells down to it.
    """

    signal_id: str
    strategy_id: str
    stage: StrategyLifecycle
    symbol: str
    target: Literal[0, 1]
    reference_px: float
    stop_px: float | None = None
    confidence: float
    reason: str
    version: int = 1
    weight: Weight = None


class SignalsGeneratedEvent(Decision, Event, type="signals.generated", kind=Kind.SIGNAL):
    """What changed in the wishes of all strategies this session; once per session, often empty."""

    session: int
    items: tuple[SignalItem, ...] = ()


class OpportunitiesUpdatedEvent(Decision, Event, type="opportunities.updated"):
    """The ranking of symbols, effective from `effective_session` on. Scores are 0..1, best first in `top_symbols`."""

    top_symbols: Sequence[str]
    scores: Mapping[str, float]
    criteria: Mapping[str, Any] = Field(default_factory=dict)
    excluded_count: int = 0
    session: int = 0
    effective_session: int = 0
    components: Mapping[str, Mapping[str, float]] = Field(default_factory=dict)
    excluded: Mapping[str, str] = Field(default_factory=dict)  # symbol -> reason


class StrategyCreatedEvent(Decision, Event, type="strategy.created", key="strategy_id"):
    """A candidate exists; `trial_no` counts every candidate ever made in the run."""

    strategy_id: str
    family: str
    params: Mapping[str, int]
    parents: tuple[str, ...] = ()
    trial_no: int = 0
    session: int = 0


class StrategyPromotedEvent(
    Decision, Event, type="strategy.promoted", key="strategy_id", kind=Kind.CONTROL, retain=True
):
    """A strategy changed its stage: promotion, demotion and retirement alike.

    A step up counts only with the id of an evaluation that the strategy passed for it, or the operator's word; the
    registry knows which there are.
    """

    strategy_id: str
    from_stage: StrategyLifecycle
    to_stage: StrategyLifecycle
    reason: str
    metrics: Mapping[str, Any] = Field(default_factory=dict)
    evaluation_id: str | None = None
    session: int = 0

    @property
    def is_step_up(self) -> bool:
        """Whether it lets the strategy do more than before: to SHADOW or to LIVE."""
        return self.to_stage in (StrategyLifecycle.SHADOW, StrategyLifecycle.LIVE)


Warrant = Callable[[StrategyPromotedEvent], bool]
"""Whether a change of stage counts; asked in a later phase than the one it was told in."""


def steps_down_only(promotion: StrategyPromotedEvent) -> bool:
    """The warrant of whoever knows no registry: nobody is promoted."""
    return not promotion.is_step_up


class PromotionRefusedEvent(Decision, Event, type="strategy.promotion_refused", key="strategy_id"):
    """A step up did not count, `claimed_by` whoever published it: no evaluation that the strategy passed stands behind it."""

    strategy_id: str
    to_stage: StrategyLifecycle
    code: Literal["FORGED_PROMOTION"] = "FORGED_PROMOTION"
    evaluation_id: str | None = None
    claimed_by: str = ""
    session: int = 0
