"""URLs and paths of a journal: the file that was named is the one that is opened, or it is refused and nothing is left behind."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from eventbus import JournalUnavailable, UsageError, create_event_bus

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def files(folder: Path) -> set[str]:
    return {each.relative_to(folder).as_posix() for each in folder.rglob("*") if each.is_file()}


async def use(source: Any) -> None:
    async with create_event_bus(source) as bus:
        await bus.publish("told.n", {"n": 1})


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("sqlite:///run.db", "run.db"),
        ("sqlite:///./run.db", "run.db"),
        pytest.param("sqlite:///odd%3Fname.db", "odd?name.db", id="question mark"),
        pytest.param("sqlite:///odd%23name.db", "odd#name.db", id="hash"),
        pytest.param("sqlite:///my%20run.db", "my run.db", id="space"),
        pytest.param("sqlite:///100%25.db", "100%.db", id="percent"),
        pytest.param("sqlite:///r%C3%BCn.db", "rün.db", id="umlaut, encoded"),
        ("sqlite:///rün.db", "rün.db"),
        ("sqlite:///my run.db", "my run.db"),
        ("sqlite:///a;b@c:d&e=f.db", "a;b@c:d&e=f.db"),
    ],
)
async def test_a_url_opens_the_file_that_it_names(folder: Path, url: str, name: str) -> None:
    await use(url)
    assert files(folder) - {f"{name}-wal", f"{name}-shm"} == {name, f"{name}-mark"}


async def test_an_absolute_path_has_four_slashes(folder: Path, tmp_path: Path) -> None:
    await use(f"sqlite:///{tmp_path / 'there.db'}")
    assert (tmp_path / "there.db").exists()


@pytest.mark.parametrize("name", ["odd?name#1.db", "100%25.db", "a b.db", "sqlite:x.db"])
async def test_a_path_in_a_mapping_is_taken_as_it_is_written(folder: Path, name: str) -> None:
    await use({"backend": "sqlite", "path": name})
    assert name in files(folder)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        pytest.param("sqlite:///odd#1.db", "%23", id="hash"),
        pytest.param("sqlite:///run.db?name=x#1", "%23", id="hash after the query"),
        pytest.param("sqlite:///odd?name.db", "%3F", id="question mark in a name"),
        pytest.param("sqlite:///odd?name#1.db", "%", id="both"),
        pytest.param("sqlite:///run.db?", "%3F", id="question mark at the end"),
        pytest.param("sqlite:///run.db?synchronus=full", "synchronus", id="unknown key"),
        pytest.param("sqlite:///run.db?nosuch=", "nosuch", id="unknown key without a value"),
        pytest.param("sqlite:///run.db?name=a&name=b", "name", id="a key twice"),
        pytest.param("sqlite:///run.db?path=other.db", "path", id="path as a key"),
        pytest.param("sqlite:///run.db?backend=memory", "backend", id="backend as a key"),
        pytest.param("sqlite:///run.db?keep_outcomes=maybe", "keep_outcomes", id="no yes or no"),
        pytest.param("sqlite:///run.db?synchronous=sometimes", "synchronous", id="no such level"),
        pytest.param("sqlite://data/run.db", "data", id="two slashes, a folder"),
        pytest.param("sqlite://run.db", "run.db", id="two slashes, a file"),
        pytest.param("sqlite://me:secret@/run.db", "sqlite:///", id="a user"),
        pytest.param("sqlite://:99/run.db", "sqlite:///", id="a port"),
        pytest.param("sqlite:///", "sqlite:///", id="no name"),
        pytest.param("sqlite:run.db", "sqlite:///", id="no slashes"),
        pytest.param("sqlite:///odd%00.db", "%00", id="a zero byte"),
        pytest.param("sqlite:///odd%zz.db", "%25", id="no percent encoding"),
        pytest.param("sqlite:///odd%FF.db", "%FF", id="no UTF-8"),
        pytest.param("memory://somewhere", "somewhere", id="memory with a place"),
        pytest.param("memory://?nosuch=", "nosuch", id="memory with an unknown key"),
    ],
)
async def test_a_url_that_says_something_else_is_refused_and_leaves_nothing(folder: Path, url: str, words: str) -> None:
    with pytest.raises(UsageError) as refused:
        await use(url)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)
    assert files(folder) == set()


# --- what is no file --------------------------------------------------------------------------------------------------


async def test_a_folder_is_refused_by_what_it_is(folder: Path) -> None:
    await _assert_refused(folder, "sub", r"is a (folder|directory)", make=lambda path: path.mkdir())


async def test_a_name_that_ends_in_a_slash_is_a_folder_and_refused(folder: Path) -> None:
    with pytest.raises(JournalUnavailable, match="is a folder"):
        await use("sqlite:///data/")
    assert files(folder) == set()


async def test_a_device_is_refused_by_what_it_is(folder: Path) -> None:
    (folder / "device").symlink_to("/dev/null")
    await _assert_refused(folder, "device", "no regular file")


async def test_a_folder_that_is_not_there_is_named(folder: Path) -> None:
    await _assert_refused(folder, "nowhere/run.db", "folder .*nowhere")


async def test_a_database_of_another_program_is_left_alone_with_nothing_beside_it(folder: Path) -> None:
    def make(path: Path) -> None:
        with sqlite3.connect(path) as theirs:
            theirs.execute("CREATE TABLE theirs (x)")
        theirs.close()

    await _assert_refused(folder, "theirs.db", "another program", make=make)


async def test_a_text_is_left_alone_with_nothing_beside_it(folder: Path) -> None:
    await _assert_refused(folder, "notes.txt", "no journal", make=lambda path: path.write_text("dear diary\n" * 1_000))


async def _assert_refused(
    folder: Path, name: str, words: str, *, make: Callable[[Path], object] = lambda path: None
) -> None:
    make(folder / name)
    before = {each: (folder / each).read_bytes() for each in files(folder) if (folder / each).is_file()}
    with pytest.raises(JournalUnavailable, match=words) as refused:
        await create_event_bus({"backend": "sqlite", "path": str(folder / name)}).connect()
    assert "\n" not in str(refused.value)
    assert {each: (folder / each).read_bytes() for each in files(folder)} == before


# --- what this user may not do ----------------------------------------------------------------------------------------


@pytest.fixture
def nobody(kept: Callable[..., Path]) -> Iterator[Path]:
    """A folder of somebody else with a journal in it, that may be read and not written."""
    path = kept(3)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for each in (path, path.with_name("run.db-mark")):
            (folder / each.name).write_bytes(each.read_bytes())
            (folder / each.name).chmod(0o444)
        folder.chmod(0o555)
        usual = os.geteuid()
        if usual == 0:  # nothing is forbidden to root
            os.seteuid(65534)
        try:
            yield folder
        finally:
            os.seteuid(usual)
            folder.chmod(0o755)


async def test_a_folder_without_write_permission_is_refused_by_what_it_is(nobody: Path) -> None:
    before = files(nobody)
    with pytest.raises(JournalUnavailable, match=r"folder .* cannot be written") as refused:
        await create_event_bus(f"sqlite:///{nobody / 'new.db'}").connect()
    assert "\n" not in str(refused.value)
    assert files(nobody) == before


async def test_a_journal_without_write_permission_is_refused_by_what_it_is(nobody: Path) -> None:
    before = files(nobody)
    with pytest.raises(JournalUnavailable, match=r"can only be read|cannot be written"):
        await create_event_bus(f"sqlite:///{nobody / 'run.db'}").connect()
    assert files(nobody) == before


@pytest.mark.parametrize("command", ["events", "stats", "verify"])
def test_a_journal_that_may_only_be_read_is_read(nobody: Path, cli: Cli, command: str) -> None:
    before = files(nobody)
    code, _, complaint = cli(command, nobody / "run.db")
    assert (code, complaint) == (0, "")
    assert files(nobody) == before
