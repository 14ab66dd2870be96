"""Choosing: which run a command is about."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from quantum_trader.cli.faults import Failed
from quantum_trader.config import load_config
from quantum_trader.monitoring.analytics import NoRun
from quantum_trader.runs.folder import RunFolder, newest, run_folder

Run = Annotated[str | None, typer.Option("--run", help="Folder or name of a run; the newest one if left out.")]
Bus = Annotated[
    str | None,
    typer.Option("--bus", help="Where the journal is, of a run over a server: postgresql://...", metavar="URL"),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def chosen(name: str | None, config: Path | None, bus: str | None = None) -> RunFolder:
    """The run of that name or path, else the one recorded last; over a server if `bus` says so. Raises `NoRun`."""
    runs = Path(load_config(config).app.run_directory)
    folder = newest(runs) if name is None else run_folder(runs, name)
    folder.config()  # raises NoRun for a folder that holds no run
    return replace(folder, bus=bus)


def unfinished(name: str | None, config: Path | None) -> RunFolder:
    """The same among runs that still take commands. Raises `Failed` for a complete one."""
    if name is None:
        runs = Path(load_config(config).app.run_directory)
        folders = [RunFolder(file.parent) for file in runs.glob("*/config.json")]
        waiting = [folder for folder in folders if folder.is_unfinished]
        if not waiting:
            raise NoRun(runs, "no unfinished run is there")
        return max(waiting, key=_written_at)
    folder = chosen(name, config)
    if folder.is_complete:
        raise Failed(f"{folder.path}: the run is complete and takes no commands; name one that runs or is stopped")
    return folder


def _written_at(folder: RunFolder) -> float:
    return (folder.journal if folder.journal.is_file() else folder.elsewhere).stat().st_mtime
