"""Progress: how far long work has come, on a terminal's standard error and nowhere else; gone when the work is done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO, TypeVar

from rich.markup import escape
from rich.progress import open as open_watched
from rich.progress import track

from quantum_trader.cli.saying import Screen, clean

T = TypeVar("T")


def each(items: Sequence[T], what: str) -> Iterator[T]:
    """The items one after the other, with a bar."""
    console = Screen(stderr=True)
    yield from track(items, what, console=console, transient=True, disable=not console.is_terminal)


def reading(path: Path) -> AbstractContextManager[BinaryIO]:
    """A file to read, with a bar over its bytes. Raises `OSError`."""
    console = Screen(stderr=True)
    is_silent = not console.is_terminal
    return open_watched(
        path,
        "rb",
        description=f"reading {escape(clean(path.name))}",
        console=console,
        transient=True,
        disable=is_silent,
    )


@contextmanager
def busy(what: str) -> Iterator[None]:
    """Work of unknown length, with something that moves."""
    console = Screen(stderr=True)
    if console.is_terminal:
        with console.status(what):
            yield
    else:
        yield
