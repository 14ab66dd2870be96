"""Pages: every code block of README and documentation holds, in the order in which a reader meets it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import cast

import pytest

from eventbus.testing.servers import PostgresServer
from tests.docs.blocks import PAGES, ROOT, Block, Folder, blocks_of, look_up, look_up_mention

# Whole runs or processes, several of them.
LONG = {"application", "backtesting", "nautilus-trader", "operating", "reading-a-run", "your-own"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=str(page.relative_to(ROOT)), marks=[pytest.mark.long] if page.stem in LONG else [])
        for page in PAGES
    ],
)
def test_every_block_of_the_page_holds(page: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    def server() -> str:
        return cast(PostgresServer, request.getfixturevalue("postgres_server")).url

    folder = Folder(tmp_path, server)
    for block in blocks_of(page):
        folder.holds(block)


def test_files_have_names_of_their_own() -> None:
    """Those of all pages are checked for their types together."""
    titles = [block.title for page in PAGES for block in blocks_of(page) if block.title and block.language == "python"]
    assert sorted(set(titles)) == sorted(titles)


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("python", "raise SystemExit(1)"),
        ("python", "print('two')  # > three"),
        ("console", "$ echo two\nthree\n"),
        ("sh", "qt demo --fast"),
        ("sh", "eventbus listen"),
        ("sh", "eventbus why run.db"),
        ("sh", "eventbus rearm run.db TOKEN"),
        ("sh", "make haste"),
        ("sh", "pip install 'quantum-trader[kafka]'"),
        ("sh", "rm -rf /"),
        ("toml", "a = "),
        ("", "what is this"),
    ],
)
def test_a_block_that_does_not_hold_is_told(language: str, text: str, tmp_path: Path) -> None:
    block = Block(ROOT / "README.md", 1, language, None, text)
    with pytest.raises((AssertionError, ValueError)):
        Folder(tmp_path, lambda: "").holds(block)


def test_what_is_there_is_found() -> None:
    for line in ("qt demo --speed 0", "eventbus dead-letters redrive run.db", "make demo ARGS='--to 2000-12-31'"):
        look_up(line)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_that_a_page_mentions_are_there(page: Path) -> None:
    for mention in re.findall(r"`((?:eventbus|qt) [a-z][^`]*)`", page.read_text()):
        look_up_mention(mention)


def test_a_mention_of_a_command_that_is_not_there_is_told() -> None:
    for mention in ("eventbus events|redrive URL", "eventbus rearm URL TOKEN", "qt demo --fast"):
        with pytest.raises(AssertionError):
            look_up_mention(mention)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_is_short(page: Path) -> None:
    assert page.name == "figures.md" or len(page.read_text().splitlines()) <= 200


def test_readme_is_one_look() -> None:
    """Under two hundred lines; the tests of its promises, and all that it leads to, are there."""
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) < 200
    kept = re.findall(r"`(tests/[^`]*)`", text)
    assert len(kept) >= 10
    leads_to = re.findall(r"\]\((?!https?:)([^)#]+)\)", text)
    assert [path for path in (*kept, *leads_to) if not (ROOT / path).exists()] == []


def test_the_newest_change_is_of_this_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    headings = re.findall(r"^## \[(.*?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert version == next(heading for heading in headings if heading != "Unreleased")
