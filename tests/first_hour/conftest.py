"""What a new user has: the wheel with three extras in an environment of its own, and an empty folder. Made once for the whole run."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXTRAS = "gateway,postgres,test"


def made(folder: Path) -> None:
    """Build the wheel and install it, as `pip install 'quantum-trader[...]'` would."""
    python, dist = folder / "venv" / "bin" / "python", folder / "dist"
    words = ["-m", "pip", "--quiet", "--disable-pip-version-check"]
    constraints = str(ROOT / "constraints.txt")
    for command in (
        [str(ROOT / ".ci" / "venv"), sys.executable, str(folder / "venv")],
        [
            sys.executable,
            *words,
            "wheel",
            str(ROOT),
            "--no-deps",
            "--build-constraint",
            constraints,
            "--wheel-dir",
            str(dist),
        ],
        [str(python), *words, "install", "--constraint", constraints],
    ):
        wheels = [f"{wheel}[{EXTRAS}]" for wheel in dist.glob("*.whl")]
        done = subprocess.run([*command, *wheels], capture_output=True, text=True, check=False, cwd=folder)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The folder of programs of that environment, the same for all workers of a run."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "first_hour"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "made").exists():
            made(folder)
            (folder / "made").touch()
    return folder / "venv" / "bin"


@pytest.fixture
def environment(installed: Path) -> dict[str, str]:
    """Of a shell in which that environment is active, and which knows nothing of this repository."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST", "VIRTUAL_"))}
    return kept | {"PATH": os.pathsep.join([str(installed), os.environ["PATH"]]), "COLUMNS": "120", "NO_COLOR": "1"}
