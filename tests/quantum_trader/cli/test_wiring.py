"""`qt types` and `qt graph`: the catalogue and the picture say what the wiring says."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from eventbus import InMemoryEventBus
from quantum_trader.cli.score import GAP, score
from quantum_trader.control.kill_switch import KillSwitch
from quantum_trader.wiring import survey

if TYPE_CHECKING:
    from tests.quantum_trader.conftest import Terminal

SVG = "{http://www.w3.org/2000/svg}"


def test_types_are_listed_with_both_ends_and_their_order(terminal: Terminal) -> None:
    catalogue = {entry["type"]: entry for entry in terminal.json("types", "--json")}
    trade = catalogue["trade.executed"]
    assert (trade["kind"], trade["ordered_by"], trade["producers"]) == ("execution", "symbol", ["Executor"])
    assert {"PortfolioLedger", "SpcEngine", "StrategyRuntimeEngine", "EvaluationHandler"} <= set(trade["consumers"])
    assert trade["fields"][:5] == ["order_id", "symbol", "side", "size", "price"]
    assert catalogue["command.policy"]["producers"] == ["Operator"]
    assert catalogue["evaluation.due"]["consumers"] == ["EvaluationHandler"]
    assert len(catalogue) > 50


def test_types_in_words(terminal: Terminal) -> None:
    out = terminal.ok("types")
    assert "order.approved  (execution, in order by symbol)\n  published by  RiskGuard\n  heard by      Executor" in out
    assert "Every type that is published is heard" in out


def test_graph_names_every_arrow(terminal: Terminal) -> None:
    out = terminal.ok("graph", "--profile", "oracle")
    assert "FixedRoster\n  hears      market.bar, run.started\n  publishes  strategy.created -> " in out
    assert "order.approved -> Executor, Funnel, PortfolioBalancer, SpcEngine" in out


def test_graph_is_drawn(terminal: Terminal) -> None:
    file = terminal.home / "graph.svg"
    assert terminal.ok("graph", "--svg", "graph.svg").startswith("graph.svg\n")
    drawn = {element.text for element in ET.parse(file).iter(f"{SVG}text")}
    assert {"market.bar", "MarketReplayer", "RiskGuard", "notification.sent"} <= drawn
    assert GAP not in file.read_text()
    assert terminal.qt("graph", "--svg", "no/graph.svg") == 2
    assert "choose another --svg" in terminal.complaint()


def test_loose_ends_stand_out_in_the_picture() -> None:
    bus = InMemoryEventBus()
    KillSwitch(bus)
    drawn = ET.fromstring(score(survey(bus), "one"))
    marked = {element.text for element in drawn.iter(f"{SVG}text") if element.get("fill") == GAP}
    assert {"killswitch.changed", "heard by nobody"} <= marked
