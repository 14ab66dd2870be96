"""Logging: one line per record, JSON or console, with the running delivery bound to it.

Renders what structlog loggers and standard loggers say, those of the bus included. Lines are cut to 4 KiB, control characters
escaped, secrets blotted out; a thread does the writing, so that a slow or broken sink delays no delivery.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from queue import Full, Queue
from threading import Lock, Thread
from typing import Any, Literal, TextIO
from weakref import WeakSet

import structlog
from structlog.types import EventDict, Processor

from eventbus.errors import PolicyConflict
from eventbus.road.context import inside

LINE_CAP = 4 * 1024  # bytes
_QUEUE = 10_000  # lines that wait for the sink; beyond it they are dropped and counted
_FLUSH_S = 1.0
_FIELDS = 64  # of one record
_DEPTH = 4  # of nested fields
_SHORTEST = 48  # characters that a cut field keeps
_HEAD = ("timestamp", "level", "logger")  # never cut
_FROM_THE_END = frozenset({"exception", "stack", "loop_stack"})  # the last lines say most

_BLOT = "[secret]"
_SECRET_NAME = re.compile(r"(?i)passw|secret|token|api_?key|authorization|cookie|credential|private_?key|webhook|dsn$")
_SECRET_TEXT = re.compile(
    r"(?i)(?:(?<=bearer )|(?<=basic ))[\w.~+/=-]{8,}"  # HTTP credentials
    r"|(?<=://)[^/\s:@]*:[^/\s@]+(?=@)"  # user and password of a URL
    r"|(?<=/webhooks/)[\w/-]+"  # the address of a webhook is its password
    r"|\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*"  # a JSON web token
    r"|(?<=[?&]token=)[^&\s]+"
)
# C0 and C1 controls, line separators, and the marks that reorder text on a terminal.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")

Format = Literal["json", "console"]


class LogSink(logging.Handler):
    """Renders where the record is made, writes in a thread of its own. Never raises: `errors` and `dropped` count instead."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self.errors = 0  # records that could not be rendered, lines that could not be written
        self.dropped = 0  # lines that found the queue full
        self._stream = stream
        self._writing = Lock()
        self._rests = False  # while the process forks
        self._begin()
        _sinks.add(self)

    def _begin(self) -> None:
        self._lines: Queue[str | None] = Queue(_QUEUE)
        self._has_thread = False

    def emit(self, record: logging.LogRecord) -> None:
        if not self._has_thread:
            self._has_thread = True
            Thread(target=self._write, name="eventbus-log", daemon=True).start()
        try:
            self._lines.put_nowait(self.format(record))
        except Full:
            self.dropped += 1
        except Exception:  # noqa: BLE001 - whatever a logged value does when it is printed
            self.errors += 1

    def flush(self, timeout: float = _FLUSH_S) -> None:
        """Wait until what was logged is written, at most so many seconds."""
        with self._lines.all_tasks_done:
            self._lines.all_tasks_done.wait_for(lambda: not self._lines.unfinished_tasks, timeout)

    def close(self) -> None:
        """Write what waits, and end the thread."""
        self.flush()
        try:
            if self._has_thread:
                self._lines.put_nowait(None)
                self._has_thread = False
        except Full:
            self.errors += 1  # the sink hangs; its thread is a daemon and ends with the process
        super().close()

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            try:
                with self._writing:
                    self._stream.write(line + "\n")
                    if self._lines.empty():
                        self._stream.flush()
            except Exception:  # noqa: BLE001 - a full disk, a closed pipe: the next line may do better
                self.errors += 1
            self._lines.task_done()

    # --- a fork: it copies no thread, but whatever that had locked or half written ----------------------------------

    def rest(self) -> None:
        """Write nothing until `go_on`, and have nothing half written."""
        self._rests = self._writing.acquire(timeout=_FLUSH_S)
        if self._rests:
            with contextlib.suppress(Exception):  # as above
                self._stream.flush()

    def go_on(self) -> None:
        """Write again."""
        if self._rests:
            self._rests = False
            self._writing.release()

    def forked(self) -> None:
        """This is the child: lines that wait are the parent's, and the next one here gets a thread."""
        self.go_on()
        self._begin()


_sinks: WeakSet[LogSink] = WeakSet()


def _each(do: Callable[[LogSink], None]) -> Callable[[], None]:
    def call() -> None:
        for sink in tuple(_sinks):
            do(sink)

    return call


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_each(LogSink.rest), after_in_parent=_each(LogSink.go_on), after_in_child=_each(LogSink.forked)
    )


