"""`qt config`: show the effective configuration, check the files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from quantum_trader.app import check as check_system
from quantum_trader.app import load_feed
from quantum_trader.cli.saying import emit, say
from quantum_trader.config import config_directory, load_config, profiles

app = typer.Typer(help="The configuration: files, profiles, environment.", no_args_is_help=True)

ConfigDirectory = Annotated[Path | None, typer.Option("--config", help="Directory of the TOML files.")]
Profile = Annotated[str | None, typer.Option(help="A file of config/profiles, without its ending.")]


@app.command()
def show(config: ConfigDirectory = None, profile: Profile = None) -> None:
    """The effective configuration as JSON."""
    emit(load_config(config, profile).model_dump(mode="json"))


@app.command()
def check(config: ConfigDirectory = None, profile: Profile = None) -> None:
    """Read every file and every profile; says where they are, or what is wrong."""
    where = config_directory(config)
    for name in (None, *profiles(config)) if profile is None else (profile,):
        effective = load_config(config, name)
        check_system(effective)
        load_feed(effective)
    say(f"{where or 'built-in defaults'}: ok, sha256 {load_config(config, profile).sha256()}")
