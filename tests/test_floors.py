"""Floors: who may import whom. The house is a table; an import that points up or to a forbidden side fails here."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# eventbus from the ground up: a room imports from its own floor and those below. "" is the public face.
FLOORS = (
    {"errors", "clock", "frozen"},
    {"event"},
    {"context", "selector", "policy", "codec", "causality", "weight"},
    {"receipt", "stats", "dead_letter", "pool", "journal"},
    {"burst", "delivery"},
    {"mailbox", "door"},
    {"runtime"},
    {"worker"},
    {"hands", "threads", "sweep", "single"},
    {"subscription", "dispatcher"},
    {"stream"},
    {"bus"},
    {"committer", "quarantine", "keeper", "recent", "retention"},
    {"durable", "playback"},
    {"kept"},
    {"journaled", "trailing"},
    {"config"},
    {""},
    {"observability", "gateway", "testing"},
    {"cli"},
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
MOVERS = {"door", "mailbox", "worker"}  # stations that never import each other, but for a worker its own mailbox
JOURNALS_KNOW = {"errors", "clock", "frozen", "event", "codec", "journal.base", "journal.cursor", "journal.integrity"}

# quantum_trader: values, components that meet only as events, and those who build them.
VALUES = {"events", "model", "instruments", "config", "snapshot", "identity", "files"}
COMPONENTS = {"market", "alpha", "control", "execution", "learning", "monitoring", "web"}
BUILDERS = {"app", "session", "wiring", "runs", "cli", ""}
PURE = {
    "market.indicators",
    "execution.fills",
    "execution.marked",
    "execution.sole",
    "learning.statistics",
    "alpha.families",
    "alpha.stops",
}  # plain maths, open to every component
FACE = {"", "observability"}  # the rooms of eventbus that quantum_trader may enter
READING = {"cli", "codec", "journal"}  # and what those open who read the journal of a run
READERS = {"runs", "cli"}

HEAVY = {
    "redis",
    "asyncpg",
    "nats",
    "fastapi",
    "starlette",
    "uvicorn",
    "websockets",
    "httpx",
    "typer",
    "click",
    "numpy",
}


def parsed(package: str) -> dict[str, ast.Module]:
    """Every module of `package` by its dotted name below it; the package itself is ""."""
    folder = ROOT / package
    names = {file: ".".join(file.relative_to(folder).with_suffix("").parts) for file in folder.rglob("*.py")}
    return {
        name.removesuffix("__init__").rstrip("."): ast.parse(file.read_text(), file) for file, name in names.items()
    }


HOUSE = {package: parsed(package) for package in ("eventbus", "quantum_trader")}
MODULES = [(package, module) for package, trees in HOUSE.items() for module in sorted(trees)]


def imported(tree: ast.Module, package: str) -> Iterator[str]:
    """What `tree` imports from `package`, at the top or inside a function, as names below the package."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            dotted = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            members = [f"{node.module}.{alias.name}" for alias in node.names]
            dotted = [name if name.partition(".")[2] in HOUSE[package] else f"{node.module}" for name in members]
        else:
            continue
        yield from (name.partition(".")[2] for name in dotted if name.partition(".")[0] == package)


def may_import(package: str, module: str, target: str) -> bool:
    room, other = module.partition(".")[0], target.partition(".")[0]
    if package == "quantum_trader":
        return room in BUILDERS or other in VALUES or (room in COMPONENTS and (room == other or target in PURE))
    if room == "journal":
        return target in JOURNALS_KNOW or target.partition("_")[0] == module.partition("_")[0]  # sqlite, sqlite_schema
    return FLOOR_OF.get(other, len(FLOORS)) <= FLOOR_OF[room] and (
        room == other or not {room, other} <= MOVERS or (room, other) == ("worker", "mailbox")
    )


@pytest.mark.parametrize(("package", "module"), MODULES)
def test_imports_point_down(package: str, module: str) -> None:
    rooms = FLOOR_OF.keys() if package == "eventbus" else VALUES | COMPONENTS | BUILDERS
    assert module.partition(".")[0] in rooms, "a new room needs its place in the table"
    tree = HOUSE[package][module]
    assert [target for target in imported(tree, package) if not may_import(package, module, target)] == []


@pytest.mark.parametrize("package", HOUSE)
def test_no_module_imports_itself_in_a_circle(package: str) -> None:
    TopologicalSorter({name: {*imported(tree, package)} for name, tree in HOUSE[package].items()}).prepare()


def test_trader_sees_only_the_public_face_of_the_bus() -> None:
    seen = {(name, target) for name, tree in HOUSE["quantum_trader"].items() for target in imported(tree, "eventbus")}
    strangers = {(name, target) for name, target in seen if target.partition(".")[0] not in FACE}
    assert {
        (name, target)
        for name, target in strangers
        if name.partition(".")[0] not in READERS or target.partition(".")[0] not in READING
    } == set()
    assert not any([*imported(tree, "quantum_trader")] for tree in HOUSE["eventbus"].values())


@pytest.mark.parametrize(
    ("package", "source", "target"),
    [
        ("eventbus", "event", "bus"),
        ("eventbus", "worker", "door"),
        ("eventbus", "journal.redis", "journal.sqlite"),
        ("eventbus", "journal.redis", "journal.sqlite_schema"),
        ("eventbus", "journal.redis", "bus"),
        ("eventbus", "journaled", "config"),
        ("quantum_trader", "alpha.trend", "execution.ledger"),
        ("quantum_trader", "control.risk", "app"),
        ("quantum_trader", "events", "market.bars"),
    ],
)
def test_table_refuses(package: str, source: str, target: str) -> None:
    assert not may_import(package, source, target)


def test_importing_the_bus_loads_no_driver_web_framework_or_cli() -> None:
    code = "import sys, eventbus; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "eventbus" in loaded.split()
    assert HEAVY.intersection(loaded.split()) == set()
