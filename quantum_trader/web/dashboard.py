"""Dashboard: a gateway over the bus of a run, with the pages, views and routes of the run on top."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI

from eventbus import EventBus, SystemClock, event_class
from eventbus.gateway import Extension, Followed, GatewaySettings, create_gateway
from eventbus.gateway.bus_views import Rates
from eventbus.gateway.views import Views
from quantum_trader.web.commands import Story, routes
from quantum_trader.web.desk import Desk
from quantum_trader.web.panels import Panels

STATIC: Final = Path(__file__).parent / "static"

Ends = Mapping[str, tuple[Sequence[str], Sequence[str]]]
"""By type of event: who publishes it, and who hears it."""


def create_dashboard(
    bus: EventBus | Followed,
    panels: Panels,
    desk: Desk,
    *,
    settings: GatewaySettings,
    wiring: Callable[[], Ends] = dict,
    story: Story | None = None,
    report: Callable[[], dict[str, Any]] = dict,
    keeps: Callable[[str], str] = lambda _subscription: "",
) -> FastAPI:
    """The application that shows and steers one run over `bus`, or shows the journal of one that is elsewhere or over.

    `keeps` says why a dead letter of a subscription must not be delivered again, "" where it may.
    """

    def add_views(views: Views) -> None:
        for name, make in panels.views().items():
            views.add(name, make, grows=name == "equity")
        views.add_family("chart", lambda key: panels.charts.chart(_number(key)), grows=True)
        rates = Rates(SystemClock())
        views.add("topology", lambda: _topology(wiring(), panels.taken, rates))

    return create_gateway(
        bus,
        settings,
        extension=Extension(
            routers=(routes(panels, desk, story, report),),
            pages={"trading": STATIC},
            index=STATIC / "index.html",
            capabilities=lambda: desk.capabilities,
            views=add_views,
            keeps=keeps,
        ),
    )


def _number(key: str) -> int:
    if not key.isascii() or not key.isdigit():
        raise LookupError(key)
    return int(key)


def _topology(wiring: Ends, taken: Mapping[str, int], rates: Rates) -> dict[str, Any]:
    """Which component publishes what, and which hears it, with what moves between them."""
    per_s = rates.of(dict(taken))
    routes = [
        {
            "type": name,
            "kind": _kind(name),
            "producers": list(producers),
            "consumers": list(consumers),
            "total": taken.get(name, 0),
            "per_s": per_s.get(name, 0.0),
        }
        for name, (producers, consumers) in wiring.items()
    ]
    return {"stations": sorted({*_names(wiring)}), "routes": routes}


def _names(wiring: Ends) -> Iterator[str]:
    for ends in wiring.values():
        for side in ends:
            yield from side


def _kind(name: str) -> str:
    cls = event_class(name)
    return "event" if cls is None else cls.__event__.kind.value
