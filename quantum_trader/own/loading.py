"""Loading: code of a user's own, from a file or a module, found, checked and named; what is wrong with it is one line.

A file's folder is importable while it is loaded, as it is for a script that Python runs.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import eventbus
from quantum_trader.own.strategy import InvalidParameter, Strategy, is_over_sessions

CHECKS: Final = "quantum_trader.checks"
COMPONENTS: Final = "quantum_trader.components"
VENUES: Final = "quantum_trader.venues"
_OURS: Final = (Path(__file__).parents[1], Path(eventbus.__file__).parent)


class OwnCodeError(Exception):
    """Code that a user brought cannot be used. The message names file and line, what is wrong and what would do."""

    def __init__(self, place: str, problem: str, *, remedy: str) -> None:
        super().__init__(f"{place}: {problem}; {remedy}")
        self.place = place
        self.problem = problem
        self.remedy = remedy


def strategy_class(reference: str) -> type[Strategy]:
    """The strategy that `dip.py`, `dip.py:Dip` or `module:Class` names. Raises `OwnCodeError`."""
    module, name = _module(reference)
    if name:
        found = _attribute(module, name, reference)
        if not (isinstance(found, type) and issubclass(found, Strategy)):
            raise OwnCodeError(reference, f"{name} is no Strategy", remedy="name a subclass of api.Strategy")
        chosen: type[Strategy] = found
    else:
        there = [
            one
            for one in vars(module).values()
            if isinstance(one, type) and issubclass(one, Strategy) and one.__module__ == module.__name__
        ]
        if len(there) != 1:
            names = ", ".join(one.__name__ for one in there) or "none"
            remedy = "define one" if not there else f"name it, as {reference}:{there[0].__name__}"
            raise OwnCodeError(reference, f"needs one subclass of Strategy, has {names}", remedy=remedy)
        chosen = there[0]
    if chosen.on_bar is Strategy.on_bar and not is_over_sessions(chosen):
        place = f"{Path(inspect.getfile(chosen)).name}:{inspect.getsourcelines(chosen)[1]}"
        raise OwnCodeError(place, f"{chosen.__name__} decides nothing", remedy="define on_bar or on_session")
    return chosen


def made(cls: type[Strategy], parameters: Mapping[str, Any]) -> Strategy:
    """An instance with these parameters. Raises `OwnCodeError`."""
    try:
        return cls(**parameters)
    except InvalidParameter as error:
        problem, _, remedy = str(error).partition("; ")
        raise OwnCodeError(Path(inspect.getfile(cls)).name, problem, remedy=remedy) from error
    except Exception as error:
        raise broken(error, Path(inspect.getfile(cls)).name) from error


def source_sha256(reference: str) -> str:
    """SHA-256 of the file that the named code stands in. Raises `OwnCodeError`."""
    module, _ = _module(reference)
    return hashlib.sha256(Path(str(module.__file__)).read_bytes()).hexdigest()


def named(reference: str, group: str) -> Callable[..., Any]:
    """What `file.py:name`, `module:name`, or the name of an installed entry point of `group` stands for. Raises `OwnCodeError`."""
    if ":" not in reference and not reference.endswith(".py"):
        installed = {point.name: point for point in entry_points(group=group)}
        if reference not in installed:
            known = ", ".join(sorted(installed)) or "none"
            raise OwnCodeError(
                reference, f"no entry point of {group} has that name (installed: {known})", remedy="give module:name"
            )
        reference = installed[reference].value
    module, name = _module(reference)
    if not name:
        raise OwnCodeError(reference, "names no function", remedy=f"give {reference}:name")
    found = _attribute(module, name, reference)
    if not callable(found):
        raise OwnCodeError(reference, f"{name} cannot be called", remedy="name a function")
    return found  # type: ignore[no-any-return]  # callable() tells nothing of what it takes


def installed(reference: str, group: str) -> str:
    """What the name of an entry point stands for, and of which version of its package; "" for what is no such name."""
    for point in entry_points(group=group, name=reference):
        package = "" if point.dist is None else f" of {point.dist.name} {point.dist.version}"
        return f"{reference} = {point.value}{package}"
    return ""


def settled(reference: str) -> str:
    """The reference with its file's whole path: what a run that is continued elsewhere finds again."""
    path, name = _split(reference)
    return f"{path.resolve()}{f':{name}' if name else ''}" if path is not None else reference


