"""Roster: strategies by stage, models with their challengers, and how symbols rank, for whoever looks at them."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from quantum_trader.events import (
    EvaluationCompletedEvent,
    ModelPromotedEvent,
    ModelRejectedEvent,
    ModelTrainedEvent,
    OpportunitiesUpdatedEvent,
    PredictionScoredEvent,
    StrategyCreatedEvent,
    StrategyPromotedEvent,
    TradeExecutedEvent,
)
from quantum_trader.model import StrategyLifecycle
from quantum_trader.web.folding import Hearing

STAGES: Final = tuple(stage.value for stage in StrategyLifecycle)
_MEMORY: Final = 1 / 60
"""Weight of the newest squared error in the loss that is shown of a model: about sixty sessions."""
_STEPS: Final = 8  # changes of stage that are shown of a strategy
_ROWS: Final = 200


class Strategies:
    """Every strategy there was, with its stage and the figures it was last judged by."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[str, Any]] = {}
        self._fills: Counter[str] = Counter()
        self._last: dict[str, Any] | None = None

    def hears(self) -> Hearing:
        return {
            StrategyCreatedEvent: self._created,
            StrategyPromotedEvent: self._promoted,
            EvaluationCompletedEvent: self._evaluated,
            TradeExecutedEvent: self._traded,
        }

    def view(self) -> dict[str, Any]:
        """By stage, LIVE first; of each the newest first."""
        rows = [{**row, "fills": self._fills[row["id"]]} for row in self._rows.values()]
        order = {"LIVE": 0, "SHADOW": 1, "BACKTEST": 2, "RETIRED": 3}
        rows.sort(key=lambda row: (order[row["stage"]], -row["psr"], row["id"]))
        counts = Counter(row["stage"] for row in rows)
        return {"stages": {stage: counts[stage] for stage in STAGES}, "rows": rows[:_ROWS], "last": self._last}

    def _row(self, strategy_id: str) -> dict[str, Any]:
        return self._rows.setdefault(
            strategy_id,
            {
                "id": strategy_id,
                "family": strategy_id.partition("-")[0],
                "stage": StrategyLifecycle.BACKTEST.value,
                "since": None,
                "psr": 0.0,
                "dsr": 0.0,
                "trades": 0,
                "profit_factor": None,
                "missed": [],
                "steps": [],
            },
        )

    def _created(self, event: StrategyCreatedEvent) -> None:
        self._row(event.strategy_id).update(family=event.family, since=event.timestamp.date().isoformat())

    def _promoted(self, event: StrategyPromotedEvent) -> None:
        row = self._row(event.strategy_id)
        date = event.timestamp.date().isoformat()
        step = {"date": date, "from": event.from_stage.value, "to": event.to_stage.value, "reason": event.reason}
        row |= {"stage": event.to_stage.value, "since": date, "steps": [*row["steps"], step][-_STEPS:]}
        self._last = {"id": event.strategy_id, "event_id": event.event_id, **step}

    def _evaluated(self, event: EvaluationCompletedEvent) -> None:
        if event.subject_kind != "STRATEGY":
            return
        metrics = event.metrics
        self._row(event.subject_id).update(
            psr=round(metrics.get("psr", 0.0), 4),
            dsr=round(metrics.get("dsr", 0.0), 4),
            trades=int(metrics.get("trades", 0)),
            profit_factor=round(metrics.get("profit_factor", 0.0), 2),
            missed=list(event.reasons)[:3],
            judged=event.purpose.value,
            verdict=event.verdict,
            event_id=event.event_id,
        )

    def _traded(self, event: TradeExecutedEvent) -> None:
        self._fills[event.strategy_id] += 1


class Models:
    """Each model: the live version's loss beside its challenger's, and the newest comparison of the two."""

    def __init__(self) -> None:
        self._loss: dict[tuple[str, int, str], float] = {}  # model, version, stage
        self._seen: dict[tuple[str, int, str], int] = {}  # session it was scored in last
        self._trained: dict[str, int] = {}
        self._verdicts: dict[str, dict[str, Any]] = {}
        self._live: dict[str, str] = {}

    def hears(self) -> Hearing:
        return {
            PredictionScoredEvent: self._scored,
            ModelTrainedEvent: self._was_trained,
            ModelPromotedEvent: self._promoted,
            ModelRejectedEvent: self._rejected,
        }

    def view(self) -> dict[str, Any]:
        """One row a model."""
        newest = max(self._seen.values(), default=0)
        rows = []
        for model in sorted({*self._trained, *(key[0] for key in self._loss)}):
            live, challenger = self._newest(model, "LIVE", newest), self._newest(model, "SHADOW", newest)
            rows.append(
                {
                    "model": model,
                    "trained": self._trained.get(model, 0),
                    "live": live,
                    "challenger": challenger,
                    **self._verdicts.get(model, {"verdict": None}),
                }
            )
        return {"rows": rows}

    def _newest(self, model: str, stage: str, session: int) -> dict[str, Any] | None:
        keys = [key for key in self._loss if key[0] == model and key[2] == stage and self._seen[key] == session]
        if not keys:
            return None
        key = max(keys, key=lambda key: key[1])
        return {"version": key[1], "loss": round(self._loss[key], 5)}

    def _scored(self, event: PredictionScoredEvent) -> None:
        squares: dict[tuple[str, int, str], list[float]] = {}
        for item in event.items:
            squares.setdefault((item.model, item.version, item.stage), []).append(item.error**2)
        for key, found in squares.items():
            mean = sum(found) / len(found)
            before = self._loss.get(key, mean)
            self._loss[key] = before + _MEMORY * (mean - before)
            self._seen[key] = event.session

    def _was_trained(self, event: ModelTrainedEvent) -> None:
        self._trained[event.model] = event.version

    def _promoted(self, event: ModelPromotedEvent) -> None:
        self._judged(event, event.model_name, "PROMOTED", f"v{event.old_version} -> v{event.new_version}")

    def _rejected(self, event: ModelRejectedEvent) -> None:
        self._judged(event, event.model_name, "REJECTED", event.reason)

    def _judged(self, event: ModelPromotedEvent | ModelRejectedEvent, model: str, verdict: str, why: str) -> None:
        metrics = event.metrics
        self._verdicts[model] = {
            "verdict": verdict,
            "why": why,
            "date": event.timestamp.date().isoformat(),
            "t": metrics.get("t"),
            "p": metrics.get("p"),
            "event_id": event.event_id,
        }


class Opportunities:
    """The newest ranking of symbols, with the five quantities it was made of."""

    def __init__(self) -> None:
        self._newest: OpportunitiesUpdatedEvent | None = None

    def hears(self) -> Hearing:
        return {OpportunitiesUpdatedEvent: self._updated}

    def view(self) -> dict[str, Any]:
        """Symbols by score, best first; those left out at the end, with the reason."""
        event = self._newest
        if event is None:
            return {"date": None, "rows": []}
        ranked = sorted(event.scores, key=lambda symbol: (-event.scores[symbol], symbol))
        top = set(event.top_symbols)
        rows: list[dict[str, Any]] = [
            {
                "symbol": symbol,
                "score": round(event.scores[symbol], 4),
                "top": symbol in top,
                "components": {name: round(value, 3) for name, value in event.components.get(symbol, {}).items()},
            }
            for symbol in ranked
        ]
        rows += [{"symbol": symbol, "excluded": reason} for symbol, reason in sorted(event.excluded.items())]
        return {"date": event.timestamp.date().isoformat(), "event_id": event.event_id, "rows": rows[:_ROWS]}

    def _updated(self, event: OpportunitiesUpdatedEvent) -> None:
        self._newest = event
