"""Dependencies: each is imported by something, each import is a dependency, and the bus on its own needs two of them."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
OURS = {"eventbus", "quantum_trader"}

# Which extra brings what only some modules need. Everything else that is imported comes with the program.
ONLY_WITH = {
    "eventbus.gateway": "gateway",
    "eventbus.cli.serving": "gateway",
    "quantum_trader.web": "gateway",
    "eventbus.observability.tracing": "otel",
    "quantum_trader.monitoring.mail": "mail",
    "quantum_trader.runs.loaded": "notebook",
    "quantum_trader.feeds.shipped": "gateway",
    "eventbus.testing.plugin": "test",
    "eventbus.testing.gateway": "gateway",
    "eventbus.testing.crash_disk": "dev",
    "eventbus.testing.journal_contract": "dev",
    "eventbus.testing.shared_contract": "dev",
    "eventbus.journal.nats": "nats",
    "eventbus.journal.postgres": "postgres",
    "eventbus.journal.redis": "redis",
}
# Loaded by their names, when a command needs them.
BY_NAME = {
    "bokeh_sampledata": "quantum_trader/market/rebuild.py",
    "websockets": "eventbus/gateway/server.py",
}


def distribution(requirement: str) -> str:
    """`pydantic` of `pydantic>=2.11; python_version > "3"`, as names are compared."""
    name = re.match(r"[\w.-]+", requirement)
    assert name is not None
    return re.sub(r"[-_.]+", "-", name.group()).lower()


@cache
def imported(file: Path) -> frozenset[str]:
    """Packages that a module imports from outside, anywhere in it."""
    return frozenset(_imported(file))


def _imported(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        else:
            continue
        for name in names:
            package = name.partition(".")[0]
            if package not in sys.stdlib_module_names and package not in OURS:
                yield package


installed = cache(packages_distributions)  # and whatever else takes long: not where tests are only collected


def distributions(package: str) -> set[str]:
    return {distribution(name) for name in installed().get(package, [package])}


MODULES = {
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
    for folder in sorted(OURS)
    for file in sorted((ROOT / folder).rglob("*.py"))
}
BASE = {distribution(requirement) for requirement in PROJECT["dependencies"]}


def names_in(extra: str) -> set[str]:
    """What an extra brings, with the extras that it names."""
    found: set[str] = set()
    for requirement in EXTRAS[extra]:
        if inner := re.match(r"quantum-trader\[(.*)\]", requirement):
            found |= {name for each in inner[1].split(",") for name in names_in(each)}
        else:
            found.add(distribution(requirement))
    return found


def with_extra(module: str) -> set[str]:
    """What may be imported by a module beside the dependencies of the program."""
    extra = next((extra for place, extra in ONLY_WITH.items() if f"{module}.".startswith(f"{place}.")), None)
    return set() if extra is None else names_in(extra)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_what_is_imported_is_a_dependency(module: str) -> None:
    allowed = BASE | with_extra(module) | {"pydantic-core"}  # of pydantic, whose other half it is
    assert [package for package in imported(MODULES[module]) if not distributions(package) & allowed] == []


@pytest.mark.parametrize("name", sorted(BASE))
def test_every_dependency_is_imported(name: str) -> None:
    assert any(name in distributions(package) for file in MODULES.values() for package in imported(file))


@pytest.mark.parametrize("extra", sorted({*EXTRAS} - {"check", "dev", "bench", "docs", "peers"}))
def test_every_extra_is_imported(extra: str) -> None:
    used = {name for file in MODULES.values() for package in imported(file) for name in distributions(package)}
    by_name = {distribution(name) for name, file in BY_NAME.items() if name in (ROOT / file).read_text()}
    assert names_in(extra) - used - by_name == set()


def isolated(program: str, *, allowed: set[str]) -> str:
    """What a program prints in a fresh interpreter where nothing can be imported but the standard library and `allowed`."""
    guard = f"""
import sys

class Only:
    def find_spec(self, name, path=None, target=None):
        package = name.partition(".")[0]
        is_standard = package in sys.stdlib_module_names or package.startswith("_sysconfigdata")
        if not is_standard and package not in {sorted(allowed | OURS)!r}:
            raise ModuleNotFoundError(f"{{name}} is not there", name=name)

sys.meta_path.insert(0, Only())
"""
    done = subprocess.run(
        [sys.executable, "-c", guard + program], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


BUS = """
import asyncio, tempfile
import eventbus

async def main(url):
    bus = eventbus.create_event_bus(url)
    heard = []
    bus.subscribe("greeting.*", lambda event: heard.append(event["text"]))
    async with bus:
        await bus.publish_and_wait("greeting.made", {"text": "hello"})
    print(*heard)

with tempfile.TemporaryDirectory() as folder:
    asyncio.run(main("memory://"))
    asyncio.run(main(f"sqlite:///{folder}/run.db"))
print(*sorted({name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names)))
"""
# pydantic and uuid-utils with what they need themselves.
NEEDED = {"pydantic", "pydantic_core", "annotated_types", "typing_extensions", "typing_inspection", "uuid_utils"}


def test_the_bus_needs_pydantic_and_uuid_utils_only() -> None:
    first, second, loaded = isolated(BUS, allowed=NEEDED).splitlines()
    assert (first, second) == ("hello", "hello")
    assert {"numpy", "typer", "rich", "httpx", "structlog", "prometheus_client"} & {*loaded.split()} == set()


@pytest.mark.parametrize("module", ["eventbus.cli", "quantum_trader", "asyncpg"])
def test_importing_the_bus_loads_no_window(module: str) -> None:
    program = f"import sys, eventbus; print({module!r} in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "False\n"


def test_an_extra_that_is_not_installed_is_one_line_that_names_it() -> None:
    program = """
try:
    import eventbus.observability.tracing
except ImportError as error:
    print(error)
"""
    said = isolated(program, allowed=NEEDED | {"prometheus_client", "structlog"})
    assert said.count("\n") == 1
    assert "pip install 'quantum-trader[otel]'" in said
