"""Folder: where a run lives on disk, under which names, and whether what lies there is a run.

The journal is the truth; the registry and the checkpoints save time when the run is continued; the rest is for people.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from quantum_trader.config import Config
from quantum_trader.files import write_whole
from quantum_trader.monitoring.analytics import FILE_NAME, NoRun

ON_A_SERVER: Final = "its journal is on a server: say --bus URL, as when it was started"
CHECKPOINTS: Final = "checkpoint-*.json"
_OURS: Final = (
    "run.db*",
    "config.json",
    "registry.sqlite*",
    "metrics.jsonl*",
    "report.json",
    "report.html",
    "equity.svg",
    "policy.json",
    "killswitch.json",
    "bus.json",
)


class RunUnfinished(Exception):
    """There is a run in the folder that did not reach its end. Continue it, or choose another folder."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path}: an unfinished run is there; continue it with: qt resume {path}, or choose another --output"
        )
        self.path = path


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The folder of one run. Nothing is read or made before it is asked for."""

    path: Path
    bus: str | None = None  # where its journal is, of a run over a server: the URL is not kept, for it has a password

    @property
    def journal(self) -> Path:
        return self.path / "run.db"

    @property
    def source(self) -> str:
        """Where its journal is read. Raises `NoRun` where there is none, or nobody says where."""
        if self.bus is not None:
            return self.bus
        if not self.journal.is_file():
            is_elsewhere = self.elsewhere.is_file()
            raise NoRun(self.path, ON_A_SERVER if is_elsewhere else "no run is recorded there")
        return str(self.journal)

    @property
    def elsewhere(self) -> Path:
        """Where the journal is, of a run whose journal is on a server; without the password."""
        return self.path / "bus.json"

    @property
    def registry(self) -> Path:
        return self.path / "registry.sqlite"

    @property
    def analytics(self) -> Path:
        return self.path / FILE_NAME

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def policy(self) -> Path:
        return self.path / "policy.json"

    @property
    def kill_switch(self) -> Path:
        return self.path / "killswitch.json"

    @property
    def commands(self) -> Path:
        return self.path / "commands"

    @property
    def reports(self) -> Path:
        """What a venue of a user's own reported, until the journal has it."""
        return self.path / "reports"

    @property
    def report(self) -> Path:
        """Written last: a run that has it is complete."""
        return self.path / "report.json"

    @property
    def plot(self) -> Path:
        return self.path / "equity.svg"

    @property
    def page(self) -> Path:
        return self.path / "report.html"

    @property
    def is_complete(self) -> bool:
        return self.report.is_file()

    @property
    def is_unfinished(self) -> bool:
        return (self.journal.is_file() or self.elsewhere.is_file()) and not self.is_complete

    def config(self) -> Config:
        """The configuration that the run was started with. Raises `NoRun`."""
        file = self.path / "config.json"
        try:
            return Config.model_validate_json(file.read_bytes())
        except FileNotFoundError as cause:
            raise NoRun(self.path, "no run is recorded there") from cause
        except (OSError, ValidationError) as cause:
            raise NoRun(file, f"not a readable configuration ({type(cause).__name__})") from cause

    def summary(self) -> dict[str, Any]:
        """The report that a complete run left. Raises `NoRun`."""
        try:
            found = json.loads(self.report.read_bytes())
        except (OSError, ValueError, RecursionError) as cause:
            raise NoRun(self.report, f"not a readable report ({type(cause).__name__})") from cause
        if not isinstance(found, dict):
            raise NoRun(self.report, "not a readable report")
        return found

    def begin(self, config: Config) -> None:
        """Make room for a new run: what a complete one left is removed. Raises `RunUnfinished`, `OSError`."""
        if self.is_unfinished:
            raise RunUnfinished(self.path)
        self.path.mkdir(parents=True, exist_ok=True)
        for pattern in (*_OURS, CHECKPOINTS, f"{FILE_NAME}*"):
            for file in self.path.glob(pattern):
                file.unlink()
        for folder in (self.commands, self.reports):
            shutil.rmtree(folder, ignore_errors=True)
        write_whole(self.path / "config.json", config.model_dump_json(indent=2).encode())


def run_folder(runs: Path, name: str) -> RunFolder:
    """The folder of the run that somebody names, by its path or by its name among `runs`. Raises `NoRun`."""
    for path in (Path(name), runs / name):
        if path.is_dir():
            return RunFolder(path)
    known = ", ".join(sorted(folder.parent.name for folder in runs.glob("*/config.json"))) or "none"
    raise NoRun(Path(name), f"no such run; known in {runs} are {known}")


def newest(runs: Path) -> RunFolder:
    """The run that was recorded last. Raises `NoRun`."""
    files = sorted(runs.glob(f"*/{FILE_NAME}"), key=lambda file: file.stat().st_mtime)
    if not files:
        raise NoRun(runs, "no run is recorded there")
    return RunFolder(files[-1].parent)


def free_folder(runs: Path, stem: str) -> RunFolder:
    """The first of `stem`, `stem-2`, `stem-3`, ... that holds no unfinished run."""
    number, folder = 1, RunFolder(runs / stem)
    while folder.is_unfinished:
        number += 1
        folder = RunFolder(runs / f"{stem}-{number}")
    return folder
