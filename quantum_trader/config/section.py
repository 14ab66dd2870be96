"""Section: what every section of the configuration is."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Frozen, and what is misspelt in it is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
