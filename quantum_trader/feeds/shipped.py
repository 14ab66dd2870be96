"""Shipped feeds: a file at any speed, a file that grows, a WebSocket of JSON bars; and whatever a user's own callable makes.

A file holds a bar a line: CSV with a head, or JSON. A WebSocket that breaks is opened again, sooner first and later less often.
"""

from __future__ import annotations

import asyncio
import csv
import logging
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from quantum_trader.feeds.values import Bar, Garbage, read_fields, read_json
from quantum_trader.own.loading import OwnCodeError, broken, named

FEEDS: Final = "quantum_trader.feeds"
_LOOK_S: Final = 0.1  # how often a file is looked at
_LONGEST_WAIT_S: Final = 30.0  # between two attempts to connect
_FRAME: Final = 64 * 1024  # bytes of a message, and of a line

_log = logging.getLogger(__name__)


class FileFeed:
    """The bars of a file, `speed` times a second one time of them; 0 is as fast as they are taken."""

    is_replay = True

    def __init__(self, path: Path, speed: float = 0.0) -> None:
        self._speed = speed
        self._items = list(_lines(path))
        bars = [item for item in self._items if isinstance(item, Bar)]
        if not bars:
            raise OwnCodeError(str(path), "has no bar", remedy="give a bar a line, with symbol, ts, open, ..., volume")
        self.symbols: Sequence[str] = tuple(sorted({bar.symbol for bar in bars}))
        times = sorted({bar.ts for bar in bars})
        steps = sorted((b - a).total_seconds() for a, b in pairwise(times))
        self.interval_s = max(1, round(steps[len(steps) // 2])) if steps else 86_400

    async def __aiter__(self) -> AsyncIterator[Bar]:
        last = None
        for item in self._items:
            ts = getattr(item, "ts", last)
            if self._speed and last is not None and ts != last:
                await asyncio.sleep(1.0 / self._speed)
            last = ts
            yield item  # type: ignore[misc]  # what is no bar is told as garbage by who watches


class TailFeed:
    """The lines of a file that grows, from its beginning on; it ends when the file is gone."""

    def __init__(self, path: Path, symbols: Sequence[str], interval_s: int) -> None:
        self._path = path
        self.symbols = symbols
        self.interval_s = interval_s

    async def __aiter__(self) -> AsyncIterator[Bar]:
        head: list[str] | None = None
        with self._path.open("rb") as file:
            rest = b""
            while self._path.exists():
                new = file.read(_FRAME)
                if not new:
                    await asyncio.sleep(_LOOK_S)
                    continue
                *lines, rest = (rest + new).split(b"\n")
                for line in lines:
                    head, item = _line(line.decode(errors="replace").strip(), head)
                    if item is not None:
                        yield item  # type: ignore[misc]  # what is no bar is told as garbage by who watches


class WebSocketFeed:
    """JSON bars, one a message, from `url`. A connection that is cut is made again, after a wait that grows."""

    def __init__(self, url: str, symbols: Sequence[str], interval_s: int, *, wait_s: float = 0.5) -> None:
        self._url = url
        self._wait_s = wait_s
        self.symbols = symbols
        self.interval_s = interval_s

    async def __aiter__(self) -> AsyncIterator[Bar]:
        from websockets.asyncio.client import connect
        from websockets.exceptions import WebSocketException

        wait = self._wait_s
        while True:
            try:
                async with connect(self._url, max_size=_FRAME, open_timeout=10) as socket:
                    async for message in socket:
                        wait = self._wait_s
                        yield read_json(message)  # type: ignore[misc]  # what is no bar is told by who watches
            except (OSError, TimeoutError, WebSocketException) as error:
                _log.warning("feed %s is cut (%s); again in %.1f s", self._url, type(error).__name__, wait)
            await asyncio.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT_S)


class IteratedFeed:
    """A finite `Feed` of a user's own, as one that is live: as fast as its bars are taken."""

    is_replay = True

    def __init__(self, feed: Any) -> None:
        self._feed = feed
        self.symbols: Sequence[str] = tuple(feed.symbols)
        self.interval_s = int(feed.interval_s)

    async def __aiter__(self) -> AsyncIterator[Bar]:
        for bar in self._feed:
            yield bar


class Chosen:
    """Some symbols of a feed; what it brings of others is left out, and what is no bar is let through to be told."""

    def __init__(self, live: Any, symbols: Sequence[str]) -> None:
        self._live = live
        self.symbols = tuple(symbols)
        self.interval_s = int(live.interval_s)
        self.is_replay = bool(getattr(live, "is_replay", False))

    async def __aiter__(self) -> AsyncIterator[Bar]:
        others = {*self._live.symbols} - {*self.symbols}
        async for item in self._live:
            if getattr(item, "symbol", None) not in others:
                yield item


def feed_of(reference: str, symbols: Sequence[str], interval_s: int | None) -> Any:
    """The live feed that `file:PATH[@SPEED]`, `tail:PATH`, `ws://HOST/PATH` or `module:callable` names. Raises `OwnCodeError`."""
    kind, _, rest = reference.partition(":")
    if kind == "file":
        path, at, speed = rest.rpartition("@")
        return FileFeed(Path(path), _speed(reference, speed)) if at else FileFeed(Path(rest))
    if kind in {"tail", "ws", "wss"}:
        if not symbols:
            raise OwnCodeError(reference, "does not say which symbols it has", remedy="name them with --symbols A,B")
        seconds = interval_s or 60
        if kind != "tail":
            if find_spec("websockets") is None:
                raise OwnCodeError(
                    reference,
                    "needs websockets, which is not installed",
                    remedy="pip install 'quantum-trader[gateway]'",
                )
            return WebSocketFeed(reference, symbols, seconds)
        if not Path(rest).is_file():
            raise OwnCodeError(rest, "no such file", remedy="check the path, or make it first")
        return TailFeed(Path(rest), symbols, seconds)
    make = named(reference, FEEDS)
    try:
        feed = make()
        is_live = hasattr(feed, "__aiter__")
        return feed if is_live and tuple(feed.symbols) and int(feed.interval_s) > 0 else IteratedFeed(feed)
    except OwnCodeError:
        raise
    except Exception as error:
        raise broken(error, reference, "let it give a feed with symbols and interval_s") from error


def _speed(reference: str, text: str) -> float:
    try:
        speed = float(text)
    except ValueError as cause:
        raise OwnCodeError(
            reference, f"{text!r} is no speed", remedy="write file:PATH@10 for ten times a second"
        ) from cause
    if not 0 <= speed < 1e6:
        raise OwnCodeError(reference, f"{text} is no speed", remedy="give 0 (no limit) or more")
    return speed


def _lines(path: Path) -> Iterator[Bar | Garbage]:
    try:
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError as cause:
        raise OwnCodeError(str(path), f"cannot be read ({cause.strerror})", remedy="check the path") from cause
    head: list[str] | None = None
    for line in text.splitlines():
        head, item = _line(line.strip(), head)
        if item is not None:
            yield item


def _line(line: str, head: list[str] | None) -> tuple[list[str] | None, Bar | Garbage | None]:
    """The bar of a line, and the head that its columns are named by; a head itself gives none."""
    if not line:
        return head, None
    if line.startswith("{"):
        return head, read_json(line)
    cells = next(iter(csv.reader(_one(line))), [])
    if head is None:
        return [cell.strip().lower() for cell in cells], None
    if len(cells) != len(head):
        return head, Garbage("", f"{len(cells)} columns where the head has {len(head)}")
    return head, read_fields(dict(zip(head, cells, strict=True)))


def _one(line: str) -> Iterable[str]:
    return [line[:_FRAME]]
