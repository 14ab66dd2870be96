"""The wheel works without the repository: from an empty folder, with what the index has and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
@pytest.mark.long
def test_the_wheel_works_from_an_empty_folder() -> None:
    """As whoever finds it on an index would use it; the demo is a short one."""
    done = subprocess.run(
        [ROOT / ".ci" / "wheel", "--to", "2000-06-30"],
        env=os.environ | {"PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "quantum_trader/config/shipped: ok" in done.stdout, "it found other files than its own"
    assert "qt report runs/run-" in done.stdout
    assert " no " not in [line[-5:] for line in done.stdout.splitlines()], "the oracle disagrees"
    assert "Usage: eventbus" in done.stdout


def test_the_files_of_the_repository_are_those_that_travel() -> None:
    from quantum_trader.config import config_directory

    assert config_directory() == Path("config")
