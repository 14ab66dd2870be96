"""Model subjects: how models are measured for an evaluation, by the losses of their forecasts, session by session.

The evaluation handler feeds them and asks; when something is measured, how often, and what follows, is not known here.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any, Final

from quantum_trader.config import ModelGateConfig
from quantum_trader.events import EvaluationRequestedEvent, Purpose, ScoreItem
from quantum_trader.learning.catalogue import ENSEMBLE, FIRST
from quantum_trader.learning.lifecycle import Challenge, Verdict, challenge, needs_rollback
from quantum_trader.learning.statistics import DieboldMariano, diebold_mariano
from quantum_trader.learning.subjects import Measured, UnknownSubject

LOSSES: Final = 400  # sessions of losses: the patience of the gate, and a rollback's window
_RANGE_OF_TWO: Final = 1.128  # mean range of two standard normal values: the individuals chart's d2
NEVER: Final = -1.0  # stands for "no violation" among metrics, which are numbers


class ModelSubjects:
    """Models by the losses of their forecasts, session by session; `live` and `before` say who competes with whom."""

    def __init__(self, gate: ModelGateConfig) -> None:
        self._gate = gate
        self._losses: dict[tuple[str, int], deque[tuple[int, float]]] = {}
        self._errors: dict[tuple[str, int], deque[tuple[int, float]]] = {}
        self._live: dict[str, int] = {FIRST[0]: FIRST[1]}
        self._before: dict[str, int] = {}

    def promote(self, model: str, old_version: int, new_version: int) -> None:
        """Another version of `model` is live now."""
        self._live[model], self._before[model] = new_version, old_version

    def score(self, session: int, items: Iterable[ScoreItem]) -> None:
        """Take the errors of a session: the loss is the mean over symbols of their squares."""
        errors: dict[tuple[str, int], list[float]] = {}
        for item in items:
            errors.setdefault((item.model, item.version), []).append(item.error)
        for (model, version), values in errors.items():
            self.loss(model, version, session, math.fsum(value**2 for value in values) / len(values))
            kept = self._errors.setdefault((model, version), deque(maxlen=LOSSES))
            kept.append((session, math.fsum(values) / len(values)))

    def loss(self, model: str, version: int, session: int, value: float) -> None:
        """Take the loss of a model in a session."""
        if (model, version) not in self._losses:
            self._forget(session - LOSSES)
            self._losses[model, version] = deque(maxlen=LOSSES)
        self._losses[model, version].append((session, value))

    def _forget(self, last: int) -> None:
        """Drop versions that have not been scored since session `last`: no window reaches back that far."""
        for series in (self._losses, self._errors):
            for key in [key for key, kept in series.items() if kept[-1][0] <= last]:
                del series[key]

    def measure(self, request: EvaluationRequestedEvent) -> Measured:
        model, version = request.subject_id, request.version
        first, last = request.first_session, request.last_session
        if request.purpose is Purpose.LIVE_REVIEW:
            comparison = self._compare(model, version, self._before.get(model, 0), first, last)
            verdict = (
                Verdict(False, ("beaten by the version before",))
                if needs_rollback(comparison, self._gate)
                else Verdict(True)
            )
            return Measured(_figures(comparison, None), verdict)
        comparison = self._compare(model, self._live.get(model, 0), version, first, last)
        quiet = self._since_violation((model, version), first, last)
        result = challenge(comparison, sessions_since_violation=quiet, gate=self._gate)
        return Measured(_figures(comparison, quiet), Verdict(result.answer is Challenge.PROMOTE, result.reasons))

    def _compare(self, model: str, live: int, challenger: int, first: int, last: int) -> DieboldMariano:
        ours, theirs = self._series(model, live), self._series(model, challenger)
        both = [session for session in sorted(ours) if session in theirs and first <= session <= last]
        return diebold_mariano([ours[session] for session in both], [theirs[session] for session in both])

    def _series(self, model: str, version: int) -> dict[int, float]:
        found = self._losses.get((model, version))
        # Where no version is live yet, a challenger competes with what is used instead: the combined forecast.
        if found is None and version == 0:
            found = self._losses.get((ENSEMBLE, 0))
        if found is None:
            raise UnknownSubject(f"model {model} version {version}: it was never scored")
        return dict(found)

    def _since_violation(self, key: tuple[str, int], first: int, last: int) -> int | None:
        """Sessions since the challenger's own mean error was last beyond 3 sigma, None if never."""
        series = [(session, error) for session, error in self._errors.get(key, ()) if first <= session <= last]
        if len(series) < 2:
            return None
        centre = math.fsum(error for _, error in series) / len(series)
        moves = [abs(b - a) for (_, a), (_, b) in pairwise(series)]
        sigma = math.fsum(moves) / len(moves) / _RANGE_OF_TWO
        if sigma <= 0:
            return None
        beyond = [session for session, error in series if abs(error - centre) > 3 * sigma]
        return last - beyond[-1] if beyond else None

    def state(self) -> dict[str, Any]:
        """Everything needed to go on after a restart, in plain JSON values."""
        return {
            "losses": [[*key, [list(point) for point in kept]] for key, kept in self._losses.items()],
            "errors": [[*key, [list(point) for point in kept]] for key, kept in self._errors.items()],
            "live": dict(self._live),
            "before": dict(self._before),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become what `state()` described."""
        self._losses, self._errors = _points(state["losses"]), _points(state["errors"])
        self._live, self._before = dict(state["live"]), dict(state["before"])


def comparison_of(metrics: Mapping[str, float]) -> tuple[DieboldMariano, int | None]:
    """The comparison that a model's evaluation measured, and the sessions since a violation, None if never."""
    quiet = metrics["since_violation"]
    dm = DieboldMariano(t=metrics["t"], p=metrics["p"], n=int(metrics["sessions"]), ratio=metrics["mse_ratio"])
    return dm, None if quiet == NEVER else int(quiet)


def _figures(comparison: DieboldMariano, quiet: int | None) -> dict[str, float]:
    return {
        "t": comparison.t,
        "p": comparison.p,
        "sessions": float(comparison.n),
        "mse_ratio": comparison.ratio,
        "since_violation": NEVER if quiet is None else float(quiet),
    }


def _points(saved: Iterable[Any]) -> dict[tuple[str, int], deque[tuple[int, float]]]:
    return {(model, version): deque(((a, b) for a, b in kept), maxlen=LOSSES) for model, version, kept in saved}
