"""Showing: the dashboard of a run, beside the run that this process carries out, or of a folder that another one writes.

What it needs comes with the extra `gateway`, and is imported when a dashboard is opened and not before.
"""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import urlsplit

import typer

from eventbus import GatewayError
from quantum_trader.cli.faults import USAGE, Failed
from quantum_trader.cli.saying import say
from quantum_trader.config import AppConfig
from quantum_trader.monitoring.report import make_report
from quantum_trader.pace import Pace
from quantum_trader.runs.durable import DurableRun
from quantum_trader.runs.folder import RunFolder
from quantum_trader.runs.story import Step, tell, walk
from quantum_trader.wiring import Wiring

if TYPE_CHECKING:
    from eventbus.gateway import GatewaySettings

SPEED: Final = 40.0
"""Sessions per second beside a dashboard, where nobody says otherwise: at full speed nobody can follow."""

KEPT: Final = "it is part of the run, which would come out differently when it is resumed; correct the cause and start the run anew"
"""Why what a component of a run could not handle is not delivered to it again."""

Web = Annotated[
    bool | None, typer.Option("--web/--no-web", help="The dashboard beside the run; by default in a terminal.")
]
Host = Annotated[str | None, typer.Option(help="Where the dashboard listens; app.gateway_host by default.")]
Port = Annotated[
    int | None, typer.Option(help="Its port, 0 for any free one; app.gateway_port by default.", min=0, max=65_535)
]
AllowOrigin = Annotated[list[str] | None, typer.Option(help="Pages of this origin may come in; may be repeated.")]
Tokens = Annotated[Path | None, typer.Option(help="The file of `eventbus token create`; turns tokens on.")]
BehindProxy = Annotated[
    bool, typer.Option("--behind-proxy", help="A proxy on this machine takes the requests, and ends TLS.")
]
TlsCert = Annotated[Path | None, typer.Option(help="Certificate chain, PEM.")]
TlsKey = Annotated[Path | None, typer.Option(help="Its key, PEM.")]
_REMEDY: Final = "pip install 'quantum-trader[gateway]'"


@dataclass(frozen=True, slots=True)
class Door:
    """Where a dashboard is wanted, and for whom: what nobody says is as it is configured, and a port any that is free, but behind a
    proxy, which knows one."""

    host: str | None = None
    port: int | None = None
    allow_origins: Sequence[str] | None = None
    tokens: Path | None = None
    behind_proxy: bool = False
    tls_cert: Path | None = None
    tls_key: Path | None = None

    def at(self, usual: AppConfig) -> Place:
        """The place that comes to. Raises `GatewayError` for a door that would be open to strangers."""
        place = Place(
            self,
            usual.gateway_host if self.host is None else self.host,
            usual.gateway_port if self.port is None else self.port,
        )
        place.settings(place.port)
        return place


@dataclass(frozen=True, slots=True)
class Place:
    """Where a dashboard listens."""

    door: Door
    host: str
    port: int

    @property
    def is_asked(self) -> bool:
        """Did somebody name the port, or does a proxy know it, so that no other will do?"""
        return self.door.port is not None or self.door.behind_proxy

    def again(self, url: str) -> Place:
        """Where it listened, once more: who looks on comes back there."""
        return replace(self, port=urlsplit(url).port or self.port)

    def settings(self, port: int) -> GatewaySettings:
        """Those of a gateway that listens at this port. Raises `GatewayError`."""
        from eventbus.gateway import GatewaySettings

        door = self.door
        return GatewaySettings(
            host=self.host,
            port=port,
            allow_origins=tuple(door.allow_origins or ()),
            tokens=door.tokens,
            behind_proxy=door.behind_proxy,
            tls_cert=door.tls_cert,
            tls_key=door.tls_key,
            run_owns_events=True,
        )


def place_for(web: bool | None, door: Door, usual: AppConfig) -> Place | str:
    """Where a dashboard is to be opened, or in a few words why there is none.

    Raises `Failed` where it was asked for and cannot be, `GatewayError` where it would be open to strangers.
    """
    if web is False:
        return "--no-web"
    if web is None:
        if os.environ.get("CI"):
            return "CI is set"
        if not sys.stdout.isatty():
            return "this is no terminal; --web opens one anyway"
        if _is_missing():
            return f"{_REMEDY} brings one"
        if door == Door():  # nobody asked for one: the run goes on without
            try:
                return door.at(usual)
            except GatewayError as error:
                return str(error)
    elif _is_missing():
        raise Failed(f"--web needs what is not installed: {_REMEDY}", USAGE)
    return door.at(usual)


