"""The public face: its names are promised, documented, and all that a user needs besides `eventbus`."""

from __future__ import annotations

import inspect

import pytest

from quantum_trader import api

PROMISED = {
    *("Strategy", "Target", "Bars", "Context"),
    *("Check", "Denial", "Order", "RiskView"),
    *("Component", "Decision"),
    *("Feed", "LiveFeed", "Bar"),
    *("Venue", "Report", "VenueContract"),
    "load_run",
}


def test_the_names_are_those_promised() -> None:
    assert set(api.__all__) == PROMISED
    assert len(api.__all__) == len(PROMISED)


@pytest.mark.parametrize("name", sorted(PROMISED - {"Check"}))
def test_each_name_says_what_it_is(name: str) -> None:
    assert inspect.getdoc(getattr(api, name))


def test_signatures_are_those_promised() -> None:
    assert list(inspect.signature(api.Target).parameters) == ["weight", "stop", "take", "reason", "rebalance"]
    assert list(inspect.signature(api.Strategy.on_bar).parameters) == ["self", "bars", "ctx"]
    assert list(inspect.signature(api.Strategy.on_session).parameters) == ["self", "market", "ctx"]
    assert list(inspect.signature(api.Denial).parameters) == ["reason", "detail"]
    assert set(api.RiskView.__dataclass_fields__) == {"equity", "cash", "positions", "prices", "session"}
    assert {"state", "restore", "close"} <= set(vars(api.Component))
    assert {"open", "high", "low", "close", "volume", "dates", "symbol"} <= set(dir(api.Bars))
    assert {"session", "date", "position", "weight", "equity", "cash", "rank", "policy", "rng"} <= set(dir(api.Context))