def configure_logging(
    format: Format = "console",
    level: str | int = "INFO",
    *,
    stream: TextIO | None = None,
    secrets: Iterable[str] = (),
) -> LogSink:
    """Send all logging of this process through one sink, to `stream` or standard error; calling again replaces it.

    `secrets` are texts that must never appear; what looks like a credential is blotted out anyway. Raises `PolicyConflict` for an
    unknown format or level.
    """
    if format not in ("json", "console"):
        raise PolicyConflict("format", f"{format!r} is unknown: use 'json' or 'console'")
    levels = logging.getLevelNamesMapping()
    threshold = levels.get(level.upper()) if isinstance(level, str) else level
    if threshold is None:
        raise PolicyConflict("level", f"{level!r} is unknown: use one of {', '.join(levels)}")

    sink = LogSink(stream or sys.stderr)
    line = _Line(_as_json if format == "json" else _console(sys.stderr if stream is None else stream), secrets)
    line.escapes = format == "console"
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        bind_delivery,
    ]
    sink.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.StackInfoRenderer(),
                structlog.processors.format_exc_info,
                line,
            ],
        )
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, LogSink)]:
        root.removeHandler(handler)
        handler.close()
    root.addHandler(sink)
    root.setLevel(threshold)
    return sink


def bind_delivery(_logger: Any, _method: str, fields: EventDict) -> EventDict:
    """Structlog processor: which event and subscription the code that logs is working for."""
    mark = inside()
    if mark is not None:
        cell, _place, event = mark
        fields.setdefault("type", event.type)
        fields.setdefault("subscription", cell.worker.name)
        fields.setdefault("event_id", event.event_id)
        fields.setdefault("correlation_id", event.correlation_id)
    return fields


# --- one line ------------------------------------------------------------------------------------------------------


class _Line:
    """The last processor: cleans the fields, renders them, and cuts until the line fits."""

    escapes = False  # does the renderer leave control characters in?

    def __init__(self, render: Callable[[dict[str, Any]], str], secrets: Iterable[str]) -> None:
        self._render = render
        self._secrets = sorted((secret for secret in secrets if secret), key=len, reverse=True)

    def __call__(self, _logger: Any, _method: str, event: EventDict) -> str:
        head = {name: event.pop(name, "") for name in _HEAD}
        said = str(event.pop("event", ""))
        if exception := event.get("exception"):
            said = said.removesuffix(f"\n{exception}")  # a plain format would not have it
        named = {**head, "message": said, **event}
        fields = {self._text(name): self._clean(value, str(name)) for name, value in list(named.items())[:_FIELDS]}
        line = self._render(fields)
        while (excess := len(line.encode("utf-8", "replace")) - LINE_CAP) > 0:
            _cut(fields, excess)
            line = self._render(fields)
        return line

    def _clean(self, value: Any, name: str = "", depth: int = 0) -> Any:
        if _SECRET_NAME.search(name):
            return _BLOT
        if value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
            return value
        if depth < _DEPTH and isinstance(value, Mapping):
            inside = list(value.items())[:_FIELDS]
            return {self._text(key): self._clean(item, str(key), depth + 1) for key, item in inside}
        if depth < _DEPTH and isinstance(value, list | tuple | set | frozenset):
            return [self._clean(item, "", depth + 1) for item in list(value)[:_FIELDS]]
        if name in _FROM_THE_END and self.escapes:  # tracebacks keep their lines, marked as belonging to this record
            return "\n".join(f"  | {self._text(part)}" for part in str(value)[-LINE_CAP:].splitlines())
        return self._text(value, name)

    def _text(self, value: Any, name: str = "") -> str:
        text = _printed(value)
        text = text[-LINE_CAP:] if name in _FROM_THE_END else text[:LINE_CAP]
        for secret in self._secrets:
            text = text.replace(secret, _BLOT)
        text = _SECRET_TEXT.sub(_BLOT, text)
        return _CONTROL.sub(_escaped, text) if self.escapes else text


def _printed(value: Any) -> str:
    try:
        return value if type(value) is str else str(value)
    except Exception as error:  # noqa: BLE001 - a value of somebody's own may raise anything here
        return f"<its str() raised {type(error).__name__}>"


def _escaped(found: re.Match[str]) -> str:
    return found.group().encode("unicode_escape").decode("ascii")


def _cut(fields: dict[str, Any], excess: int) -> None:
    """Make the largest field smaller by about `excess` bytes; where all are small, do without the last."""
    sizes = {name: len(_as_json({name: value})) for name, value in fields.items() if name not in _HEAD}
    name = max(sizes, key=sizes.__getitem__)
    text = str(fields[name])
    if len(text) <= _SHORTEST:
        fields.pop([*fields][-1])
        return
    length = max(_SHORTEST, len(text) - 4 - excess * len(text) // max(1, sizes[name]))
    length = min(length, len(text) - 4)
    fields[name] = f"…{text[-length:]}" if name in _FROM_THE_END else f"{text[:length]}…"


def _as_json(fields: dict[str, Any]) -> str:
    # Everything beyond ASCII is escaped: no terminal and no log shipper meets a character it would act on.
    return json.dumps(fields, ensure_ascii=True)


def _console(stream: TextIO) -> Callable[[dict[str, Any]], str]:
    renderer = structlog.dev.ConsoleRenderer(
        colors=stream.isatty(), event_key="message", exception_formatter=structlog.dev.plain_traceback
    )
    return lambda fields: renderer(None, "", dict(fields))
