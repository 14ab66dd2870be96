"""Blocks: the code blocks of a page, found by Sybil, and what it means that one of them holds.

A page is a folder: what has a title is a file in it, and stays there for the blocks below. What a language asks for:

    python      a program, run on its own, that prints what stands behind `# > `; titled test_*.py, by pytest
    console     commands behind `$ `, each run, with what they print; `...` stands for what changes
    sh          commands that take long, never end or need a machine: their names and options must exist
    toml, json  readable
    text, csv   a file, or what somebody saw
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from doctest import ELLIPSIS, NORMALIZE_WHITESPACE, OutputChecker
from pathlib import Path
from typing import Any

from sybil import Document, Example, Region, Sybil
from sybil.parsers.markdown.lexers import RawFencedCodeBlockLexer

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PATIENCE_S = 120

_INFO = re.compile(r'(?P<language>[\w-]*)(?: title="(?P<title>[^"\n]+)")?[ \t]*\n')
_SERVER = re.compile(r"postgresql://[\w.:@-]+/desk")  # how pages write the address of a server


@dataclass(frozen=True)
class Block:
    """One code block."""

    page: Path
    line: int
    language: str
    title: str | None
    text: str

    @property
    def file(self) -> str:
        """What it is called as a file."""
        stem = self.page.stem.replace("-", "_").lower()
        return self.title or f"{stem}_line_{self.line}.py"

    @property
    def is_elsewhere(self) -> bool:
        """Is it written for another library? Those are tried by `test_coming_from.py`."""
        return (self.title or "").startswith("there_")

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def _parse(document: Document) -> Iterable[Region]:
    for region in RawFencedCodeBlockLexer(_INFO)(document):
        region.parsed = region.lexemes
        region.evaluator = _nothing
        yield region


def _nothing(_example: Example) -> None:
    """What a block means depends on the folder of its page, which is not Sybil's."""


_sybil = Sybil(parsers=[_parse], patterns=["*.md"], path=str(ROOT))


def blocks_of(page: Path) -> Iterator[Block]:
    """The blocks of a page, from its top."""
    for example in _sybil.parse(page).examples():
        found: dict[str, Any] = example.parsed
        yield Block(page, example.line, found["language"], found["title"], str(found["source"]))


# --- what holds ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Folder:
    """Where the blocks of one page are tried. `server` is the address of a PostgreSQL server for those that name one."""

    path: Path
    server: Callable[[], str]

    def holds(self, block: Block) -> None:
        """Raises `AssertionError` with what went wrong."""
        text = _SERVER.sub(lambda _found: self.server(), block.text)
        if block.title:
            (self.path / block.title).write_text(text)
        match block.language:
            case "python":
                self._program(block, text)
            case "console":
                self._session(block, text)
            case "sh":
                for command in text.replace("\\\n", " ").splitlines():
                    look_up(command)
            case "toml":
                tomllib.loads(text)
            case "json":
                json.loads(text)
            case "text" | "csv" | "html" | "yaml":
                pass
            case other:
                raise AssertionError(f"{block}: a block of {other or 'no language'}, which nobody tries")

    def _program(self, block: Block, text: str) -> None:
        if block.is_elsewhere:
            return
        file = self.path / block.file
        file.write_text(text)
        runner = ["-W", "error"]
        if file.name.startswith("test_"):
            asyncio = "asyncio_default_fixture_loop_scope=function"  # pytest-asyncio warns where nobody says it
            runner = ["-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "-o", asyncio]
        done = self._run([sys.executable, *runner, file.name])
        assert done.returncode == 0, f"{block}\n{done.stdout}"
        for expected in re.findall(r"# ?> (.*)", text):  # what a program says that it prints
            assert expected in done.stdout, f"{block}: does not print {expected!r}\n{done.stdout}"

    def _session(self, block: Block, text: str) -> None:
        for entry in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            command, _, expected = entry.partition("\n")
            done = self._run(["bash", "-c", command])
            is_same = OutputChecker().check_output(expected, done.stdout, ELLIPSIS | NORMALIZE_WHITESPACE)
            assert is_same, f"{block}: {command}\n--- expected\n{expected}\n--- printed\n{done.stdout}"

    def _run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        binaries = str(Path(sys.executable).parent)
        return subprocess.run(
            command,
            cwd=self.path,
            env={
                **os.environ,
                "PATH": os.pathsep.join([binaries, os.environ["PATH"]]),
                "PYTHONPATH": os.pathsep.join([str(ROOT), str(self.path)]),
                "COLUMNS": "120",
                "NO_COLOR": "1",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )


# --- commands that are looked up ---------------------------------------------------------------------------------------

_OF_THE_MACHINE = {"cat", "cd", "cp", "curl", "docker", "export", "kill", "kubectl", "ls", "mkdir", "pytest", "python"}
_OF_THE_MACHINE |= {"open", "promtool", "pg_dump", "sqlite3", "uvicorn", "systemctl", "fastapi"}


def look_up(line: str) -> None:
    """Raises `AssertionError` for a command that is not there, or has no such option."""
    words = [word for word in shlex.split(line, comments=True) if not re.match(r"[A-Z_]+=", word)]
    match words:
        case [] | ["&"]:
            return
        case ["make", *targets]:
            known = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
            assert set(targets) <= known, f"make knows no {set(targets) - known}"
        case ["pip", "install", *wanted]:
            _look_up_extras(wanted)
        case ["qt" | "eventbus" as program, *rest]:
            _look_up_options(program, rest)
        case [program, *_]:
            assert program in _OF_THE_MACHINE, f"{program}: not a command that pages may use"


def _look_up_extras(wanted: list[str]) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for word in wanted:
        if found := re.match(r"quantum-trader\[(.*)\]", word):
            assert {*found[1].split(",")} <= {*extras}, f"no such extra: {word}"


def look_up_mention(text: str) -> None:
    """The same for a command that is named in a sentence: it may leave out what it needs, and name several as `a|b`."""
    words = text.replace("...", "").split()
    for one in words[1].split("|") if len(words) > 1 else ():
        _look_up_options(words[0], [one, *words[2:]], is_whole=False)


def _look_up_options(program: str, words: list[str], *, is_whole: bool = True) -> None:
    import typer

    import eventbus.cli
    import quantum_trader.cli

    command: Any = typer.main.get_command({"qt": quantum_trader.cli, "eventbus": eventbus.cli}[program].app)
    said = program
    while words and hasattr(command, "commands") and not words[0].startswith("-"):
        assert words[0] in command.commands, f"{said} has no {words[0]}"
        command, said, words = command.commands[words[0]], f"{said} {words[0]}", words[1:]
    known = {option for each in command.params for option in (*each.opts, *each.secondary_opts)} | {"--help", "-h"}
    for word in words:
        if word.startswith("--"):
            assert word.partition("=")[0] in known, f"{said} has no {word}"
    if hasattr(command, "commands") or not {"--help", "-h"}.isdisjoint(words):
        return
    try:
        command.make_context(said, [*words])
    except eventbus.cli.UsageError as error:
        if is_whole or "unexpected" in str(error):
            raise AssertionError(f"{said}: {error}") from error
