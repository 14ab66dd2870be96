"""Secrets: addresses and passwords, from the environment or from files; held so that they print nowhere."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import SecretStr

from quantum_trader.config import ConfigError


def secret(variable: str, file: str = "", *, environ: Mapping[str, str] | None = None) -> SecretStr | None:
    """What `variable` holds, or else the file that `<variable>_FILE` or `file` names; None where nothing does.

    Raises `ConfigError` for a file that cannot be read or is empty.
    """
    found = os.environ if environ is None else environ
    if text := found.get(variable, "").strip():
        return SecretStr(text)
    place = found.get(f"{variable}_FILE", "").strip() or file
    if not place:
        return None
    try:
        text = Path(place).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as cause:
        reason = getattr(cause, "strerror", None) or "it is no text"
        raise ConfigError(
            place, variable, f"cannot be read ({reason})", remedy=f"check it, or set {variable}"
        ) from None
    if not text:
        raise ConfigError(place, variable, "is empty", remedy=f"write it, or set {variable}")
    return SecretStr(text)
