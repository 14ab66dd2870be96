"""Log: the logger of the bus, which never raises. What it says are short constants with fields.

Everybody may use it; it knows nobody.
"""

from __future__ import annotations

import logging
from typing import Any


class _Log(logging.LoggerAdapter[logging.Logger]):
    """A full disk behind some log handler must not cost a delivery its outcome."""

    failures = 0  # records that a handler of the log refused

    def log(self, level: int, msg: object, *args: Any, **kwargs: Any) -> None:
        if self.isEnabledFor(level):
            try:
                self.logger.log(level, msg, *args, stacklevel=2, **kwargs)
            except BaseException:  # noqa: BLE001 - a log handler is somebody else's code
                self.failures += 1


log = _Log(logging.getLogger("eventbus"))
