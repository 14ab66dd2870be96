"""Direction desk: keeps the direction model running in shadow and tells its losses beside those of the base rate.

Its versions go through the same gate as every model's. The losses are metrics, because a probability is no log range.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from eventbus import EventBus
from quantum_trader.events import MetricRecordedEvent
from quantum_trader.learning.catalogue import DIRECTION
from quantum_trader.learning.direction import DirectionModel
from quantum_trader.learning.evaluation import MODEL_LOSS
from quantum_trader.model import Bar


class DirectionDesk:
    """Feeds the model. `version` is the registered one that its losses count for; 0 is the base rate."""

    def __init__(self, bus: EventBus, source: str) -> None:
        self._bus = bus
        self._source = source
        self._model = DirectionModel()
        self.name = DirectionModel.name
        self.version = 0
        self.outcomes = 0  # predictions that came due

    def parameters(self) -> dict[str, Any]:
        """The fitted model, for the registry."""
        return self._model.state()

    async def take(self, bars: Sequence[Bar], session: int, at: datetime) -> bool:
        """Learn from the session; True when predictions of a registered version came due and were told."""
        due = [one for bar in bars if (one := self._model.update(bar.symbol, bar.close)) is not None]
        self.outcomes += len(due)
        if not due or not self.version:
            return False
        losses = {0: _mean([one.base_loss for one in due]), self.version: _mean([one.loss for one in due])}
        await self._bus.publish_many(
            [
                MetricRecordedEvent(
                    metric=MODEL_LOSS,
                    value=loss,
                    unit="Brier score",
                    labels={"model": DIRECTION, "version": str(version)},
                    session=session,
                    timestamp=at,
                    source=self._source,
                )
                for version, loss in losses.items()
            ]
        )
        return True

    def state(self) -> dict[str, Any]:
        """Everything needed to go on after a restart, in plain JSON values."""
        return {"model": self._model.state(), "version": self.version, "outcomes": self.outcomes}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become what `state()` described."""
        self._model.restore(state["model"])
        self.version, self.outcomes = state["version"], state["outcomes"]


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
