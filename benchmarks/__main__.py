"""The runner: `python -m benchmarks`, all rows by default, on this interpreter or on others too."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

import benchmarks
from benchmarks.compare import LOOPS, Settings, measure
from benchmarks.machine import about
from benchmarks.report import Results, dumped, loaded, markdown, peers_markdown, show
from benchmarks.rows import Row
from benchmarks.table import TABLE, selected

_PROGRESS = Console(stderr=True)
_WIDTH = 180  # where no terminal has one


def main(arguments: list[str] | None = None) -> int:
    options = _options().parse_args(arguments)
    words = [word.strip() for word in options.rows.split(",") if word.strip()]
    try:
        rows = selected(words)
    except LookupError as error:
        sys.stderr.write(f"no row has {error} in its name; subjects are {', '.join(TABLE)}\n")
        return 2
    results: Results = {}
    for python in options.python or [sys.executable]:
        if python == sys.executable:
            results |= _here(rows, options)
        else:
            results |= _there(python, options)
    before = loaded(options.before.read_text(encoding="utf-8")) if options.before else {}
    if options.json is not None and str(options.json) != "-":
        options.json.write_text(dumped(results), encoding="utf-8")
    if str(options.json) == "-":
        sys.stdout.write(dumped(results))
    elif options.markdown:
        lines = [*markdown(rows, results, before), "", *peers_markdown(rows, results)]
        sys.stdout.write("\n".join([f"{about()}.", "", *lines, ""]))
    else:
        console = Console() if sys.stdout.isatty() else Console(width=_WIDTH)
        console.print(about(), highlight=False)
        show(rows, results, console)
    return 0


def _here(rows: Sequence[Row], options: argparse.Namespace) -> Results:
    results: Results = {}
    for loop in LOOPS if options.loop == "both" else (options.loop,):
        settings = Settings(loop, options.rounds, options.scale, options.peers)
        results[settings.place] = {}
        for row in rows:
            _PROGRESS.print(f"{settings.place}: {row.name} ...", style="dim", highlight=False)
            results[settings.place][row.name] = measure(row, settings)
    return results


def _there(python: str, options: argparse.Namespace) -> Results:
    """The same under another interpreter, which has the dependencies of its own."""
    command = [python, "-m", "benchmarks", "--rows", options.rows, "--loop", options.loop, "--json", "-"]
    command += ["--rounds", str(options.rounds), "--scale", str(options.scale)]
    if not options.peers:
        command.append("--no-peers")
    return loaded(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def _options() -> argparse.ArgumentParser:
    usual = Settings()
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=benchmarks.__doc__)
    parser.add_argument(
        "--rows", default="", metavar="WORDS", help=f"words of their names, or of {', '.join(TABLE)}; with commas"
    )
    parser.add_argument("--loop", choices=(*LOOPS, "both"), default=usual.loop)
    parser.add_argument("--rounds", type=int, default=usual.rounds, help="turns of each side (default: %(default)s)")
    parser.add_argument("--scale", type=float, default=usual.scale, help="multiplies the numbers of events")
    parser.add_argument("--no-peers", dest="peers", action="store_false", help="leave other libraries out")
    parser.add_argument(
        "--python", action="append", metavar="PATH", help="an interpreter to repeat it under; may be given often"
    )
    parser.add_argument("--markdown", action="store_true", help="print the rows of docs/figures.md")
    parser.add_argument("--before", type=Path, metavar="FILE", help="lay an earlier run, kept with --json, beside them")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the figures there; - for standard output only")
    return parser


if __name__ == "__main__":
    sys.exit(main())
