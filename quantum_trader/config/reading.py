"""Reading: files, profile, environment and command line become one configuration, or an error that names the place and the key."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError

from quantum_trader.config.sections import Config

ENV_PREFIX: Final = "QT_"
ENV_DIRECTORY: Final = "QT_CONFIG"
_SHIPPED: Final = Path(__file__).with_name("shipped")  # in a wheel
_SOURCE: Final = Path(__file__).parents[2] / "config"  # what the wheel is made from, in the repository


class ConfigError(Exception):
    """A setting cannot be used. The message names the file, the key, what is wrong and what would do."""

    def __init__(self, place: str, key: str, problem: str, *, remedy: str) -> None:
        super().__init__(f"{place}: {key}: {problem}; {remedy}" if key else f"{place}: {problem}; {remedy}")
        self.place = place
        self.key = key
        self.problem = problem
        self.remedy = remedy


def config_directory(directory: str | Path | None = None) -> Path | None:
    """Where the files are: the argument, `QT_CONFIG`, `./config`, or those that came with the program; None when nowhere."""
    given = directory or os.environ.get(ENV_DIRECTORY)
    if given:
        path = Path(given)
        if not path.is_dir():
            raise ConfigError(str(path), "", "no such directory", remedy=f"check the path or {ENV_DIRECTORY}")
        return path
    return next((path for path in (Path("config"), _SHIPPED, _SOURCE) if (path / "app.toml").is_file()), None)


def profiles(directory: str | Path | None = None) -> tuple[str, ...]:
    """The names of the profiles there are, sorted."""
    where = config_directory(directory)
    return () if where is None else tuple(sorted(path.stem for path in (where / "profiles").glob("*.toml")))


def load_config(
    directory: str | Path | None = None,
    profile: str | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
) -> Config:
    """The configuration: files, then profile, then environment, then `overrides` (section -> key -> value).

    Raises `ConfigError` naming the place and the key.
    """
    where = config_directory(directory)
    values: dict[str, Any] = {}
    places: dict[str, str] = {}  # dotted key -> where its value came from
    if where is not None:
        for path in sorted(where.glob("*.toml")):
            if path.stem not in Config.model_fields:
                raise ConfigError(
                    str(path), "", "no section of that name", remedy=f"known are {', '.join(Config.model_fields)}"
                )
            _merge(values, {path.stem: read_toml(path)}, str(path), places)
    if profile is not None:
        _merge(values, read_toml(_profile_path(where, profile)), f"profile {profile}", places)
    _merge(values, _from_environment(os.environ if environ is None else environ), "environment", places)
    _merge(values, {name: dict(section) for name, section in (overrides or {}).items()}, "command line", places)
    try:
        return Config.model_validate(values)
    except ValidationError as cause:
        raise _readable(cause, places) from cause


def _profile_path(where: Path | None, profile: str) -> Path:
    path = None if where is None else where / "profiles" / f"{profile}.toml"
    if path is None or not path.is_file() or path.parent.name != "profiles":
        known = profiles(where)
        raise ConfigError(
            f"profile {profile}",
            "",
            "no such profile",
            remedy=f"known are {', '.join(known)}" if known else "there is none",
        )
    return path


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a file. Raises `ConfigError` naming it."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as cause:
        raise ConfigError(str(path), "", f"not TOML ({cause})", remedy="correct the line") from cause
    except (OSError, UnicodeDecodeError) as cause:
        raise ConfigError(str(path), "", f"cannot be read ({cause})", remedy="check the file") from cause


def _merge(values: dict[str, Any], more: Mapping[str, Any], place: str, places: dict[str, str], at: str = "") -> None:
    for key, value in more.items():
        dotted = f"{at}{key}"
        if isinstance(value, Mapping) and isinstance(values.get(key), dict):
            _merge(values[key], value, place, places, f"{dotted}.")
        else:
            values[key] = dict(value) if isinstance(value, Mapping) else value
            places[dotted] = place


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """`QT_EXECUTION__FEE_RATE=0.002`, deeper tables by more double underscores; values are TOML, else plain text."""
    found: dict[str, Any] = {}
    for name in sorted(environ):
        if not name.startswith(ENV_PREFIX) or "__" not in name:
            continue
        *tables, key = name.removeprefix(ENV_PREFIX).lower().split("__")
        if not environ[name].isascii() and any("\ud800" <= each <= "\udfff" for each in environ[name]):
            raise ConfigError("environment", name, "holds bytes that are no UTF-8", remedy="write it as UTF-8")
        inner = found
        for table in tables:
            inner = inner.setdefault(table, {})
        inner[key] = _toml_value(environ[name])
    return found


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _readable(cause: ValidationError, places: Mapping[str, str]) -> ConfigError:
    """The first fault, in words of the files: a section is a file, the rest of the path is the key."""
    fault = cause.errors()[0]
    path = [str(part) for part in fault["loc"]]
    dotted = ".".join(path)
    place = next(
        (places[".".join(path[:n])] for n in range(len(path), 0, -1) if ".".join(path[:n]) in places), "configuration"
    )
    if fault["type"] == "extra_forbidden":
        known = _known_keys(path[:-1])
        return ConfigError(place, dotted, "unknown key", remedy=f"known are {', '.join(known)}")
    return ConfigError(place, dotted, f"{fault['msg']} (got {fault['input']!r})", remedy="correct the value")


def _known_keys(path: list[str]) -> list[str]:
    model: Any = Config
    for name in path:
        if get_args(model):  # a mapping: whatever the name, the values are of one kind
            model = get_args(model)[-1]
            continue
        field = model.model_fields.get(name) if isinstance(model, type) and issubclass(model, BaseModel) else None
        model = None if field is None else field.annotation
    return list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []
