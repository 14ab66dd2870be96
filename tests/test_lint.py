"""Lint: traps already met, each as one rule over the syntax tree, each shown to bite on an example of its own."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import pytest

from tests.sources import ROOT, dotted

CODE = "eventbus quantum_trader examples benchmarks"
FILES = [file for folder in (*CODE.split(), "tests") for file in sorted((ROOT / folder).rglob("*.py"))]


def named(pattern: str) -> Callable[[ast.AST], bool]:
    """Whether a node mentions, as a name or an import, something that `pattern` matches whole."""
    matches = re.compile(pattern).fullmatch

    def mentions(node: ast.AST) -> bool:
        if isinstance(node, ast.ImportFrom):
            return any(matches(f"{node.module}.{alias.name}") for alias in node.names)
        if isinstance(node, ast.Import):
            return any(matches(alias.name) for alias in node.names)
        return isinstance(node, ast.Attribute | ast.Name) and matches(dotted(node)) is not None

    return mentions


def text(pattern: str) -> Callable[[ast.AST], bool]:
    """Whether a node is a string in which `pattern` is found."""
    return lambda node: (
        isinstance(node, ast.Constant) and isinstance(node.value, str) and bool(re.search(pattern, node.value))
    )


def dropped_task(node: ast.AST) -> bool:
    """A task that nobody keeps may be collected while it waits. A task group (named group or tg) keeps its own."""
    if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
        return False
    return re.fullmatch(r"(?!(group|tg)\.)(.*\.)?(create_task|ensure_future)", dotted(node.value.func)) is not None


def trims_by_length(node: ast.AST) -> bool:
    """A stream cut to a length loses what its slowest reader has not seen; a deque may be as short as it likes."""
    if isinstance(node, ast.Call) and re.fullmatch(r".*\.(xadd|xtrim)", dotted(node.func)):
        return any(keyword.arg == "maxlen" for keyword in node.keywords)
    return text(r"\bMAXLEN\b")(node)


def says_it_aside(node: ast.AST) -> bool:
    """A line of the log that keeps what it is about in its fields: a plain formatter shows none of them."""
    if not (isinstance(node, ast.Call) and re.fullmatch(r"_?log\.(warning|error|critical)", dotted(node.func))):
        return False
    return len(node.args) == 1 and any(keyword.arg == "extra" for keyword in node.keywords)


class Rule(NamedTuple):
    name: str
    where: str  # folders or files
    found: Callable[[ast.AST], bool]
    example: str
    but: tuple[str, ...] = ()  # how the names of excepted files begin


RULES = [
    Rule(
        "wait_for swallows a cancel", CODE + " tests", named(r"asyncio\.(tasks\.)?wait_for"), "asyncio.wait_for(x, 1)"
    ),
    Rule("every task has a parent", CODE + " tests", dropped_task, "asyncio.create_task(x())"),
    Rule(
        "the clock tells the time",
        CODE,
        named(r"time\.time(_ns)?"),
        "time.time()",
        but=("eventbus/clock.py", "eventbus/testing/"),
    ),
    Rule("pydantic_core reads JSON", "eventbus", named(r"json\.loads?"), "from json import loads"),
    Rule("nothing is unpickled", CODE, named(r"(pickle|marshal|shelve|yaml)(\..*)?"), "import pickle"),
    Rule("nothing is evaluated", CODE, named(r"eval|exec"), "eval('1')"),
    Rule("what failed says so", CODE, says_it_aside, "log.error('it failed', extra={'error': 'what'})"),
    Rule("money is no float", "quantum_trader/execution/ledger.py", named("float"), "float(x)"),
    Rule("trimming by length loses events", "eventbus", trims_by_length, "redis.xadd(s, f, maxlen=9)"),
    # A sequence hands ids out before the commit that makes them visible; SQLite, with its one writer, does not. Over PostgreSQL
    # what is told gets its id under a lock, and lists of dead letters are read from their start each time they are asked for.
    Rule(
        "ids are not in commit order",
        "eventbus",
        text(r"(?i)\bid\s*>\s*(\$|:|%|\?|last)"),
        "'where id > $1'",
        but=("eventbus/journal/sqlite", "eventbus/journal/postgres/storage.py", "eventbus/journal/postgres/reads.py"),
    ),
]


def covers(rule: Rule, name: str) -> bool:
    excepted = name.startswith(rule.but)
    return not excepted and any(name == place or name.startswith(f"{place}/") for place in rule.where.split())


@cache
def broken() -> dict[str, list[str]]:
    """Where each rule is broken. Every file is read once for all of them."""
    found: dict[str, list[str]] = {rule.name: [] for rule in RULES}
    for file in FILES:
        name = file.relative_to(ROOT).as_posix()
        rules = [rule for rule in RULES if covers(rule, name)]
        for node in ast.walk(ast.parse(file.read_text(), file)):
            for rule in rules:
                if rule.found(node):
                    found[rule.name].append(f"{name}:{getattr(node, 'lineno', 0)}")
    return found


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_no_file_breaks_the_rule(rule: Rule) -> None:
    assert any(rule.found(node) for node in ast.walk(ast.parse(rule.example))), "the rule does not bite"
    assert broken()[rule.name] == []


def test_rules_see_both_packages() -> None:
    assert {file.relative_to(ROOT).parts[0] for file in FILES} >= {"eventbus", "quantum_trader", "tests"}
