"""Decision paths: what a run decides follows from its data, its configuration and its seed, and from nothing else.

Every module of quantum_trader is a decision path unless it is named here as an onlooker. Nothing in one reads the clock on
the wall, draws without a seed, walks through a set in whatever order it comes, asks the machine, or races tasks of its own.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import pytest

from quantum_trader import events
from quantum_trader.events import own
from tests.sources import dotted, of_package

# Modules whose output no decision event contains, and why they may look at the machine.
ONLOOKERS: Mapping[str, str] = {
    "cli.*": "commands, for people",
    "feeds.*": "brings bars from outside, which are journalled before anything is decided on them",
    "config.reading": "reads files and the environment before there is a run",
    "learning.task_queue": "tells how long tasks waited and ran, in events that stay out of the digest",
    "market.csv_import": "imports files before there is a run",
    "market.importing.*": "imports files before there is a run",
    "market.library": "finds files before there is a run",
    "market.rebuild": "rebuilds the shipped data before there is a run",
    "monitoring.analytics": "writes down what happened",
    "monitoring.channels": "reads what people are told by, from files and the environment",
    "monitoring.discord": "tells people, over the network",
    "monitoring.mail": "tells people, over the network",
    "monitoring.notices": "tells people, when it suits them",
    "monitoring.posting": "tells people, over the network",
    "monitoring.secrets": "reads files and the environment, for those who tell people",
    "monitoring.webhook": "tells people, over the network",
    "monitoring.metrics": "writes down what happened",
    "monitoring.plot": "draws what happened",
    "monitoring.report": "sums up what happened",
    "monitoring.runtime": "times handlers and the loop, in metrics that stay out of the digest",
    "pace": "how fast sessions are played, not what is decided in them",
    "runs.page.*": "shows what happened",
    "runs.sweep": "leads processes that each do a run of their own",
    "runs.durable": "puts commands into a run, which get the time of the session that takes them",
    "runs.venue": "sends what is journalled, and puts what a venue reports into a run, which decides on it when the journal has it",
    "venues.contract": "tries a venue",
    "venues.market": "prices of a venue that is tried",
    "venues.paper": "a venue to try others by: what it reports is journalled before anything is decided on it",
    "web.*": "shows people what happens",
    "wiring": "tells people who hears what",
}


MODULES = of_package("quantum_trader")


def is_onlooker(name: str) -> bool:
    return any(name == place or (place.endswith(".*") and f"{name}.".startswith(place[:-1])) for place in ONLOOKERS)


DECIDING = sorted(name for name in MODULES if not is_onlooker(name))


def imports(pattern: str) -> Callable[[ast.Module], Iterator[ast.AST]]:
    """Where a tree imports something that `pattern` matches whole."""
    matches = re.compile(pattern).fullmatch

    def found(tree: ast.Module) -> Iterator[ast.AST]:
        for node in ast.walk(tree):
            match node:
                case ast.ImportFrom(module=module, names=names):
                    hit = any(matches(f"{module}.{alias.name}") for alias in names)
                case ast.Import(names=names):
                    hit = any(matches(alias.name) for alias in names)
                case _:
                    hit = False
            if hit:
                yield node

    return found


def mentions(pattern: str) -> Callable[[ast.Module], Iterator[ast.AST]]:
    """Where a tree imports or names something that `pattern` matches whole."""
    matches, imported = re.compile(pattern).fullmatch, imports(pattern)

    def found(tree: ast.Module) -> Iterator[ast.AST]:
        yield from imported(tree)
        yield from (
            node for node in ast.walk(tree) if isinstance(node, ast.Attribute | ast.Name) and matches(dotted(node))
        )

    return found


SEEDABLE = re.compile(r".*\b(Philox|PCG64|MT19937|SFC64|default_rng|SeedSequence|Random)")
SHARED = re.compile(r"(np|numpy)\.random\.(?!(Generator|Philox|BitGenerator|default_rng|SeedSequence)\b)\w+")


def unseeded(tree: ast.Module) -> Iterator[ast.AST]:
    """Draws whose seed nobody gave."""
    yield from imports(r"random(\..*)?|secrets(\..*)?")(tree)
    yield from mentions(r"(uuid(_utils)?\.)?uuid[1467]|os\.urandom")(tree)
    for node in ast.walk(tree):
        match node:
            # The hash of a text and the address of an object change from process to process.
            case ast.Call(func=ast.Name(id="hash" | "id")):
                yield node
            case ast.Call(func=func, args=[], keywords=[]) if SEEDABLE.fullmatch(dotted(func)):
                yield node
            # The one generator that all of the process shares.
            case ast.Attribute() if SHARED.fullmatch(dotted(node)):
                yield node


def clock(tree: ast.Module) -> Iterator[ast.AST]:
    """Whoever asks what time it is."""
    yield from imports(r"time(\..*)?|eventbus\.(System)?Clock")(tree)
    yield from mentions(r".*\.(now|utcnow|today|monotonic_ns)|.*loop\.time")(tree)


def untimed(tree: ast.Module) -> Iterator[ast.AST]:
    """Events made without a time: they would take that of the wall. Those that tell of the machine may."""
    for node, made in made_events(tree):
        given = {keyword.arg for keyword in node.keywords}
        if not given & {"timestamp", None} and not is_marked(made, events.Operation):  # None is `**header`
            yield node


def made_events(tree: ast.Module) -> Iterator[tuple[ast.Call, str]]:
    """Calls that make an event, with the name of its class."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            found = re.fullmatch(r"([A-Z]\w*Event)(\.create)?", dotted(node.func))
            if found:
                yield node, found[1]


