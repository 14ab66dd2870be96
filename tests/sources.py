"""Sources: modules as trees, each read when somebody looks at it and once for all who do.

Every worker of a test run collects every test file: what is read at their top is read by each of them.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]


@cache
def _parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(), file)


class Sources(Mapping[str, ast.Module]):
    """Trees by the names that `files` go by."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        self.files = files

    def __getitem__(self, name: str) -> ast.Module:
        return _parsed(self.files[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self.files)

    def __len__(self) -> int:
        return len(self.files)

    def __contains__(self, name: object) -> bool:
        return name in self.files


def of_package(package: str) -> Sources:
    """Every module of `package` by its dotted name below it; the package itself is ""."""
    folder = ROOT / package
    names = {file: ".".join(file.relative_to(folder).with_suffix("").parts) for file in sorted(folder.rglob("*.py"))}
    return Sources({name.removesuffix("__init__").rstrip("."): file for file, name in names.items()})


def dotted(node: ast.AST) -> str:
    """`time.time` for the expression `time.time`; a call or subscript on the way is left out."""
    match node:
        case ast.Attribute(value=value, attr=attr):
            return f"{dotted(value)}.{attr}".lstrip(".")
        case ast.Name(id=name):
            return name
        case _:
            return ""
