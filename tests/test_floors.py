"""Floors: who may import whom. The house is a table; an import that points up or to a forbidden side fails here."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter

import pytest

from tests.sources import ROOT, of_package

# eventbus from the ground up, storey by storey: a room imports from its own floor and those below. "" is the public face. What only a
# type checker imports does not count: a station names its neighbours, and is given them by who builds it.
VALUES_OF_THE_BUS = (
    {"wording", "clock", "log", "exact", "kind", "stats"},
    {"errors", "failure", "outcome", "frozen"},
    {"bounds", "url", "settings", "tagged"},
    {"fields"},
    {"event"},
    {"codec", "causality", "selector", "policy", "footprint", "dead_letter", "tap"},
    {"retained"},
    {"journal"},
)
ROAD = (
    {
        "road.causes",
        "road.lane",
        "road.station",
        "road.commit",
        "road.context",
        "road.crew",
        "road.pool",
        "road.run",
        "road.waiters",
    },
    {"road.burst", "road.part", "road.receipt", "road.deadlines", "road.telling"},
    {"road.gate", "road.in_flight", "road.keys", "road.overflow", "road.pace", "road.retries", "road.ways"},
    {"road.behind", "road.mailbox", "road.terms"},
    {"road.arrival", "road.withdrawal"},
    {"road.places", "road.waits", "road.shutdown", "road.ending", "road.worker"},
    {"road.tasks", "road.threads", "subscription"},
    {"road.stepping", "road.registry", "stream"},
    {"road.door", "road.dispatcher", "road.latch", "road.lifetime"},
)
DURABILITY = (
    {
        "durability.opening",
        "durability.quarantine",
        "durability.event_cache",
        "durability.trouble",
        "durability.watched",
    },
    {"durability.share", "durability.holding", "durability.record", "durability.committing"},
    {
        "durability.aside",
        "durability.passage",
        "durability.tail",
        "durability.asking",
        "durability.reading",
        "durability.retention",
        "durability.writing",
    },
    {"durability.ahead", "durability.beginning", "durability.choosing", "durability.leases", "durability.source"},
    {
        "durability.following",
        "durability.forgotten",
        "durability.latching",
        "durability.quotes",
        "durability.letters",
        "durability.tail_source",
    },
    {"durability.group"},
    {"durability.groups", "durability.groups_in_memory"},
    {"durability.store"},
    {"durability.memory_store", "durability.journaled"},
    {"durability.shared"},
)
BUS = ({"interface"}, {"road.counts"}, {"road.house"}, {"bus"}, {"config"}, {""})
WINDOWS = ({"observability", "gateway", "testing"},)
STREET = ({"cli"},)
FLOORS = (*VALUES_OF_THE_BUS, *ROAD, *DURABILITY, *BUS, *WINDOWS, *STREET)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
# Stations that never import each other, but for a way of running its task: they are given to each other.
STATIONS = {
    *("road.door", "road.worker", "road.dispatcher", "road.registry", "road.lifetime"),
    *("road.stepping", "road.tasks", "road.threads", "road.ending"),
}
GIVEN = {
    ("road.dispatcher", "road.stepping"),  # it makes the task that leads
    ("road.registry", "road.worker"),  # it makes the worker of a subscription
    ("road.stepping", "road.tasks"),  # how a handler is called
}
JOURNALS_KNOW = {
    *("wording", "errors", "clock", "bounds", "url", "settings"),
    *(
        "codec",
        "journal.protocol",
        "journal.values",
        "journal.progress",
        "journal.parts",
        "journal.shared",
        "journal.hearing",
        "log",
    ),
}
BACKENDS = ("journal.sqlite", "journal.postgres", "journal.redis", "journal.nats")
OPENERS = {
    "config",
    "journal.reader",
    "journal.backends",
}  # who of all knows where a backend is; they load it by its package
SPEAK_SQL = {"journal.sqlite", "testing.crash_disk"}  # and the disk that loses power, for the tests of the former

# quantum_trader: values, components that meet only as events, and those who build them.
VALUES = {"events", "model", "instruments", "config", "snapshot", "identity", "files"}
COMPONENTS = {"own", "market", "alpha", "control", "execution", "learning", "monitoring", "web"}
BUILDERS = {
    *(
        "api",
        "app",
        "system",
        "derived",
        "brought",
        "feeds",
        "venues",
        "pace",
        "roll",
        "session",
        "wiring",
        "runs",
        "cli",
        "",
    ),
}
PURE = {
    "market.indicators",
    "execution.fills",
    "execution.marked",
    "execution.sole",
    "learning.statistics",
    "monitoring.round_trips",
    "alpha.families",
    "alpha.stops",
    "alpha.trials",
}  # plain maths, open to every component
FACE = {"", "observability"}  # the rooms of eventbus that quantum_trader may enter
DOOR = "gateway"  # and the one for those who show a run
SHOWING = {"web", "cli"}
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


HOUSE = {package: of_package(package) for package in ("eventbus", "quantum_trader")}
MODULES = [(package, module) for package, trees in HOUSE.items() for module in sorted(trees)]


@cache
def imported(tree: ast.AST, package: str) -> tuple[str, ...]:
    """What `tree` imports from `package` when it runs, at the top or inside a function, as names below the package."""
    return tuple(_imported(tree, package))


def _imported(tree: ast.AST, package: str) -> Iterator[str]:
    for node in running(tree):
        if isinstance(node, ast.Import):
            dotted = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            members = [f"{node.module}.{alias.name}" for alias in node.names]
            dotted = [name if name.partition(".")[2] in HOUSE[package] else f"{node.module}" for name in members]
        else:
            continue
        yield from (name.partition(".")[2] for name in dotted if name.partition(".")[0] == package)


def running(node: ast.AST) -> Iterator[ast.AST]:
    """Everything in it but what only a type checker reads."""
    yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
            yield from (below for part in child.orelse for below in running(part))
        else:
            yield from running(child)


def room_of(module: str) -> str:
    """The room of eventbus that a module stands in: itself, or the folder that has one place in the table."""
    return module if module in FLOOR_OF else module.partition(".")[0]


def may_import(package: str, module: str, target: str) -> bool:
    if package == "quantum_trader":
        room, other = module.partition(".")[0], target.partition(".")[0]
        return room in BUILDERS or other in VALUES or (room in COMPONENTS and (room == other or target in PURE))
    room, other = room_of(module), room_of(target)
    if target.startswith(BACKENDS) and not module.startswith(BACKENDS):
        return module in OPENERS and target.count(".") == 1
    if room == "journal":
        return (
            target in JOURNALS_KNOW
            or target.startswith("journal.remote.")  # what every journal on a server needs
            or (module in OPENERS and target == "journal.backends")
            or target.split(".")[:2] == module.split(".")[:2]
        )  # journal.sqlite.store, .schema
    if {room, other} <= STATIONS and room != other:
        return (room, other) in GIVEN
    return FLOOR_OF.get(other, len(FLOORS)) <= FLOOR_OF[room]


@pytest.mark.parametrize(("package", "module"), MODULES)
def test_imports_point_down(package: str, module: str) -> None:
    if package == "eventbus" and module not in {"road", "durability"}:
        assert room_of(module) in FLOOR_OF, "a new room needs its place in the table"
    elif package == "quantum_trader":
        assert module.partition(".")[0] in VALUES | COMPONENTS | BUILDERS, "a new room needs its place in the table"
    tree = HOUSE[package][module]
    assert [target for target in imported(tree, package) if not may_import(package, module, target)] == []


@pytest.mark.parametrize("room", sorted(FLOOR_OF))
def test_every_place_in_the_table_has_its_room(room: str) -> None:
    assert room in HOUSE["eventbus"]


def test_nothing_but_a_journal_of_it_speaks_sql() -> None:
    speak = {name for name, tree in HOUSE["eventbus"].items() if {"sqlite3", "apsw"} & {*modules_of(tree)}}
    assert {name for name in speak if not name.startswith(tuple(SPEAK_SQL))} == set()
    assert any(name.startswith("journal.sqlite") for name in speak)


def modules_of(tree: ast.Module) -> Iterator[str]:
    """The packages that a module imports from."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module).partition(".")[0]


