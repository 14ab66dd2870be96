"""The house: only documented Python, state that belongs to its object, three places that call a user's handler, modules of a size,
words of one meaning.

What `test_floors.py` says of imports this says of what is inside the rooms. Each rule is tried on a few lines that break it, too.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import NamedTuple

import pytest

from tests.sources import ROOT, Sources

MODULES = Sources({file.relative_to(ROOT).as_posix(): file for file in sorted((ROOT / "eventbus").rglob("*.py"))})
Function = ast.FunctionDef | ast.AsyncFunctionDef

# --- only documented Python ------------------------------------------------------------------------------------------

INSIDES = {
    "asyncio",
    "concurrent",
    "contextvars",
    "gc",
    "inspect",
    "selectors",
    "sys",
    "threading",
    "weakref",
    "uvloop",
}
NEVER_IMPORTED = {"_asyncio", "_contextvars", "_thread", "_weakref", "_testcapi", "ctypes", "gc"}
# Attributes that only the interpreter's own objects have: of a task, a future, a loop, a queue, an executor, a reference.
OF_OTHERS = {
    *("getrefcount", "get_referents", "get_referrers", "get_objects", "_getframe"),
    *("_fut_waiter", "_must_cancel", "_num_cancels_requested", "_wakeup", "_run_once", "_enter_task", "_leave_task"),
    *("_scheduled", "_getters", "_putters", "_unfinished_tasks", "_work_queue", "_threads_queues", "_set_running_loop"),
}
DOCUMENTED = {("sys", "_current_frames"), ("os", "_exit")}


def insides(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Where a module counts on what Python does not document."""
    modules: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                root = alias.name.partition(".")[0]
                modules[alias.asname or root] = root
                if root in NEVER_IMPORTED:
                    yield node.lineno, f"import {alias.name}"
        elif isinstance(node, ast.ImportFrom):
            root = str(node.module).partition(".")[0]
            for alias in node.names:
                is_hidden = alias.name.startswith("_") and alias.name != "__version__" and root in INSIDES
                if root in NEVER_IMPORTED or is_hidden or alias.name in OF_OTHERS:
                    yield node.lineno, f"from {node.module} import {alias.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            root = modules.get(node.value.id, "") if isinstance(node.value, ast.Name) else ""
            is_hidden = root in INSIDES and node.attr.startswith("_") and not node.attr.startswith("__")
            if (is_hidden or node.attr in OF_OTHERS) and (root, node.attr) not in DOCUMENTED:
                yield node.lineno, ast.unparse(node)
        elif isinstance(node, ast.Constant) and node.value in OF_OTHERS:
            yield node.lineno, f"the name {node.value!r}"


@pytest.mark.parametrize("module", sorted(MODULES))
def test_only_documented_python(module: str) -> None:
    assert [*insides(MODULES[module])] == []


@pytest.mark.parametrize(
    "line",
    [
        "import ctypes",
        "import gc",
        "from sys import getrefcount",
        "import sys; sys.getrefcount(1)",
        "import sys as s; s._getframe()",
        "import asyncio; asyncio._get_running_loop()",
        "from asyncio import _enter_task",
        "from concurrent.futures.thread import _worker",
        "def f(task): return task._fut_waiter",
        "def f(task): return getattr(task, '_must_cancel')",
    ],
)
def test_what_python_does_not_document_is_seen(line: str) -> None:
    assert len([*insides(ast.parse(line))]) >= 1


# --- only names that are shown -----------------------------------------------------------------------------------------

# A name with an underscore belongs to whoever gave it: `self._x` is one's own, `other._x` is somebody's insides.
SHOWN = {"_asdict", "_fields", "_make", "_replace"}  # documented, of named tuples
UNDERSCORED: dict[str, str] = {
    "eventbus/gateway/server.py os._exit": "documented",
    "eventbus/observability/watchdog.py sys._current_frames": "documented",
    "eventbus/journal/nats/server.py self.client._server_info": "nats-py shows the version only: not whether JetStream and TLS are on",
    "eventbus/journal/nats/server.py self.client._transport": "nats-py cannot hang up on a server that does not listen: its close waits",
    "eventbus/journal/nats/server.py transport._io_writer": "the same",
}
FOREIGN_ROOMS = Sources(
    {
        file.relative_to(ROOT).as_posix(): file
        for of in ("eventbus", "quantum_trader")
        for file in (ROOT / of).rglob("*.py")
    }
)


