"""Coming from: what the pages say would be written for another library runs with its current release, and does the same.

The libraries live in an environment of their own, which `make peers` makes from `peers.txt`; without it these tests are skipped.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.docs.blocks import PATIENCE_S, ROOT, Block, blocks_of

PAGES = sorted((ROOT / "docs" / "from").glob("*.md"))
PINS = Path(__file__).with_name("peers.txt")
PYTHON = ROOT / ".venv-peers" / "bin" / "python"
SAME = ["bubus", "celery", "faststream"]  # the two programs of a page print the same; the others trade


def block_of(page: Path, side: str) -> Block:
    found = [block for block in blocks_of(page) if (block.title or "").startswith(f"{side}_")]
    assert len(found) == 1, f"{page.name} has {len(found)} programs for {side}"
    return found[0]


def said(python: Path | str, block: Block, folder: Path) -> str:
    file = folder / block.file
    file.write_text(block.text)
    done = subprocess.run(
        [python, file.name], cwd=folder, capture_output=True, text=True, check=False, timeout=PATIENCE_S
    )
    assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def peers() -> Path:
    """The interpreter that has the other libraries."""
    if not PYTHON.exists():
        pytest.skip("the other libraries are not installed: make peers")
    names = "|".join(page.stem for page in PAGES)
    versions = [line for line in PINS.read_text().splitlines() if re.match(names, line.replace("_", "-").lower())]
    print(*versions, sep="\n")
    return PYTHON


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_other_library_does_what_the_page_says(page: Path, peers: Path, tmp_path: Path) -> None:
    assert said(peers, block_of(page, "there"), tmp_path).strip()


@pytest.mark.slow
@pytest.mark.parametrize("name", SAME)
def test_both_programs_of_a_page_say_the_same(name: str, peers: Path, tmp_path: Path) -> None:
    page = next(page for page in PAGES if page.stem == name)
    here = said(sys.executable, block_of(page, "here"), tmp_path)
    assert sorted(said(peers, block_of(page, "there"), tmp_path).splitlines()) == sorted(here.splitlines())


def test_every_page_speaks_of_a_library_that_is_tried() -> None:
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["peers"]
    names = {re.split(r"[\[>=]", each)[0].replace("_", "-") for each in wanted}
    pinned = {line.partition("==")[0].replace("_", "-") for line in PINS.read_text().splitlines() if "==" in line}
    assert names == {page.stem for page in PAGES}
    assert names <= pinned
