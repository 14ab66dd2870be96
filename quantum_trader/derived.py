"""Derived: what the components of a system are built with, worked out of its configuration and its feed.

Plain functions; what cannot be used is refused here, before anything is made.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Any

from quantum_trader.alpha.families import StrategySpec
from quantum_trader.brought import connector, own_builders, own_checks, own_strategy
from quantum_trader.config import Config, ConfigError
from quantum_trader.control.sizing import SizingRules
from quantum_trader.feeds.paper import PaperFeed
from quantum_trader.market.calendar import Feed, Rhythm, rhythm
from quantum_trader.market.dataset import Dataset, load_dataset
from quantum_trader.market.library import find
from quantum_trader.model import Station
from quantum_trader.monitoring.alerts import DRAWDOWN, ladder_settings
from quantum_trader.monitoring.characteristics import UnusableCharacteristic, chart_spec

LOOKED_AT = 5_000  # sessions that tell the rhythm of a feed


def check(config: Config) -> None:
    """Raise the `ConfigError` that building a system with `config` would, before anything is made."""
    own_strategy(config.own)
    own_checks(config)
    own_builders(config)
    connector(config)
    seeds(config)
    watched(config)


def seeds(config: Config) -> list[StrategySpec]:
    """The seed population. Raises `ConfigError` for a family or parameter that cannot be used."""
    found = []
    for number, seed in enumerate(config.strategies.seeds):
        try:
            found.append(StrategySpec(seed.family, tuple(seed.params)))
        except ValueError as cause:
            raise ConfigError(
                "strategies.toml", f"strategies.seeds.{number}", str(cause), remedy="correct the seed"
            ) from cause
    return found


def sizing_rules(config: Config, pace: Rhythm) -> SizingRules:
    """How entries are sized; the cost set aside is fee, half spread and the impact of an order at its largest."""
    execution = config.execution
    impact_bp = execution.impact_bp * execution.participation**0.5
    return SizingRules(
        config.sizing,
        config.risk,
        cost=float(execution.fee_rate) + (execution.half_spread_bp + impact_bp) / 1e4,
        sessions_a_day=pace.sessions_a_day,
    )


def watched(config: Config) -> dict[str, dict[str, Any]]:
    """The control charts, and the ladder for the drawdown, by name. Raises `ConfigError` for one that cannot be drawn."""
    if not config.spc.enabled:
        return {}
    found: dict[str, dict[str, Any]] = {name: chart.model_dump() for name, chart in config.spc.charts.items()}
    found[DRAWDOWN] = ladder_settings(config.risk.max_drawdown)
    for name, settings in found.items():
        try:
            chart_spec(name, settings)
        except UnusableCharacteristic as cause:
            raise ConfigError("spc.toml", "spc.charts", str(cause), remedy="correct the chart") from cause
    return found


def load_feed(config: Config) -> Dataset:
    """The bars that the configuration asks for. Raises `DataError`, `ConfigError` for a date that is none."""
    universe = config.universe
    path = find(universe.dataset, Path(config.app.data_directory))
    return load_dataset(
        path,
        symbols=universe.symbols or None,
        start=_date("start", universe.start),
        end=_date("end", universe.end),
        align=universe.align,
    )


def _date(key: str, text: str) -> date | None:
    if not text:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError as cause:
        raise ConfigError(
            "configuration", f"universe.{key}", f"{text!r} is no date", remedy="write it as 2008-09-15"
        ) from cause


def rhythm_of(feed: Feed, config: Config) -> Rhythm:
    """How often the feed has a session, from its first ones; the configuration may say how many a year has."""
    found = feed.rhythm if isinstance(feed, PaperFeed) else rhythm([group.ts for group in islice(feed, LOOKED_AT)])
    said = config.app.periods_per_year
    return found if said is None else replace(found, periods_per_year=said)


def run_id_of(config: Config) -> str:
    """The name of every run with this configuration: they all decide the same."""
    return f"run-{config.sha256()[:12]}-{config.app.seed}"


def watched_by(config: Config) -> list[Station]:
    """Who must say after every session that it is alive."""
    return [station for station in Station if station is not Station.RANKER or config.ranker.enabled]