def underscored(module: str, tree: ast.Module) -> Iterator[str]:
    """Where a module reaches for an underscored attribute of what is not its own class, by what it reaches for."""
    own = {one.name for one in ast.walk(tree) if isinstance(one, ast.ClassDef | Function)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or not node.attr.startswith("_") or node.attr.startswith("__"):
            continue
        holder = node.value
        is_own = isinstance(holder, ast.Name) and holder.id in {"self", "cls", *own}
        is_super = isinstance(holder, ast.Call) and ast.unparse(holder.func) == "super"
        if not (is_own or is_super or node.attr in SHOWN):
            yield f"{module} {ast.unparse(node)}"


@cache
def all_underscored() -> set[str]:
    return {one for module, tree in FOREIGN_ROOMS.items() for one in underscored(module, tree)}


def test_nobody_reaches_for_what_is_not_shown() -> None:
    assert sorted(all_underscored() - UNDERSCORED.keys()) == []


def test_every_reach_with_a_reason_is_still_there() -> None:
    assert sorted(UNDERSCORED.keys() - all_underscored()) == []


@pytest.mark.parametrize(
    ("lines", "seen"),
    [
        ("def f(client): client._reading_task.cancel()", 1),
        ("class A:\n  def f(self): self.client._reading_task.cancel()", 1),
        ("def f(client): client._count = 1", 1),
        ("import asyncio\nasyncio._get_running_loop()", 1),
        ("class A:\n  def f(self): self._count = self._more().here", 0),
        ("class A:\n  def f(self): super()._count()", 0),
        ("class A:\n  def f(self): A._made = 1", 0),
        ("def f(row): return row._replace(n=1), row._asdict()", 0),
    ],
)
def test_who_reaches_for_what_is_not_shown_is_seen(lines: str, seen: int) -> None:
    assert len([*underscored("m.py", ast.parse(lines))]) == seen


# --- state belongs to its object ---------------------------------------------------------------------------------------

# An object's attributes are assigned in the file of its class. What is not, and why; at most ten in all.
STRANGERS: dict[str, str] = {
    "eventbus/road/door.py receipt.burst": "the hottest line of publish: a call saved for each event",
    "eventbus/road/door.py receipt.event": "the same",
    "eventbus/road/door.py receipt.index": "the same",
    "eventbus/road/stepping.py cell.at": "the hottest loop: a call saved for each event",
    "eventbus/road/stepping.py cell.clean": "the hottest loop",
    "eventbus/road/stepping.py cell.look": "the hottest loop",
    "eventbus/road/stepping.py cell.started_ns": "the hottest loop",
    "eventbus/road/threads.py cell.at": "the same loop, in a thread",
    "eventbus/road/threads.py cell.clean": "the same loop, in a thread",
    "eventbus/road/threads.py cell.started_ns": "the same loop, in a thread",
}
STRANGERS_CAP = 10
# Objects of libraries, whose documented way is an assignment.
OF_LIBRARIES: dict[str, str] = {
    "eventbus/fields.py field.default": "of pydantic: a field is changed by assignment, before its model is built",
    "eventbus/fields.py field.default_factory": "the same",
    "eventbus/fields.py field.validate_default": "the same",
    "eventbus/gateway/app.py app.router.default": "of starlette: what no route is for",
    "eventbus/gateway/app.py app.state.gateway": "of starlette: where a route finds what all of them share",
    "eventbus/gateway/protocol.py self.cycle.disconnected": "of uvicorn, which tells a cycle so in its own protocol",
    "eventbus/stream.py self._dropped.atexit": "of weakref.finalize: when the interpreter ends, there is no loop to tell",
    "eventbus/testing/crash_disk.py translated.sqlite_errorcode": "of sqlite3, whose errors take their code so",
}


def strangers(module: str, tree: ast.Module) -> Iterator[str]:
    """Assignments to attributes of an object whose class is not of this file, by what they assign."""
    own = {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    makers = own | {one.name for one in ast.walk(tree) if isinstance(one, Function) and own & {*_names(one.returns)}}
    known = {name.lstrip("_") for name in (*_annotated(tree, own), *_made(tree, own))}
    for function in ast.walk(tree):
        if isinstance(function, Function):
            mine = {*_given(function), *_made(function, makers)}
            for node in _body(function):
                for target in _targets(node):
                    if isinstance(target, ast.Attribute):
                        holder = ast.unparse(target.value)
                        if holder not in mine and holder.rpartition(".")[2].lstrip("_") not in known:
                            yield f"{module} {ast.unparse(target)}"


def _annotated(tree: ast.Module, own: set[str]) -> Iterator[str]:
    """Names that this file gives to objects of its own classes, wherever it says so."""
    for node in ast.walk(tree):
        if isinstance(node, ast.arg) and node.annotation is not None and own & {*_names(node.annotation)}:
            yield node.arg
        elif isinstance(node, ast.AnnAssign) and own & {*_names(node.annotation)}:
            yield ast.unparse(node.target).rpartition(".")[2].lstrip("_")


def _body(where: Function | ast.Module) -> Iterator[ast.AST]:
    """What is in a function, or at the top, and in no function inside of it."""
    todo: list[ast.AST] = [*where.body]
    while todo:
        node = todo.pop()
        yield node
        if not isinstance(node, Function | ast.ClassDef):
            todo += ast.iter_child_nodes(node)


def _given(function: Function) -> Iterator[str]:
    yield from (one.arg for one in function.args.args[:1] if one.arg in ("self", "cls"))


def _made(where: Function | ast.Module, own: set[str]) -> Iterator[str]:
    """Names that are given there to objects of classes of its own file."""
    for node in _body(where):
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Call):
            maker = node.value.func
            is_new = isinstance(maker, ast.Attribute) and maker.attr == "__new__"
            if is_new or (isinstance(maker, ast.Name) and maker.id in {*own, "cls"}):
                yield from (target.id for target in _targets(node) if isinstance(target, ast.Name))


def _names(node: ast.AST | None) -> Iterator[str]:
    for one in () if node is None else ast.walk(node):
        if isinstance(one, ast.Name):
            yield one.id
        elif isinstance(one, ast.Constant) and isinstance(one.value, str):
            yield one.value


def _targets(node: ast.AST) -> list[ast.expr]:
    if isinstance(node, ast.Assign | ast.Delete):
        targets = node.targets
    elif isinstance(node, ast.AugAssign | ast.AnnAssign):
        targets = [node.target]
    else:
        return []
    return [part for one in targets for part in (one.elts if isinstance(one, ast.Tuple | ast.List) else [one])]


@cache
def all_strangers() -> list[str]:
    return sorted({one for module, tree in MODULES.items() for one in strangers(module, tree)})


def test_state_belongs_to_its_object() -> None:
    assert sorted(set(all_strangers()) - STRANGERS.keys() - OF_LIBRARIES.keys()) == []


def test_strangers_are_few() -> None:
    assert len(STRANGERS) <= STRANGERS_CAP


def test_every_stranger_with_a_reason_is_still_there() -> None:
    assert sorted({*STRANGERS, *OF_LIBRARIES} - set(all_strangers())) == []


@pytest.mark.parametrize(
    ("lines", "seen"),
    [
        ("def f(part): part.done = 1", 1),
        ("def f(part): part.done += 1", 1),
        ("def f(part): del part.done", 1),
        ("def f(part): part.done, x = 1, 2", 1),
        ("def f(part): part.cell.at = 1", 1),
        ("def f(): part = Part(); part.done = 1", 1),
        ("class Part: pass\ndef f(): part = Part(); part.done = 1", 0),
        ("class Part: pass\ndef f(part: Part): part.done = 1", 0),
        ("class Part:\n  def f(self): self.done = 1", 0),
        ("class Part:\n  def f(self): self.cell.at = 1", 1),
    ],
)
def test_who_writes_to_a_stranger_is_seen(lines: str, seen: int) -> None:
    assert len([*strangers("m.py", ast.parse(lines))]) == seen


# --- three ways to run a handler -----------------------------------------------------------------------------------------


def callers(tree: ast.Module) -> Iterator[int]:
    """Where the handler of a subscription is called: `worker.handler(...)`, or by a name that was given to it."""
    for function in ast.walk(tree):
        if not isinstance(function, Function):
            continue
        names: set[str] = set()
        for node in _body(function):
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    pairs = (
                        zip(target.elts, node.value.elts, strict=True)
                        if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple)
                        else [(target, node.value)]
                    )
                    names |= {
                        name.id for name, value in pairs if isinstance(name, ast.Name) and _is_handler_of_worker(value)
                    }
        for node in _body(function):
            if isinstance(node, ast.Call):
                called = node.func
                if _is_handler_of_worker(called) or (isinstance(called, ast.Name) and called.id in names):
                    yield node.lineno


