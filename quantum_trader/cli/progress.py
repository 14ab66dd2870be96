"""Progress: how far long work has come, on a terminal's standard error and nowhere else; gone when the work is done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO, TypeVar

from rich.console import Console
from rich.progress import open as open_watched
from rich.progress import track

T = TypeVar("T")


def each(items: Sequence[T], what: str) -> Iterator[T]:
    """The items one after the other, with a bar."""
    console = Console(stderr=True)
    yield from track(items, what, console=console, transient=True, disable=not console.is_terminal)


def reading(path: Path) -> AbstractContextManager[BinaryIO]:
    """A file to read, with a bar over its bytes. Raises `OSError`."""
    console = Console(stderr=True)
    is_silent = not console.is_terminal
    return open_watched(
        path, "rb", description=f"reading {path.name}", console=console, transient=True, disable=is_silent
    )


@contextmanager
def busy(what: str) -> Iterator[None]:
    """Work of unknown length, with something that moves."""
    console = Console(stderr=True)
    if console.is_terminal:
        with console.status(what):
            yield
    else:
        yield