@pytest.mark.parametrize("package", HOUSE)
def test_no_module_imports_itself_in_a_circle(package: str) -> None:
    TopologicalSorter({name: {*imported(tree, package)} for name, tree in HOUSE[package].items()}).prepare()


@cache
def deepest(package: str, module: str) -> tuple[str, ...]:
    """The longest chain of modules that importing this one runs through, itself first; packages as such do not count."""
    files = HOUSE[package].files
    below = {name for name in at_once(package, module) if name in files and files[name].name != "__init__.py"}
    return (module, *max((deepest(package, name) for name in below), key=len, default=()))


def at_once(package: str, module: str) -> Iterator[str]:
    """What a module imports while it is imported itself: nothing of what its functions import later."""
    tree = HOUSE[package][module]
    later = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    for node in running(tree):
        if isinstance(node, ast.Import | ast.ImportFrom) and id(node) not in later:
            yield from imported(node, package)


@pytest.mark.parametrize(("package", "most"), [("eventbus", 10), ("quantum_trader", 18)])
def test_the_house_is_shallow(package: str, most: int) -> None:
    files = HOUSE[package].files
    chains = (deepest(package, name) for name in HOUSE[package] if files[name].name != "__init__.py")
    longest = max(chains, key=len)
    assert len(longest) <= most, " <- ".join(longest)


