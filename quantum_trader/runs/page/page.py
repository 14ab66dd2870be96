"""Page: the facts of a run put into the template, with style, script and chart library inside: one file, no request."""

from __future__ import annotations

import json
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from quantum_trader.runs.page.facts import facts

_UPLOT: Final = "gateway/static/vendor"  # of eventbus, whose pages draw with the same copy
_NONE: Final = "\N{EN DASH}"  # what is not defined
_EXPORT: Final = "export { uPlot as default };"


def page(folder: Path) -> str:
    """The whole page of the run in `folder`. Raises `NoRun`."""
    found = facts(folder)
    text: str = _template().render(
        facts=found,
        data=_as_script(found),
        style=Markup(_text("page.css")),
        script=Markup(_text("page.js")),
        uplot_style=Markup(_library("uplot.css")),
        uplot=Markup(_library("uplot.js").replace(_EXPORT, "window.uPlot = uPlot;")),
    )
    return text


@lru_cache(maxsize=1)
def _template() -> Any:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"money": _money, "percent": _percent, "ratio": _ratio, "signed": _signed}
    return environment.from_string(_text("page.html.j2"))


def _as_script(value: Any) -> Markup:
    """JSON that cannot end the script it stands in."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False, default=str)
    return Markup(text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))


@lru_cache(maxsize=8)
def _text(name: str) -> str:
    return files("quantum_trader.runs.page").joinpath(name).read_text(encoding="utf-8")


@lru_cache(maxsize=2)
def _library(name: str) -> str:
    return files("eventbus").joinpath(_UPLOT, name).read_text(encoding="utf-8")


def _money(value: Any, places: int = 0) -> str:
    return _NONE if value is None else f"{float(value):,.{places}f}"


def _percent(value: float | None, places: int = 1) -> str:
    return _NONE if value is None else f"{value:.{places}%}"


def _signed(value: float | None, places: int = 1) -> str:
    return _NONE if value is None else f"{value:+.{places}%}"


def _ratio(value: float | None, places: int = 2) -> str:
    return _NONE if value is None else f"{value:.{places}f}"
