"""Streams: standard output and error of a command. That nobody reads them, or cannot show what they say, is no reason to fail."""

from __future__ import annotations

import io
import os
import sys


def prepare_streams() -> None:
    """Where one is closed, what is written goes nowhere; and no other file takes its number, to be written to by mistake."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - it lasts as long as the process
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def is_reader_gone(end: SystemExit) -> bool:
    """Did typer end the command because whoever read its output has seen enough? It makes that an exit code of 1."""
    return isinstance(end.__context__, BrokenPipeError)