def _is_handler_of_worker(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "handler"


def test_three_modules_call_a_users_handler() -> None:
    assert {module for module, tree in MODULES.items() if [*callers(tree)]} == {
        "eventbus/road/stepping.py",
        "eventbus/road/tasks.py",
        "eventbus/road/threads.py",
    }


@pytest.mark.parametrize(
    "lines",
    [
        "def f(worker): worker.handler(1)",
        "async def f(worker): await worker.handler(1)",
        "def f(worker):\n  run = worker.handler\n  run(1)",
        "def f(worker):\n  run, x = worker.handler, 1\n  run(1)",
        "class A:\n  def f(self): self._worker.handler(1)",
    ],
)
def test_who_calls_a_handler_is_seen(lines: str) -> None:
    assert len([*callers(ast.parse(lines))]) == 1


# --- tests beside the stations ---------------------------------------------------------------------------------------------

STATIONS = [
    module
    for module in sorted(MODULES)
    if module.split("/")[1] in ("road", "durability") and not module.endswith("__init__.py")
]


@pytest.mark.parametrize("module", STATIONS)
def test_every_station_has_its_tests(module: str) -> None:
    folder, name = (ROOT / "tests" / module).parent, module.rpartition("/")[2]
    assert (folder / f"test_{name}").exists()


# --- rooms of a size -----------------------------------------------------------------------------------------------------

LINES_CAP = 400


def test_no_module_is_longer_than_one_can_hold_in_mind() -> None:
    lines = {module: len((ROOT / module).read_text().splitlines()) for module in MODULES}
    assert {module: count for module, count in lines.items() if count > LINES_CAP} == {}


GATEWAY_LINES_CAP = 250


def test_no_module_of_the_gateway_is_longer_than_that() -> None:
    lines = {
        module: len((ROOT / module).read_text().splitlines())
        for module in MODULES
        if module.startswith("eventbus/gateway/")
    }
    assert len(lines) > 1
    assert {module: count for module, count in lines.items() if count >= GATEWAY_LINES_CAP} == {}


# --- a word has one meaning ------------------------------------------------------------------------------------------


class Word(NamedTuple):
    """What it means, the forms it has, and what may be called so, by the modules that may do it. `name()` is a function's name only."""

    meaning: str
    forms: str
    bearers: Mapping[str, str]


WORDS = (
    Word(
        "made ready for use, and closed later: a journal, a cursor in it, a connection, a file",
        "open opens opened opening",
        {
            "open() _open() opened Opened opening Opening _opening": "cli durability gateway journal testing",
            "is_open _is_open must_be_open() _must_be_open()": "durability gateway journal road/station testing",
            "open_cursor() _open_cursor() open_group() open_part() open_journal open_reader()": "cli durability journal testing",
            "_OPEN_S": "journal/remote/link",
            "xOpen()": "testing/crash_disk",  # as apsw calls it
        },
    ),
    Word(
        "had as an exclusive right: a lease, and the part of a group that it is for; a lock; a busy key",
        "held hold holds holding",
        {
            "held _held is_held holds() _holds()": "durability/leases journal/nats/leases journal/postgres/writes journal/sole"
            " journal/sqlite/guard stats testing/shared_log",
            "hold()": "road/keys",
            "holding _holding Holding MemoryHolding SoleHolding": "durability",  # who holds the parts of groups
        },
    ),
    Word(
        "has its outcome for good: a delivery, or an event by all of its deliveries",
        "settle settles settled settling unsettle",
        {
            "settle()": "durability/share journal/progress journal/remote/cursors",
            "settled _settled is_settled _is_settled settled_now Settled SettledDelivery": "durability journal",
            "settled": "cli/steering road/burst testing/shared_log testing/shared_memory",
            "Settles": "causality",
            "settle() settled() settling _settling settled_floor()": "testing",  # of a loop: all that can be settled by now is
        },
    ),
    Word(
        "runs handlers one after another, in one task or thread",
        "step steps stepped stepper stepping",
        {
            "_step() stepper Stepper stepping SteppingTask": "road/dispatcher road/stepping road/threads",
            "stepped _stepped": "road/registry",
        },
    ),
    Word(
        "of a dead letter: neither redriven nor purged; metrics and pages say it, and nothing is named so",
        "kept keeper keepers",
        {},
    ),
    Word("says of nothing what it is: what passed lately is in an event cache", "recent recents", {}),
    Word(
        "says of nothing what it is: an event has a footprint, anything else a size",
        "weigh weighs weighed weight weights",
        {},
    ),
)


def named(module: str, tree: ast.Module) -> Iterator[str]:
    """What a module names, itself included: a function with parentheses behind. Tests of a contract are sentences, not names."""
    yield from module.split("/")
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) if not name.startswith("test_"):
                yield f"{name}()"
            case ast.ClassDef(name=name) | ast.arg(arg=name) | ast.alias(asname=str(name)):
                yield name
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name


