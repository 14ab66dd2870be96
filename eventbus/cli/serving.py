"""Serving: the command that opens the network door of a bus, until a signal ends it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from eventbus.cli import render
from eventbus.config import create_event_bus

app = typer.Typer()


@app.command()
def serve(
    bus: Annotated[str, typer.Option(help="What it is over: sqlite:///run.db, memory://", callback=render.text_only)],
    host: Annotated[str, typer.Option(help="Where it listens.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 for any free one.", min=0, max=65_535)] = 8765,
    allow_origin: Annotated[
        list[str] | None, typer.Option(help="Pages of this origin may come in; may be repeated.")
    ] = None,
    tokens: Annotated[Path | None, typer.Option(help="The file of tokens; turns them on.")] = None,
    publishable: Annotated[
        list[str] | None, typer.Option(help="A pattern of types that may be published; may be repeated.")
    ] = None,
    allow_adhoc: Annotated[bool, typer.Option("--allow-adhoc", help="Types without a class, too.")] = False,
    behind_proxy: Annotated[
        bool, typer.Option("--behind-proxy", help="A proxy on this machine takes the requests, and ends TLS.")
    ] = False,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate chain, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its key, PEM.")] = None,
    docs: Annotated[bool, typer.Option("--docs", help="Interactive pages at /docs.")] = False,
    drain_timeout: Annotated[float, typer.Option(help="Seconds that the bus has to finish.", min=0)] = 10.0,
) -> None:
    """Serve a bus over HTTP and WebSocket, with its dashboard."""
    from eventbus.gateway import GatewaySettings, create_gateway  # only who serves needs it installed
    from eventbus.gateway import serve as serving

    settings = GatewaySettings(
        host=host,
        port=port,
        allow_origins=tuple(allow_origin or ()),
        tokens=tokens,
        publishable=tuple(publishable or ()),
        allow_adhoc=allow_adhoc,
        behind_proxy=behind_proxy,
        tls_cert=tls_cert,
        tls_key=tls_key,
        docs=docs,
        drain_timeout=drain_timeout,
    )
    application = create_gateway(create_event_bus(bus), settings)
    asyncio.run(serving(application, started=lambda url: render.say(f"serving on {url}")))
