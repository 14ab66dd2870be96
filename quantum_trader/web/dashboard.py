"""Dashboard: a gateway over the bus of a run, with the pages, views and routes of the run on top."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI

from eventbus import EventBus
from eventbus.gateway import Extension, GatewaySettings, create_gateway
from eventbus.gateway.views import Views
from quantum_trader.web.commands import Story, routes
from quantum_trader.web.desk import Desk
from quantum_trader.web.panels import Panels

STATIC: Final = Path(__file__).parent / "static"

Ends = Mapping[str, tuple[Sequence[str], Sequence[str]]]
"""By type of event: who publishes it, and who hears it."""


def create_dashboard(
    bus: EventBus,
    panels: Panels,
    desk: Desk,
    *,
    settings: GatewaySettings,
    wiring: Callable[[], Ends] = dict,
    story: Story | None = None,
    report: Callable[[], dict[str, Any]] = dict,
) -> FastAPI:
    """The application that shows and steers one run over `bus`."""

    def add_views(views: Views) -> None:
        for name, make in panels.views().items():
            views.add(name, make, grows=name == "equity")
        views.add_family("chart", lambda key: panels.charts.chart(_number(key)), grows=True)
        plain = views.find("topology")

        async def topology() -> dict[str, Any]:
            return _with_stations(await plain.made(), wiring())

        views.add("topology", topology)

    return create_gateway(
        bus,
        settings,
        extension=Extension(
            routers=(routes(panels, desk, story, report),),
            pages={"trading": STATIC},
            index=STATIC / "index.html",
            capabilities=lambda: desk.capabilities,
            views=add_views,
        ),
    )


def _number(key: str) -> int:
    if not key.isascii() or not key.isdigit():
        raise LookupError(key)
    return int(key)


def _with_stations(view: Mapping[str, Any], wiring: Ends) -> dict[str, Any]:
    """Components at both ends of each type instead of single subscriptions."""
    routes = []
    for route in view["routes"]:
        producers, consumers = wiring.get(route["type"], ((), route["consumers"]))
        routes.append({**route, "producers": list(producers), "consumers": list(consumers)})
    return {**view, "routes": routes}
