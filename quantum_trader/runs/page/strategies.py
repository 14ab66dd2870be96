"""Strategies: who stood in which stage, what it earned, and the gate that stopped it, for the page of a run."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Final

from quantum_trader.runs.page.journeys import Journey

_STAGES: Final = ("LIVE", "SHADOW", "BACKTEST", "RETIRED")


def strategies(db: sqlite3.Connection, trips: Iterable[Journey]) -> list[dict[str, Any]]:
    """A row for each strategy that was ever made, the live ones first."""
    rows: dict[str, dict[str, Any]] = {}
    for (text,) in db.execute("SELECT event FROM events WHERE type = 'strategy.created' ORDER BY number"):
        told = json.loads(text)
        params = ", ".join(f"{name} {value}" for name, value in told["params"].items())
        rows[told["strategy_id"]] = _row(told["strategy_id"], params) | {"since": told["timestamp"][:10]}
    for (text,) in db.execute("SELECT event FROM promotions WHERE type = 'strategy.promoted' ORDER BY number"):
        told = json.loads(text)
        row = rows.setdefault(told["strategy_id"], _row(told["strategy_id"], ""))
        row["stage"], row["since"], row["why"] = told["to_stage"], told["timestamp"][:10], told["reason"]
    for (text,) in db.execute("SELECT event FROM events WHERE type = 'evaluation.completed' ORDER BY number"):
        told = json.loads(text)
        if told["subject_kind"] == "STRATEGY" and told["subject_id"] in rows:
            row = rows[told["subject_id"]]
            row["psr"], row["dsr"] = told["metrics"].get("psr"), told["metrics"].get("dsr")
            row["gate"] = told["purpose"] if told["verdict"] == "FAIL" else ""
            row["missed"] = ", ".join(told["reasons"]) if told["verdict"] == "FAIL" else ""
    results: defaultdict[str, list[float]] = defaultdict(list)
    for trip in trips:
        if trip.left:
            results[trip.strategy].append(trip.result)
    for name, earned in results.items():
        row = rows.setdefault(name, _row(name, ""))
        row["trades"], row["result"] = len(earned), sum(earned)
    return sorted(rows.values(), key=lambda row: (_STAGES.index(row["stage"]), -row["result"], row["id"]))


def _row(name: str, params: str) -> dict[str, Any]:
    return {
        "id": name,
        "params": params,
        "stage": "BACKTEST",
        "since": "",
        "why": "",
        "trades": 0,
        "result": 0.0,
        "psr": None,
        "dsr": None,
        "gate": "",
        "missed": "",
    }