def _is_missing() -> bool:
    return any(find_spec(name) is None for name in ("fastapi", "uvicorn", "websockets"))


def shown_at(web: bool | None, door: Door, usual: AppConfig) -> Place | None:
    """Where a dashboard is to be opened; None where there is none, which is said in one line."""
    found = place_for(web, door, usual)
    if isinstance(found, Place):
        return found
    say(f"no dashboard: {found}")
    return None


class Dashboard:
    """An open dashboard."""

    def __init__(self, url: str) -> None:
        self.url = url

    async def stay(self, asked: asyncio.Event | None = None) -> None:
        """Until somebody ends it by a signal, or sets that."""
        loop, asked = asyncio.get_running_loop(), asked or asyncio.Event()
        for each in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(each, asked.set)
        try:
            await asked.wait()
        finally:
            for each in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(each)


@asynccontextmanager
async def dashboard(run: DurableRun, place: Place) -> AsyncIterator[Dashboard]:
    """The dashboard of a run that has not begun, until the block ends. Raises `GatewayError` where it cannot listen."""
    from quantum_trader.web.broadcaster import WebSocketBroadcaster
    from quantum_trader.web.dashboard import create_dashboard
    from quantum_trader.web.desk import Desk
    from quantum_trader.web.panels import Panels

    system = run.system

    def pace() -> Pace | None:
        return None if system.clock is None else system.clock.pace

    panels = Panels(
        system.record.points,
        sessions=len(system.feed),
        dataset=system.record.dataset,
        pace=pace,
        digest=system.digest.hexdigest,
    )
    tap = run.bus.tap(panels.take)
    run.retold.append(panels.take)
    desk = Desk(panels, ask=run.command, pace=pace)
    wired = ends(system.wiring())

    def application(port: int) -> Any:
        return create_dashboard(
            run.bus,
            panels,
            desk,
            settings=place.settings(port),
            wiring=lambda: wired,
            story=lambda order_id: nodes(run.folder, order_id),
            report=lambda: make_report(system.record).as_dict(),
            keeps=lambda subscription: KEPT if subscription in run.deciding else "",
        )

    try:
        async with opened(application, place) as (app, url):
            system.alerts.add_notifier(WebSocketBroadcaster(run.bus, app.state.gateway.sockets.hub))
            yield Dashboard(url)
    finally:
        tap.cancel()


@asynccontextmanager
async def opened(application: Callable[[int], Any], place: Place) -> AsyncIterator[tuple[Any, str]]:
    """The application that is made for a port, served until the block ends, and where. Another port where nobody named one.

    Raises `GatewayError` where it cannot listen.
    """
    from eventbus.gateway import serve

    over = asyncio.Event()
    app = application(place.port)
    try:
        serving, url = await _begun(lambda told: serve(app, started=told, until=over))
    except GatewayError as error:
        is_taken = isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EADDRINUSE
        if is_taken and place.door.port is None and place.is_asked:
            raise GatewayError(
                f"port {place.port} is in use: --behind-proxy needs the port that the proxy knows, name it with --port"
            ) from error
        if place.is_asked:
            raise
        app = application(0)
        serving, url = await _begun(lambda told: serve(app, started=told, until=over))
    try:
        yield app, url
    finally:
        over.set()
        await serving


async def _begun(begin: Callable[[Callable[[str], object]], Any]) -> tuple[asyncio.Task[None], str]:
    """The task that serves, and where it listens, as soon as it does. Raises what it raises before."""
    loop = asyncio.get_running_loop()
    listens: asyncio.Future[str] = loop.create_future()
    serving = loop.create_task(begin(listens.set_result))
    await asyncio.wait({serving, listens}, return_when=asyncio.FIRST_COMPLETED)
    if not listens.done():
        await serving
    return serving, listens.result()


def ends(wiring: Wiring) -> Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """Of each type who publishes it and who hears it."""
    return {route.type: (route.producers, route.consumers) for route in wiring.routes}


def nodes(folder: RunFolder, order_id: str) -> list[dict[str, Any]]:
    """The story of an order as nodes of a tree, first cause first. Raises `NoOrder`."""
    return [_node(depth, step) for depth, step in walk(tell(folder, order_id))]


def _node(depth: int, step: Step) -> dict[str, Any]:
    event = step.event
    return {
        "depth": depth,
        "what": step.what,
        "facts": step.facts,
        "after_cause_s": None,
        "handled": [],
        "event": {
            "type": event.type,
            "event_id": event.event_id,
            "timestamp": event.timestamp.isoformat(),
            "kind": event.__event__.kind.value,
            "source": event.source,
            "payload": event.payload,
        },
    }
