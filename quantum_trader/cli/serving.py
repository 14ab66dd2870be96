"""`qt serve`: the dashboard of a run that is over, or that another process carries out. It reads; commands go by the inbox."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eventbus import Event, InMemoryEventBus, MissingDriver
from quantum_trader.app import build, load_feed
from quantum_trader.brought import own_builders, own_checks
from quantum_trader.cli.carrying import run_loop
from quantum_trader.cli.choosing import Bus, chosen
from quantum_trader.cli.faults import Failed
from quantum_trader.cli.onlooking import onlookers
from quantum_trader.cli.runs import Checks, Choices, Components
from quantum_trader.cli.saying import say
from quantum_trader.cli.settings import ConfigDirectory
from quantum_trader.cli.showing import (
    AllowOrigin,
    BehindProxy,
    Dashboard,
    Door,
    Host,
    Place,
    Port,
    TlsCert,
    TlsKey,
    Tokens,
    ends,
    nodes,
    opened,
)
from quantum_trader.config import Config, OwnConfig
from quantum_trader.events import RunStartedEvent
from quantum_trader.market.errors import DataError
from quantum_trader.monitoring.record import RunRecord
from quantum_trader.monitoring.report import make_report
from quantum_trader.runs.folder import RunFolder
from quantum_trader.runs.inbox import Inbox

if TYPE_CHECKING:
    from quantum_trader.web.desk import Desk
    from quantum_trader.web.panels import Panels


def register(app: typer.Typer) -> None:
    """Add the command of this module to `qt`."""
    app.command()(serve)


def serve(
    run: Annotated[str, typer.Argument(help="Folder or name of a run.", show_default=False)],
    host: Host = None,
    port: Port = None,
    allow_origin: AllowOrigin = None,
    tokens: Tokens = None,
    behind_proxy: BehindProxy = False,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    checks: Checks = None,
    components: Components = None,
    config: ConfigDirectory = None,
    bus: Bus = None,
) -> None:
    """Show a run that is over, or that another process carries out, until Ctrl-C.

    A --check is asked about every entry that the run sized, and what it would deny is told; a --with hears the run from here.
    """
    folder = chosen(run, config, bus)
    effective = folder.config()
    onlooking = looking_on(effective, checks, components)
    own_checks(onlooking)
    own_builders(onlooking)
    try:
        place = Door(host, port, allow_origin, tokens, behind_proxy, tls_cert, tls_key).at(effective.app)
        run_loop(_serve(folder, place, lambda config: looking_on(config, checks, components)))
    except MissingDriver as error:
        raise Failed(f"{error}") from error


def looking_on(config: Config, checks: Sequence[str] | None, components: Sequence[str] | None) -> Config:
    """The configuration of a run, with what is brought here in place of what its own process has."""
    brought = Choices(None, checks=checks, components=components).overrides().get("own", {})
    return config.model_copy(update={"own": OwnConfig(**brought)})


async def _serve(folder: RunFolder, place: Place, onlooking: Callable[[Config], Config]) -> None:
    """Until somebody ends it, whatever run lies there: of another one nothing is shown as if it were of the first."""
    config = folder.config()
    while (again := await _show(folder, config, place, onlooking(config))) is not None:
        say("another run lies here now: it is shown instead")
        place, config = again, folder.config()


async def _show(folder: RunFolder, config: Config, place: Place, onlooking: Config) -> Place | None:
    """Show one run until somebody ends that; or until another one takes its place: then gives where to go on."""
    from eventbus.gateway import Followed
    from quantum_trader.web.broadcaster import Audience, broadcast
    from quantum_trader.web.dashboard import create_dashboard
    from quantum_trader.web.panels import Panels

    told = Told(RunRecord(cash=config.app.cash, universe_size=0))
    panels = Panels(told.record.points, dataset=config.universe.dataset)
    desk = desk_over(folder, panels)
    wired = _wired(config)
    listening: list[Audience] = []  # to what is new, not to what was before anybody could come in
    over, is_another = asyncio.Event(), False

    def replaced() -> None:
        nonlocal is_another
        is_another = True
        over.set()

    def hear(events: Sequence[Event], first: int | None) -> None:
        if is_another:
            return
        told.take(events)
        panels.take(events, first)
        look_on(events)
        for audience in listening:
            for event in events:
                broadcast(event, audience)

    def application(port: int) -> Any:
        return create_dashboard(
            Followed(folder.source, heard=hear, replaced=replaced),
            panels,
            desk,
            settings=place.settings(port),
            wiring=lambda: wired,
            story=lambda order_id: nodes(folder, order_id),
            report=lambda: make_report(told.record).as_dict(),
        )

    async with onlookers(onlooking, say) as look_on, opened(application, place) as (app, url):
        listening.append(app.state.gateway.sockets.hub)
        say(f"serving on {url}")
        await Dashboard(url).stay(over)
    return place.again(url) if is_another else None


def desk_over(folder: RunFolder, panels: Panels) -> Desk:
    """What may be commanded from here: nothing where the run is over, else what its inbox takes."""
    from quantum_trader.web.desk import Desk

    return Desk(panels, ask=None if folder.is_complete else Inbox(folder.commands).put)


class Told:
    """A record that is told the events of a journal one after the other: its handlers wait for nothing."""

    def __init__(self, record: RunRecord) -> None:
        self.record = record
        bus = InMemoryEventBus()
        record.attach(bus)
        self._subscriptions = bus.subscriptions
        self._handlers: dict[type[Event], list[Any]] = {}

    def take(self, events: Sequence[Event]) -> None:
        """The next events."""
        for event in events:
            cls = type(event)
            if isinstance(event, RunStartedEvent):
                self.record.universe_size = len(event.universe)
            handlers = self._handlers.get(cls)
            if handlers is None:
                handlers = self._handlers[cls] = [
                    one.handler for one in self._subscriptions if one.selector.matches(cls, event.type)
                ]
            for handler in handlers:
                _at_once(handler(event))


def _at_once(step: Coroutine[Any, Any, object]) -> None:
    """Run what waits for nothing. Raises RuntimeError where it waits."""
    try:
        step.send(None)
    except StopIteration:
        return
    step.close()
    raise RuntimeError("a handler of the record waits")


def _wired(config: Config) -> dict[str, Any]:
    """Who publishes and who hears what in such a run; nothing where its data are no longer there."""
    try:
        feed = load_feed(config)
    except DataError:
        return {}
    system = build(InMemoryEventBus(), config, feed)
    try:
        return dict(ends(system.wiring()))
    finally:
        system.close()