def misused(word: Word, module: str, tree: ast.Module) -> Iterator[str]:
    """What a module, by its path below the package, names with a word, and may not."""
    allowed = {name for names, modules in word.bearers.items() if _is_in(module, modules) for name in names.split()}
    for name in named(module, tree):
        parts = {part.lower() for part in re.findall("[A-Z]?[a-z]+|[A-Z]+", name)}
        if parts & {*word.forms.split()} and not {name, name.removesuffix("()")} & allowed:
            yield f"{module}: {name}"


def _is_in(module: str, modules: str) -> bool:
    return any(f"{module}/".startswith(f"{one}/") for one in modules.split())


def _below(module: str) -> str:
    return module.removeprefix("eventbus/").removesuffix(".py")


@pytest.mark.parametrize("word", WORDS, ids=lambda word: word.forms.split()[0])
def test_a_word_has_one_meaning(word: Word) -> None:
    assert sorted({one for module, tree in MODULES.items() for one in misused(word, _below(module), tree)}) == []


@pytest.mark.parametrize("word", WORDS, ids=lambda word: word.forms.split()[0])
def test_whatever_may_bear_a_word_still_does(word: Word) -> None:
    for names, modules in word.bearers.items():
        there = [module for module in MODULES if _is_in(_below(module), modules)]
        borne = {name for module in there for name in named(_below(module), MODULES[module])}
        assert {*names.split()} - borne - {name.removesuffix("()") for name in borne} == set()


@pytest.mark.parametrize(
    ("module", "lines", "seen"),
    [
        ("road/door", "self.open = burst", 1),
        ("durability/share", "class Share:\n    def __init__(self):\n        self.open = 0", 1),
        ("road/places", "@property\ndef held(self): ...", 1),
        ("gateway/client", "def settle(self): ...", 1),
        ("durability/writing", "def _settle(self): ...", 1),
        ("durability/tail", "async def step(self): ...", 1),
        ("durability/aside", "def as_kept(letter): ...\nfor kept in page: ...", 2),
        ("durability/recent", "class Recent: ...", 2),
        ("gateway/ring", "total = sum(weight for weight in sizes)", 1),
        ("journal/sole", "async def open(self):\n    self._held = set()\n    self.is_settled = self.settled", 0),
        ("road/stepping", "async def _step(self): ...", 0),
    ],
)
def test_a_word_of_another_meaning_is_seen(module: str, lines: str, seen: int) -> None:
    assert len([one for word in WORDS for one in misused(word, module, ast.parse(lines))]) == seen