def is_marked(name: str, mark: type) -> bool:
    """Whether the class of that name carries the mark."""
    found = getattr(events, name, None) or getattr(own, name, None)
    return isinstance(found, type) and issubclass(found, mark)


Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
SET_MAKERS = re.compile(r"set|frozenset|.*\.(union|intersection|difference|symmetric_difference)")
SET_TYPES = re.compile(r"(typing\.|collections\.abc\.)?(set|frozenset|Set|AbstractSet|MutableSet)")
# What comes out of these does not depend on the order of what went in.
ORDERLESS = re.compile(r"sorted|len|any|all|set|frozenset|min|max|.*\.(update|difference_update|isdisjoint|issubset)")
WALKERS = re.compile(
    r"list|tuple|enumerate|zip|map|filter|iter|next|sum|reversed|dict|(math\.)?fsum|deque|Counter"
    r"|(.*\.)?(join|extend|fromkeys|from_iterable)"
)


class Sets:
    """Which expressions of one module are sets, as far as names and annotations tell.

    An attribute of `self` is what the module itself says it is; one of another object, what a module imported here says.
    """

    def __init__(self, tree: ast.Module, known: Mapping[str, ast.Module]) -> None:
        self._own = set(_attributes(tree))
        self._globals = {name.id for name in _named(tree.body) if isinstance(name, ast.Name)}
        self._others = self._own.union(
            *(
                _attributes(known[module.removeprefix("quantum_trader.")])
                for module in _imported(tree)
                if module.removeprefix("quantum_trader.") in known
            )
        )

    def names(self, scope: Function) -> set[str]:
        """Variables and parameters of a function that are sets."""
        named = {name.id for name in _named(ast.walk(scope)) if isinstance(name, ast.Name)}
        return named | (self._globals - {arg.arg for arg in ast.walk(scope) if isinstance(arg, ast.arg)})

    def holds(self, node: ast.AST, names: set[str]) -> bool:
        """Whether the expression is a set, `names` being the variables that are."""
        match node:
            case ast.Attribute(value=ast.Name(id="self"), attr=attr):
                return attr in self._own
            case ast.Attribute(attr=attr):
                return attr in self._others
            case ast.Name(id=name):
                return name in names
            case ast.BinOp(op=ast.BitOr() | ast.BitAnd() | ast.Sub() | ast.BitXor(), left=left, right=right):
                return any(self.holds(side, names) or _is_keys(side) for side in (left, right))
            case ast.IfExp(body=body, orelse=orelse):
                return self.holds(body, names) or self.holds(orelse, names)
            case _:
                return _makes_set(node)


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def _attributes(tree: ast.Module) -> set[str]:
    """Attributes that some class of the module says are sets."""
    classes = (part for part in ast.walk(tree) if isinstance(part, ast.ClassDef))
    fields = {name.id for made in classes for name in _named(made.body) if isinstance(name, ast.Name)}
    return fields | {name.attr for name in _named(ast.walk(tree)) if isinstance(name, ast.Attribute)}