def broken(error: BaseException, where: str, remedy: str = "correct the code") -> OwnCodeError:
    """What a user's code raised, with the innermost line of the user's own."""
    return OwnCodeError(place_of(error, where), told(error), remedy=remedy)


def told(error: BaseException) -> str:
    """Kind and words of an error, on one line; the words of one whose own do not work are left out."""
    try:
        words = " ".join(str(error).split())
    except Exception:  # noqa: BLE001 - a user's __str__ may raise whatever it likes
        words = ""
    return f"{type(error).__name__}: {words}"[:300] if words else type(error).__name__


def place_of(error: BaseException, where: str) -> str:
    """File and line of the innermost frame that is neither ours nor of a library; `where` if there is none."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{Path(error.filename).name}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if _is_own(frame.filename)]
    return f"{Path(own[-1].filename).name}:{own[-1].lineno}" if own else where


def _is_own(filename: str) -> bool:
    path = Path(filename)
    is_library = "site-packages" in path.parts or "dist-packages" in path.parts or path.is_relative_to(_STANDARD)
    return not filename.startswith("<") and not is_library and not any(path.is_relative_to(ours) for ours in _OURS)


_STANDARD: Final = Path(inspect.getfile(inspect)).parent


def _split(reference: str) -> tuple[Path | None, str]:
    head, _, name = reference.rpartition(":") if not reference.endswith(".py") else (reference, "", "")
    if head.endswith(".py"):
        return Path(head), name
    return None, name


def _module(reference: str) -> tuple[ModuleType, str]:
    path, name = _split(reference)
    if path is not None:
        return _from_file(path), name
    head, _, name = reference.partition(":")
    if not head or not name:
        raise OwnCodeError(reference, "names no code", remedy="give a file (dip.py) or module:Class")
    return _imported(head, lambda: importlib.import_module(head), reference), name


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise OwnCodeError(str(path), "no such file", remedy="check the path")
    resolved = path.resolve()
    running = sys.modules["__main__"]
    if getattr(running, "__file__", None) and Path(str(running.__file__)).resolve() == resolved:
        return running  # a script that brings itself: loaded twice, it would be two modules
    # By its content, so that a file that was changed is another module and no old one answers for it.
    name = f"qt_own_{path.stem}_{hashlib.sha256(str(resolved).encode() + resolved.read_bytes()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]

    def load() -> ModuleType:
        spec = importlib.util.spec_from_file_location(name, resolved)
        if spec is None or spec.loader is None:
            raise OwnCodeError(str(path), "is no Python file", remedy="give one that ends with .py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # annotations are looked up there
        if str(resolved.parent) not in sys.path:
            sys.path.insert(0, str(resolved.parent))
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
        return module

    return _imported(path.name, load, str(path))


def _imported(where: str, load: Callable[[], ModuleType], reference: str) -> ModuleType:
    try:
        return load()
    except OwnCodeError:
        raise
    except SystemExit as error:
        raise broken(error, where, "let it be imported without ending the program") from error
    except ModuleNotFoundError as error:
        raise broken(error, where, f"install {error.name}, or correct the import") from error
    except SyntaxError as error:
        raise broken(error, where, "correct the line") from error
    except Exception as error:
        raise broken(error, where, f"let {Path(reference).name} be imported without an error") from error


def _attribute(module: ModuleType, name: str, reference: str) -> Any:
    try:
        return getattr(module, name)
    except AttributeError as cause:
        there = [one for one, value in vars(module).items() if callable(value) and not one.startswith("_")]
        known = ", ".join(there[-10:]) or "nothing"
        raise OwnCodeError(reference, f"there is no {name}", remedy=f"known are {known}") from cause
