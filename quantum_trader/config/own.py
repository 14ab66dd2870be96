"""The section of what a user brings to a run: code by its place, parameters, and how much of the lifecycle it goes through."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from quantum_trader.config.section import Section


class OwnConfig(Section):
    """Empty in a run of what is shipped. Set by the command line (`qt run`, `--check`, `--with`), not by hand."""

    strategy: str = ""  # dip.py:Dip, or module:Class
    strategy_id: str = ""  # what its orders are called by
    sha256: str = ""  # of the file that it stands in
    params: Mapping[str, bool | int | float | str] = Field(default_factory=dict)
    gated: bool = False  # through the lifecycle, instead of LIVE by the user's word
    checks: tuple[str, ...] = ()  # asked after the shipped ones; module:name, file.py:name, or an entry point
    components: tuple[str, ...] = ()  # built after the shipped ones, the same way
    feed: str = ""  # of a paper run
    venue: str = ""  # where its orders go, module:connect; empty for the paper venue
    grace: Annotated[float, Field(gt=0)] = 5.0  # seconds that a session of it waits for the bars of other symbols
    interval_s: Annotated[int, Field(ge=0)] = 0  # between two of its bars; 0 is what it says itself
    started: str = ""  # when a paper run began, ISO