def _named(nodes: Iterable[ast.AST]) -> Iterator[ast.expr]:
    """What is said to be a set by an annotation, or becomes one by assignment."""
    for node in nodes:
        match node:
            case ast.AnnAssign(target=target, annotation=note) if _is_set_type(note):
                yield target
            case ast.arg(arg=arg, annotation=ast.expr() as note) if _is_set_type(note):
                yield ast.Name(arg)
            case ast.Assign(targets=[target], value=value) if _makes_set(value):
                yield target


def _makes_set(node: ast.AST) -> bool:
    match node:
        case ast.Set() | ast.SetComp():
            return True
        case ast.Call(func=func):
            return SET_MAKERS.fullmatch(dotted(func)) is not None
        case ast.IfExp(body=body, orelse=orelse):
            return _makes_set(body) or _makes_set(orelse)
        case _:
            return False


def _is_set_type(note: ast.expr) -> bool:
    match note:
        case ast.Subscript(value=value):
            return _is_set_type(value)
        case ast.BinOp(left=left, right=right):
            return _is_set_type(left) or _is_set_type(right)
        case _:
            return SET_TYPES.fullmatch(dotted(note)) is not None


def _is_keys(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and dotted(node.func).rpartition(".")[2] == "keys"


def walked(tree: ast.Module) -> Iterator[ast.AST]:
    """Places that go through a set in its own order."""
    sets = Sets(tree, MODULES)
    inside: set[int] = set()
    for scope in [node for node in ast.walk(tree) if isinstance(node, Function)]:
        inside.update(id(node) for node in ast.walk(scope))
        yield from _walked(list(ast.walk(scope)), sets, sets.names(scope))
    outside = [node for node in ast.walk(tree) if id(node) not in inside]
    yield from _walked(outside, sets, {name.id for name in _named(outside) if isinstance(name, ast.Name)})


def _walked(nodes: Sequence[ast.AST], sets: Sets, names: set[str]) -> Iterator[ast.AST]:
    harmless = {id(part) for node in nodes for part in _orderless_parts(node)}
    for node in nodes:
        if any(id(part) not in harmless and sets.holds(part, names) for part in _iterated(node)):
            yield node


def _orderless_parts(node: ast.AST) -> Iterator[ast.AST]:
    """What a function that does not care for order takes, and what the comprehension in it goes through."""
    match node:
        case ast.Call(func=func, args=args, keywords=keywords) if ORDERLESS.fullmatch(dotted(func)):
            # With a key, the first of equals is taken: then order does matter, except to a sort of all there are.
            if dotted(func) in {"min", "max"} and keywords:
                return
            for part in args:
                yield part
                if isinstance(part, ast.GeneratorExp):
                    yield from (one.iter for one in part.generators)
        case ast.SetComp(generators=generators):
            yield from (one.iter for one in generators)


def _iterated(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.For(iter=over) | ast.AsyncFor(iter=over) | ast.comprehension(iter=over) | ast.YieldFrom(value=over):
            yield over
        case ast.Starred(value=over):
            yield over
        case ast.Call(func=func, args=args, keywords=keywords):
            name = dotted(func)
            if WALKERS.fullmatch(name) or (name in {"min", "max"} and keywords):
                yield from args
            if isinstance(func, ast.Attribute) and func.attr == "pop" and not args:
                yield func.value
        case ast.Assign(targets=[ast.Tuple()], value=value):
            yield value


class Rule(NamedTuple):
    name: str
    found: Callable[[ast.Module], Iterator[ast.AST]]
    bites: tuple[str, ...]
    spares: tuple[str, ...] = ()


RULES = (
    Rule(
        "no clock on the wall",
        clock,
        ("import time", "from time import monotonic", "datetime.now(UTC)", "from eventbus import SystemClock"),
        ("from datetime import datetime", "event.timestamp", "SessionClock(bus)"),
    ),
    Rule(
        "every event has the time of its cause",
        untimed,
        ("RunStartedEvent(run_id='r')", "PolicyUpdatedEvent.create(version=1)"),
        ("HealthEvent(timestamp=at)", "HealthEvent(**header)", "subscribe(HealthEvent, f)"),
    ),
    Rule(
        "no draw without a seed",
        unseeded,
        ("import random", "from uuid import uuid4", "np.random.default_rng()", "np.random.normal()", "hash('a')"),
        ("np.random.Generator(np.random.Philox(key=key))", "from uuid import uuid5", "np.random.default_rng(seed)"),
    ),
    Rule(
        "no set in its own order",
        walked,
        (
            "for x in {1, 2}: use(x)",
            "def f(names: frozenset[str]): return [name for name in names]",
            "def f():\n a = set(x)\n return tuple(a)",
            "def f(a: set[str], b: dict): return ','.join(a | b.keys())",
            "[x for x in mine.keys() - theirs.keys()]",
            "def f(a: set[str]): return max(a, key=len)",
            "def f(a: set[str]): return [*a]",
            "from quantum_trader.control.risk_state import RiskState\nfor name in self._state.universe: pass",
            "class A:\n seen: set[str]\n def f(self): return list(self.seen)",
        ),
        (
            "for x in sorted({1, 2}): use(x)",
            "def f(names: frozenset[str]): return sorted(name for name in names if name)",
            "def f(names: set[str]): return {name.upper() for name in names}",
            "def f(names: set[str]): return len(names), 'a' in names, any(n > 1 for n in names)",
            "for x in [1, 2]: use(x)",
            "for key in mine.keys(): use(key)",
        ),
    ),
    Rule(
        "nothing is asked of the machine",
        mentions(r"os\.(environ|getenv|cpu_count|listdir|scandir)|(socket|platform|locale|httpx|urllib)(\..*)?"),
        ("os.environ['A']", "import socket", "from os import environ"),
        ("import os", "os.fsync(fd)"),
    ),
    Rule(
        "no tasks or threads of its own",
        mentions(
            r"asyncio\.(create_task|ensure_future|gather|wait|as_completed|to_thread|TaskGroup|Queue)"
            r"|threading(\..*)?|concurrent(\..*)?|multiprocessing(\..*)?|.*\.run_in_executor"
        ),
        ("asyncio.create_task(x())", "import threading", "from concurrent import futures"),
        ("await asyncio.sleep(1)",),
    ),
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_decision_paths_keep_the_rule(rule: Rule) -> None:
    for example in rule.bites:
        assert list(rule.found(ast.parse(example))), f"spares {example!r}"
    for example in rule.spares:
        assert not list(rule.found(ast.parse(example))), f"bites {example!r}"
    broken = [f"{name}:{getattr(node, 'lineno', 0)}" for name in DECIDING for node in rule.found(MODULES[name])]
    assert sorted(set(broken)) == []


def test_every_onlooker_exists() -> None:
    planned = {"web.*"}
    unknown = [place for place in ONLOOKERS if not any(f"{name}.".startswith(place.rstrip("*")) for name in MODULES)]
    assert set(unknown) <= planned


COMMANDS = (
    "cli.",
    "runs.",
    "web.",
)  # people's commands are decision events: a replay applies them where they were accepted


def test_no_onlooker_makes_a_decision_event() -> None:
    made = {
        f"{name}: {event}"
        for name, tree in MODULES.items()
        if is_onlooker(name) and not name.startswith(COMMANDS)
        for node, event in made_events(tree)
        if is_marked(event, events.Decision)
        if not any(one.arg == "clock" and ast.unparse(one.value) == "'wall'" for one in node.keywords)
    }
    assert made == set()


def test_components_are_decision_paths() -> None:
    rooms = [place.partition(".")[0] for place in ONLOOKERS]
    assert {"alpha", "control", "execution", "session", "events", "model"}.isdisjoint(rooms)
    assert len(DECIDING) > 60
