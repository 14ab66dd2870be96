"""Subjects: what an evaluation asks of everything that can be measured, strategies and models alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from quantum_trader.events import EvaluationRequestedEvent
from quantum_trader.learning.lifecycle import Verdict


class UnknownSubject(LookupError):
    """Nothing is known of what is to be evaluated. Create or train it first."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Figures of a subject over the window asked for, and the verdict of the gate that its purpose names.

    `replaces` are those in its way that it is surely better than.
    """

    metrics: dict[str, float]
    verdict: Verdict
    replaces: tuple[str, ...] = ()


class Subjects(Protocol):
    """Everything of one kind that can be evaluated."""

    def measure(self, request: EvaluationRequestedEvent) -> Measured:
        """Measure over `first_session`..`last_session`. Raises UnknownSubject, and whatever a subject's code raises."""
        ...
