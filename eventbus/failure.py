"""Failure: what an exception of a user's code says, as text and as decisions. It never raises, and it holds no frame for long.

A group is looked into: its leaves decide. The place named is the user's, not ours and not the library's he called.
"""

from __future__ import annotations

import linecache
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from eventbus.wording import TEXT_CAP, capped, text_of

_OURS = str(Path(__file__).parent)
_INSTALLED = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})
TRACEBACK = "Traceback (most recent call last):"
_LEAVES = 100  # of a group; more say nothing new
_FRAMES = 30  # the innermost of each exception
_LINKS = 20  # exceptions that are told: causes, contexts, members of groups


class Frame(NamedTuple):
    """One line of a traceback."""

    file: str
    line: int
    function: str
    module: str

    def __str__(self) -> str:
        return f"{self.function}, {self.file}:{self.line}"


class _Link(NamedTuple):
    """One exception of a chain, and what leads over to it."""

    said: str
    text: str
    frames: tuple[Frame, ...]


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception as text: what it says, and where. Made at once, cheaply; it holds neither the exception nor its frames.

    `kind` is the name of its class, for counting; `text` is one line with the user's frame, for messages.
    """

    kind: str
    text: str
    _links: tuple[_Link, ...]

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """What there is to say about `error`. Never raises, whatever the error does when it is looked at."""
        links: list[_Link] = []
        try:
            _follow(error, links)
            if not isinstance(error, BaseExceptionGroup):
                place = _own(links[0].frames)
                text = capped(links[0].text + (f" (in {place})" if place else ""))
                return cls(type(error).__qualname__, text, tuple(links))
        except BaseException:  # noqa: BLE001 - an exception may have odd attributes; its delivery must end all the same
            pass
        return cls(kind_of(error), describe(error), tuple(links))

    @property
    def told(self) -> str:
        """Its text, and the traceback below: at most 8 KiB. Source lines are read now."""
        text = capped(self.text, TEXT_CAP // 2)
        return f"{text}\n{capped(self.traceback, TEXT_CAP - len(text) - 1)}"

    @property
    def traceback(self) -> str:
        """Its traceback as Python prints it, the frames of the bus left out, at most 8 KiB. Source lines are read now."""
        lines: list[str] = []
        for link in reversed(self._links):
            if link.frames:
                lines.append(TRACEBACK)
            for frame in link.frames[-_FRAMES:]:
                lines.append(f'  File "{frame.file}", line {frame.line}, in {frame.function}')
                if source := linecache.getline(frame.file, frame.line).strip():
                    lines.append(f"    {source}")
            lines.append(link.text)
            if link.said:
                lines += ["", link.said, ""]
        return capped("\n".join(lines))


def kind_of(error: BaseException) -> str:
    """The name of its class; of a group, those of its leaves."""
    name = type(error).__qualname__
    if not isinstance(error, BaseExceptionGroup):
        return name
    return f"{name}({', '.join(dict.fromkeys(type(leaf).__qualname__ for leaf in leaves(error)))})"


def leaves(error: BaseException) -> tuple[BaseException, ...]:
    """The exceptions that a group holds, at any depth, in order; of another exception, itself."""
    if not isinstance(error, BaseExceptionGroup):
        return (error,)
    found: list[BaseException] = []
    waiting: list[BaseException] = [error]
    while waiting and len(found) < _LEAVES:
        one = waiting.pop()
        if isinstance(one, BaseExceptionGroup):
            waiting.extend(reversed(_members(one)))
        else:
            found.append(one)
    return tuple(found)


def _members(group: BaseExceptionGroup[BaseException]) -> tuple[BaseException, ...]:
    """As the interpreter keeps them, whatever a subclass says."""
    return BaseExceptionGroup.exceptions.__get__(group)  # type: ignore[no-any-return] # untyped in typeshed


def describe(error: BaseException) -> str:
    """The error as capped text with the user's line; of a group, each leaf with its own. Never raises."""
    try:
        if not isinstance(error, BaseExceptionGroup):
            return capped(_one(error))
        inside = "; ".join(map(_one, leaves(error)))
        return capped(f"{type(error).__qualname__}: {text_of(error.message)}: {inside}")
    except BaseException as broken:  # noqa: BLE001 - an exception may have odd attributes
        return f"{type(error).__qualname__}: <cannot be told: {type(broken).__name__}>"


def _one(error: BaseException) -> str:
    place = place_of(error)
    return f"{type(error).__qualname__}: {text_of(error)}" + (f" (in {place})" if place else "")


def place_of(error: BaseException) -> Frame | None:
    """The innermost line of the user's own code: not ours, not a library's. None for an exception that was never raised."""
    return _own(_shown(error.__traceback__))


def _own(his: Sequence[Frame]) -> Frame | None:
    if not his:
        return None
    home = his[0].module.partition(".")[0]  # an application may be installed beside its libraries
    return next(
        frame for frame in reversed(his) if frame.module.partition(".")[0] == home or not _is_installed(frame.file)
    )


def without_our_frame(error: BaseException) -> BaseException:
    """The error without the frame that caught it, and all that is in there: who keeps it keeps the user's frames only."""
    trace = error.__traceback__
    if trace is not None and trace.tb_next is not None:
        BaseException.with_traceback(error, trace.tb_next)
    return error


def _shown(trace: TracebackType | None) -> list[Frame]:
    """The frames that are not ours; all, where there is no other."""
    frames = []
    while trace is not None:
        code = trace.tb_frame.f_code
        module = trace.tb_frame.f_globals.get("__name__", "")
        frames.append(Frame(code.co_filename, trace.tb_lineno or 0, code.co_qualname, f"{module}"))
        trace = trace.tb_next
    return [frame for frame in frames if not _is_ours(frame.file)] or frames


def _follow(error: BaseException, links: list[_Link]) -> None:
    """Add the error, then what led to it: the members of a group, its cause, or what was being handled.

    What was added before something goes wrong stays.
    """
    waiting: list[tuple[str, BaseException]] = [("", error)]
    seen: set[int] = set()
    while waiting and len(seen) < _LINKS:
        said, one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        frames = _shown(one.__traceback__)
        if len(frames) > _FRAMES:  # the first of them tells what the user's own code is
            frames[1:-_FRAMES] = []
        links.append(_Link(said, f"{type(one).__qualname__}: {text_of(one)}", tuple(frames)))
        if one.__cause__ is not None:
            waiting.append(("The above exception was the direct cause of the following exception:", one.__cause__))
        elif one.__context__ is not None and not one.__suppress_context__:
            waiting.append(("During handling of the above exception, another exception occurred:", one.__context__))
        if isinstance(one, BaseExceptionGroup):
            waiting.extend(("The above exception is one of the following group:", member) for member in _members(one))


@lru_cache(maxsize=4096)
def _is_ours(file: str) -> bool:
    return file.startswith(_OURS)


@lru_cache(maxsize=4096)
def _is_installed(file: str) -> bool:
    return file.startswith(("<frozen", *_INSTALLED))
