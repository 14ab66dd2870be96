"""Bars: one symbol's history as a strategy sees it: columns that grow by a bar a session and cannot be written to."""

from __future__ import annotations

from datetime import UTC
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from quantum_trader.model import Bar

Column = npt.NDArray[np.float64]
_FIELDS: Final = ("open", "high", "low", "close", "volume")
_FIRST: Final = 256  # bars that there is room for at first


class Bars:
    """The history of `symbol` up to now: `bars.close[-1]` is the close of the bar that has just ended.

    Columns are read-only float64 arrays, oldest first, back-adjusted; `dates` are their times, UTC, as datetime64[s].
    """

    __slots__ = ("_columns", "_count", "_shown", "_shown_times", "_times", "symbol")

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self._count = 0
        self._columns: npt.NDArray[np.float64] = np.empty((len(_FIELDS), _FIRST))
        self._times: npt.NDArray[np.datetime64] = np.empty(_FIRST, dtype="datetime64[s]")
        self._show()

    def __len__(self) -> int:
        return self._count

    def __repr__(self) -> str:
        return f"<Bars of {self.symbol}: {self._count}>"

    @property
    def open(self) -> Column:
        return self._shown[0][: self._count]

    @property
    def high(self) -> Column:
        return self._shown[1][: self._count]

    @property
    def low(self) -> Column:
        return self._shown[2][: self._count]

    @property
    def close(self) -> Column:
        return self._shown[3][: self._count]

    @property
    def volume(self) -> Column:
        return self._shown[4][: self._count]

    @property
    def dates(self) -> npt.NDArray[np.datetime64]:
        return self._shown_times[: self._count]

    def append(self, bar: Bar) -> None:
        """One more bar; for who feeds the strategy."""
        if self._count == len(self._times):
            self._columns = np.concatenate((self._columns, np.empty_like(self._columns)), axis=1)
            self._times = np.concatenate((self._times, np.empty_like(self._times)))
            self._show()
        self._columns[:, self._count] = (bar.open, bar.high, bar.low, bar.close, bar.volume)
        self._times[self._count] = np.datetime64(bar.ts.astimezone(UTC).replace(tzinfo=None), "s")
        self._count += 1

    def _show(self) -> None:
        """What is handed out cannot be written to, whoever holds it."""
        self._shown = tuple(_locked(column) for column in self._columns)
        self._shown_times = _locked(self._times)


def _locked(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    view = array.view()
    view.flags.writeable = False
    return view
