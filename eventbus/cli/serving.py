"""Serving: the command that opens the network door of a bus, until a signal ends it; and the tokens that open it to others."""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from eventbus import create_event_bus
from eventbus.cli import render
from eventbus.cli.looking import Json
from eventbus.clock import SystemClock
from eventbus.journal.reader import open_reader

app = typer.Typer()
tokens = typer.Typer(
    help="Tokens of a gateway: kept as hashes, in a file that only its owner reads.", no_args_is_help=True
)

TokensFile = Annotated[Path, typer.Option("--tokens", help="The file of tokens.")]


@app.command()
def serve(
    bus: Annotated[
        str | None, typer.Option(help="What it is over: sqlite:///run.db, memory://", callback=render.text_only)
    ] = None,
    follow: Annotated[
        str | None,
        typer.Option(help="Instead: the journal that another process writes, to look at.", callback=render.text_only),
    ] = None,
    host: Annotated[str, typer.Option(help="Where it listens.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 for any free one.", min=0, max=65_535)] = 8765,
    allow_origin: Annotated[
        list[str] | None, typer.Option(help="Pages of this origin may come in; may be repeated.")
    ] = None,
    tokens_file: Annotated[Path | None, typer.Option("--tokens", help="The file of tokens; turns them on.")] = None,
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
    services: Annotated[
        list[str] | None,
        typer.Option("--with", help="module:build, called with the bus to subscribe handlers; may be repeated."),
    ] = None,
    drain_timeout: Annotated[float, typer.Option(help="Seconds that the bus has to finish.", min=0)] = 10.0,
) -> None:
    """Serve a bus over HTTP and WebSocket, with its dashboard."""
    from eventbus.gateway import (
        Followed,
        GatewaySettings,
        create_gateway,
        service_named,
    )  # only who serves needs it installed
    from eventbus.gateway import serve as serving
    from eventbus.observability import configure_logging

    if (bus is None) == (follow is None) or (follow is not None and services):
        raise typer.BadParameter(
            "give --bus, or --follow to look at a journal that another process writes, without --with"
        )
    settings = GatewaySettings(
        host=host,
        port=port,
        allow_origins=tuple(allow_origin or ()),
        tokens=tokens_file,
        publishable=tuple(publishable or ()),
        allow_adhoc=allow_adhoc,
        behind_proxy=behind_proxy,
        tls_cert=tls_cert,
        tls_key=tls_key,
        docs=docs,
        drain_timeout=drain_timeout,
    )
    chosen = [service_named(name) for name in services or ()]
    if follow is not None:
        open_reader(follow).close()  # what cannot be read is told before anything is served
    over = create_event_bus(bus) if bus is not None else Followed(follow or "")
    application = create_gateway(over, settings, services=chosen)
    configure_logging("json")
    asyncio.run(serving(application, started=lambda url: render.say(f"serving on {url}")))


@tokens.command()
def create(
    file: TokensFile,
    name: Annotated[str, typer.Option(help="Whose it is.", callback=render.text_only)],
    scope: Annotated[
        list[str],
        typer.Option(help="admin, read:PATTERN or publish:PATTERN; may be repeated.", callback=render.text_only),
    ],
    expires: Annotated[
        str | None, typer.Option(help="An age such as 30d, or a time; never if left out.", callback=render.text_only)
    ] = None,
) -> None:
    """Make a token, and print it this once."""
    from eventbus.gateway.tokens import create_token

    now = SystemClock().now()
    token, text = create_token(file, name, scope, now, None if expires is None else _end(expires, now))
    render.complain(f"token {token.id} for {name}, shown this once")
    render.say(text)


@tokens.command("list")
def list_tokens(file: TokensFile, json: Json = False) -> None:
    """List the tokens, by id. What they are is not kept."""
    from eventbus.gateway.tokens import read_tokens

    now = SystemClock().now()
    tokens = read_tokens(file)
    if json:
        for token in tokens:
            render.emit(token.model_dump(mode="json", exclude={"sha256"}) | {"expired": token.is_expired(now)})
        return
    rows = [
        (
            token.id,
            token.name,
            " ".join(token.scopes),
            token.created.isoformat(timespec="seconds"),
            "never" if token.expires is None else token.expires.isoformat(timespec="seconds"),
            "expired" if token.is_expired(now) else "",
        )
        for token in tokens
    ]
    render.show_table(("id", "name", "scopes", "created", "expires", ""), rows, empty="no tokens")


@tokens.command()
def revoke(
    file: TokensFile, token_id: Annotated[str, typer.Argument(help="Id from `token list`.", callback=render.text_only)]
) -> None:
    """Revoke a token; gateways that run know it within five seconds."""
    from eventbus.gateway.tokens import revoke_token

    if not revoke_token(file, token_id):
        raise LookupError(f"no token {token_id}: 'eventbus token list' names those there are")
    render.say(f"{token_id} is revoked")


def _end(text: str, now: datetime) -> datetime:
    end = render.place(text, now)
    if isinstance(end, datetime) and render.is_number(text[:-1]):  # an age, which is told backwards elsewhere
        try:
            end = now + (now - end)
        except OverflowError:
            end = None
    if not isinstance(end, datetime) or end <= now:
        raise typer.BadParameter("--expires takes an age such as 30d, or a time to come")
    return end
