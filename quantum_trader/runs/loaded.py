"""Loaded: a recorded run as data frames, for a notebook. Needs the extra `notebook` for them, and nothing for the figures."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from quantum_trader.config import Config
from quantum_trader.runs.folder import RunFolder
from quantum_trader.runs.tables import TABLES, Columns

Frames = Literal["pandas", "polars"]


class MissingFrames(ImportError):
    """The library of the data frames is not installed. Install quantum-trader[notebook]."""

    def __init__(self, library: str) -> None:
        super().__init__(f"{library} is not installed; install it with: pip install 'quantum-trader[notebook]'")


class LoadedRun:
    """A run: `trades`, `equity`, `orders` and `decisions` as frames, `report` as the figures it ended with."""

    def __init__(self, folder: RunFolder, frames: Frames) -> None:
        self._folder = folder
        self._frames = frames

    @property
    def path(self) -> Path:
        return self._folder.path

    @cached_property
    def config(self) -> Config:
        """What the run was started with."""
        return self._folder.config()

    @cached_property
    def report(self) -> dict[str, Any]:
        """The figures of a complete run. Raises `NoRun` for one that is not."""
        return self._folder.summary()

    @cached_property
    def trades(self) -> Any:
        """A row for each fill."""
        return self._frame("trades")

    @cached_property
    def equity(self) -> Any:
        """A row for each session: the account at its end, and buy and hold."""
        return self._frame("equity")

    @cached_property
    def orders(self) -> Any:
        """A row for each order that got a size: what the checks said, what became of it."""
        return self._frame("orders")

    @cached_property
    def decisions(self) -> Any:
        """A row for each decision event, its payload as JSON."""
        return self._frame("decisions")

    def _frame(self, table: str) -> Any:
        return framed(TABLES[table](self._folder), self._frames)


def load_run(path: str | Path, *, frames: Frames = "pandas") -> LoadedRun:
    """The run in the folder `path`, running or over. Raises `NoRun`; its frames raise `MissingFrames` without the extra."""
    folder = RunFolder(Path(path))
    folder.config()  # raises NoRun for a folder that holds no run
    return LoadedRun(folder, frames)


def framed(columns: Columns, frames: Frames) -> Any:
    """Columns as a frame of that library. Raises `MissingFrames`."""
    try:
        if frames == "polars":
            import polars as pl

            return pl.DataFrame(columns)
        import pandas as pd

        return pd.DataFrame(columns)
    except ModuleNotFoundError as cause:
        raise MissingFrames(frames) from cause
