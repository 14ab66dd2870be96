"""What `mypy --strict` says to a user: right programs pass, wrong ones are named at the line, those of README and pages pass.

The programs are in `tests/typing`. A wrong line carries what it is told, as a pattern: `# E: Unexpected keyword argument`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from tests.docs.blocks import PAGES, blocks_of

ROOT = Path(__file__).parents[2]
PROGRAMS = ROOT / "tests" / "typing"
MESSAGE = re.compile(r"(?P<file>[^:]+):(?P<line>\d+):(?:\d+:)? (?P<kind>error): (?P<text>.*)")

OF_PAGES = {
    block.file: block
    for page in PAGES
    for block in blocks_of(page)
    if block.language == "python" and not block.is_elsewhere
}

Told = dict[str, dict[int, list[str]]]  # by file, by line

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """What mypy tells about each program, those of README and pages among them. It knows no settings, as that of a user does not."""
    folder = tmp_path_factory.mktemp("pages")
    for block in OF_PAGES.values():
        (folder / block.file).write_text(block.text)
    programs = [*sorted(PROGRAMS.glob("*.py")), *sorted(folder.glob("*.py"))]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--hide-error-context", "--no-pretty", *programs],
        cwd=folder,
        env={**os.environ, "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    messages: Told = {program.name: defaultdict(list) for program in programs}
    for message in filter(None, map(MESSAGE.match, done.stdout.splitlines())):
        name = Path(message["file"]).name
        if name in messages:
            messages[name][int(message["line"])].append(message["text"])
    return messages


@pytest.mark.parametrize(
    "program",
    [
        "good_create.py",
        "good_everywhere.py",
        "good_expect.py",
        "good_last.py",
        "good_publish.py",
        "good_request.py",
        "good_stats.py",
        "good_stream.py",
        "good_subscribe.py",
        *OF_PAGES,
    ],
)
def test_a_right_program_passes(told: Told, program: str) -> None:
    assert dict(told[program]) == {}


@pytest.mark.parametrize(
    "program",
    [
        "bad_handlers.py",
        "bad_policies.py",
        "bad_publish.py",
        "bad_request.py",
        "bad_results.py",
        "bad_stats.py",
    ],
)
def test_a_wrong_program_is_told_so_at_each_wrong_line_and_no_other(told: Told, program: str) -> None:
    lines = enumerate((PROGRAMS / program).read_text().splitlines(), 1)
    expected = {number: line.partition("# E: ")[2] for number, line in lines if "# E: " in line}
    assert sorted(told[program]) == sorted(expected)
    for number, pattern in expected.items():
        assert re.search(pattern, " ".join(told[program][number])), told[program][number]


def test_every_program_is_looked_at(told: Told) -> None:
    listed = {name for name in told if name.startswith(("good_", "bad_"))}
    assert listed == {program.name for program in PROGRAMS.glob("*.py")}
