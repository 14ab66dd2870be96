"""`eventbus serve` in a process of its own, as an operator runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PATIENCE_S = 120.0  # for what takes a second on a machine that has nothing else to do
ROOT = Path(__file__).parents[3]
_HELLO = "serving on "


@dataclass
class ServingProcess:
    """The process, where it serves, and what it logs."""

    process: subprocess.Popen[str]
    url: str
    log: Path

    @property
    def logged(self) -> list[dict[str, Any]]:
        """Its log, line by line."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def wait(self) -> int:
        """Its exit code."""
        return self.process.wait(PATIENCE_S)


def _environment(modules: Path | None) -> dict[str, str]:
    paths = [str(modules)] if modules else []
    return os.environ | {"PYTHONPATH": os.pathsep.join([*paths, str(ROOT), os.environ.get("PYTHONPATH", "")])}


@contextmanager
def serving_process(folder: Path, *arguments: str, modules: Path | None = None) -> Iterator[ServingProcess]:
    """Run it in a folder until the block ends; it finds modules there, and in `modules`."""
    command = [sys.executable, "-c", "from eventbus.cli import main; main()", "serve", "--port", "0", *arguments]
    log = folder / "log.jsonl"
    with (
        log.open("w") as errors,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=folder, env=_environment(modules)
        ) as process,
    ):
        assert process.stdout is not None
        try:
            first = process.stdout.readline()
            assert first.startswith(_HELLO), log.read_text()
            yield ServingProcess(process, first.removeprefix(_HELLO).strip(), log)
        finally:
            process.kill()