def test_trader_sees_only_the_public_face_of_the_bus() -> None:
    seen = {(name, target) for name, tree in HOUSE["quantum_trader"].items() for target in imported(tree, "eventbus")}
    shown = {(name, target) for name, target in seen if target.partition(".")[0] == DOOR}
    assert {name for name, _ in shown if name.partition(".")[0] not in SHOWING} == set()
    strangers = {(name, target) for name, target in seen - shown if target.partition(".")[0] not in FACE}
    assert {
        (name, target)
        for name, target in strangers
        if name.partition(".")[0] not in READERS or target.partition(".")[0] not in READING
    } == set()
    assert [(name, target) for name, target in seen if target.startswith(BACKENDS)] == []
    assert not any([*imported(tree, "quantum_trader")] for tree in HOUSE["eventbus"].values())


def test_gateway_sees_only_the_public_face_of_the_bus() -> None:
    rooms = {name: tree for name, tree in HOUSE["eventbus"].items() if name.partition(".")[0] == "gateway"}
    seen = {(name, target) for name, tree in rooms.items() for target in imported(tree, "eventbus")}
    assert len(rooms) > 1
    assert [(name, target) for name, target in seen if target.partition(".")[0] not in FACE | {"gateway"}] == []


@pytest.mark.parametrize(
    ("package", "source", "target"),
    [
        ("eventbus", "event", "bus"),
        ("eventbus", "road.burst", "road.worker"),
        ("eventbus", "road.part", "road.worker"),
        ("eventbus", "road.worker", "road.door"),
        ("eventbus", "road.dispatcher", "road.worker"),
        ("eventbus", "road.threads", "road.tasks"),
        ("eventbus", "road.lifetime", "durability.store"),
        ("eventbus", "road.latch", "bus"),
        ("eventbus", "durability.group", "bus"),
        ("eventbus", "durability.journaled", "config"),
        ("eventbus", "durability.store", "journal.sqlite"),
        ("eventbus", "observability.logging", "cli"),
        ("eventbus", "bus", "observability.prometheus"),
        ("eventbus", "journal.redis", "journal.sqlite"),
        ("eventbus", "journal.redis", "journal.sqlite.schema"),
        ("eventbus", "journal.redis", "journal.reader"),
        ("eventbus", "journal.redis", "event"),
        ("eventbus", "journal.redis", "bus"),
        ("eventbus", "journal.reader", "journal.sqlite.schema"),
        ("eventbus", "cli.looking", "journal.sqlite"),
        ("eventbus", "config", "journal.sqlite.schema"),
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
