"""The runner: `python -m benchmarks [workload ...]`, all of them by default."""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import pkgutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from rich.console import Console

import benchmarks
from benchmarks.compare import CLOCKS, LOOPS, Settings
from benchmarks.report import machine, show


def workloads() -> dict[str, ModuleType]:
    """The modules of this package that have something to run."""
    names = [module.name for module in pkgutil.iter_modules(benchmarks.__path__) if not module.name.startswith("_")]
    modules = {name: importlib.import_module(f"benchmarks.{name}") for name in names}
    return {name: module for name, module in modules.items() if hasattr(module, "run")}


def main(arguments: list[str] | None = None) -> int:
    known = workloads()
    options = _options(known).parse_args(arguments)
    if unknown := set(options.workload) - known.keys():
        sys.stderr.write(f"no workload {', '.join(sorted(unknown))}: there are {', '.join(known)}\n")
        return 2
    settings = Settings(options.loop, options.rounds, options.scale, options.peers, options.clock)
    about = machine() | {
        "loop": settings.loop,
        "rounds": settings.rounds,
        "scale": settings.scale,
        "clock": settings.clock,
    }
    results: dict[str, Any] = {}
    console, progress = Console(), Console(stderr=True)
    for name in options.workload or known:
        progress.print(f"{name} ...", style="dim")
        run = known[name].run
        results[name] = run(settings) if inspect.signature(run).parameters else run()
    if options.json is not None:
        text = json.dumps({"machine": about, "results": results}, indent=2)
        if str(options.json) == "-":
            sys.stdout.write(text + "\n")
            return 0
        options.json.write_text(text + "\n", encoding="utf-8")
    show(results, about, console)
    return 0


def _options(known: dict[str, ModuleType]) -> argparse.ArgumentParser:
    usual = Settings()
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=benchmarks.__doc__)
    parser.add_argument("workload", nargs="*", help=f"some of: {', '.join(known)}")
    parser.add_argument("--loop", choices=tuple(LOOPS), default=usual.loop)
    parser.add_argument(
        "--clock", choices=tuple(CLOCKS), default=usual.clock, help="cpu: where others use the machine too"
    )
    parser.add_argument("--rounds", type=int, default=usual.rounds, help="turns of each side (default: %(default)s)")
    parser.add_argument("--scale", type=float, default=usual.scale, help="multiplies the numbers of events")
    parser.add_argument("--no-peers", dest="peers", action="store_false", help="leave other libraries out")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there; - for standard output only")
    return parser


if __name__ == "__main__":
    sys.exit(main())
