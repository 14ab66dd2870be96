"""The first hour of a new user: each script beside this file runs from an empty folder, with the wheel and nothing of the repository.

A script uses what the documentation says and asserts what a user would look for. What made somebody stumble was mended.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SCRIPTS = sorted(set(HERE.glob("*.py")) - {HERE / "conftest.py", Path(__file__)})
PATIENCE_S = 120

pytestmark = [pytest.mark.slow, pytest.mark.long]


def run(script: Path, folder: Path, environment: dict[str, str], *arguments: str) -> str:
    (folder / script.name).write_text(script.read_text())
    program = ["-m", "pytest", "-q", "-o", "asyncio_mode=auto"] if script.stem.endswith("_test") else []
    done = subprocess.run(
        ["python", *program, script.name, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "script", [each for each in SCRIPTS if "postgres" not in each.stem], ids=lambda path: path.stem
)
def test_it_works_from_an_empty_folder(script: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    assert run(script, tmp_path, environment)


@pytest.mark.server
def test_it_works_over_postgres_in_two_processes(
    tmp_path: Path, environment: dict[str, str], postgres_url: str
) -> None:
    assert "shared" in run(HERE / "postgres_in_two_processes.py", tmp_path, environment, postgres_url)


def test_all_of_the_hour_is_tried() -> None:
    assert len(SCRIPTS) == 9
