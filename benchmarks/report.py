"""Report: figures as a table or as JSON, with the machine they were measured on."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from rich.console import Console
from rich.table import Table

_PACKAGES = ("uvloop", "pydantic", "blinker", "psygnal", "eventkit", "pyee", "bubus")

Figures = Mapping[str, Any]


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "load": os.getloadavg() if hasattr(os, "getloadavg") else None,
        "packages": versions,
    }


def rows(results: Mapping[str, Figures]) -> Iterator[tuple[str, Figures]]:
    """One row per set of figures: a workload may have several."""
    for name, figures in results.items():
        if figures and all(isinstance(value, Mapping) and "reach" in value for value in figures.values()):
            yield from ((f"{name}: {part}", inner) for part, inner in figures.items())
        else:
            yield name, figures


def goals(figures: Figures) -> dict[str, float]:
    """What is to be reached, by figure."""
    reach = figures.get("reach", {})
    return dict(reach) if isinstance(reach, Mapping) else {"ratio": reach}


def is_reached(name: str, figure: float, goal: float) -> bool:
    """Rates and the ratio of speeds are to be that high, everything else that low."""
    return figure >= goal if name == "ratio" or name.endswith("_per_s") else figure <= goal


def show(results: Mapping[str, Figures], about: Mapping[str, Any], console: Console) -> None:
    table = Table(
        title="Python {python}, {system}, {cpus} CPUs, {loop}, {clock} time".format_map(about), title_justify="left"
    )
    for heading in ("workload", "figures", "reach", ""):
        table.add_column(heading)
    for name, figures in rows(results):
        wanted = goals(figures)
        plain = {key: value for key, value in figures.items() if isinstance(value, int | float)}
        verdicts = [is_reached(key, plain[key], goal) for key, goal in wanted.items() if key in plain]
        table.add_row(
            name.replace("_", " "),
            ", ".join(f"{_words(key)} {_number(value)}" for key, value in plain.items() if key != "reach"),
            ", ".join(f"{_words(key)} {_sign(key)} {goal:g}" for key, goal in wanted.items()),
            ("[green]yes[/]" if all(verdicts) else "[red]no[/]") if verdicts else "",
        )
    console.print(table)
    for name, figures in rows(results):
        if peers := figures.get("peers_ns"):
            _show_peers(name, figures, peers, console)


def _show_peers(name: str, figures: Figures, peers: Mapping[str, float], console: Console) -> None:
    table = Table(title=f"Peers, {name.replace('_', ' ')}", title_justify="left")
    for heading in ("library", "ns per delivery", "million per second"):
        table.add_column(heading, justify="left" if heading == "library" else "right")
    ours = {"eventbus": figures["eventbus_ns"], "asyncio.Queue": figures["queue_ns"]}
    for library, taken_ns in sorted((ours | dict(peers)).items(), key=lambda item: item[1]):
        table.add_row(library, f"{taken_ns:,.0f}", f"{1e3 / taken_ns:.3f}")
    console.print(table)


def _words(key: str) -> str:
    return key.replace("_", " ")


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _sign(key: str) -> str:
    return ">=" if is_reached(key, 1.0, 0.0) else "<="
