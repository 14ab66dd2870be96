"""Indicators: figures over the last n values, brought up to date one value at a time.

`update` takes the next value and returns the figure, or None while there are too few values; `value` is the last
answer. Each update costs the same however long the run and (the median aside) however long the window.

Window sums are kept as integers in units of 2**-60. Every float above 0.004 is a whole number of them, so the sums
are exact: a mean after a million updates is the mean of the window, to the last bit, and two equal averages never
seem to cross. A value that is not finite raises `ValueError` or `OverflowError` where sums are kept; feeds are
checked before they come here.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from typing import Final

_UNIT: Final = 2.0**60


class _Indicator:
    __slots__ = ("n", "value")

    def __init__(self, n: int) -> None:
        if n < 1:
            raise ValueError(f"{type(self).__name__}: n is {n}; give 1 or more")
        self.n = n
        self.value: float | None = None


class SMA(_Indicator):
    """Simple moving average: the mean of the last n values."""

    __slots__ = ("_divisor", "_sum", "_window")

    def __init__(self, n: int) -> None:
        super().__init__(n)
        self._window: deque[int] = deque()
        self._sum = 0
        self._divisor = n << 60

    def update(self, x: float) -> float | None:
        units = int(x * _UNIT)
        self._window.append(units)
        self._sum += units
        if len(self._window) > self.n:
            self._sum -= self._window.popleft()
        elif len(self._window) < self.n:
            return None
        self.value = self._sum / self._divisor
        return self.value


class _Wilder(_Indicator):
    """Wilder's smoothing (1978): the mean of the first n values, then (previous * (n - 1) + x) / n."""

    __slots__ = ("_start",)

    def __init__(self, n: int) -> None:
        super().__init__(n)
        self._start = SMA(n)

    def update(self, x: float) -> float | None:
        self.value = self._start.update(x) if self.value is None else (self.value * (self.n - 1) + x) / self.n
        return self.value


class RSI(_Indicator):
    """Wilder's relative strength index, 0..100, over n changes; 50 if there was no movement at all."""

    __slots__ = ("_gain", "_last", "_loss")

    def __init__(self, n: int) -> None:
        super().__init__(n)
        self._gain, self._loss = _Wilder(n), _Wilder(n)
        self._last: float | None = None

    def update(self, x: float) -> float | None:
        last, self._last = self._last, x
        if last is None:
            return None
        rise, fall = (x - last, 0.0) if x > last else (0.0, last - x)
        gain, loss = self._gain.update(rise), self._loss.update(fall)
        if gain is None or loss is None:
            return None
        self.value = 100.0 * gain / (gain + loss) if gain + loss else 50.0
        return self.value


class ATR(_Indicator):
    """Wilder's average true range of n bars; the first bar's true range is high - low."""

    __slots__ = ("_last", "_mean")

    def __init__(self, n: int) -> None:
        super().__init__(n)
        self._mean = _Wilder(n)
        self._last: float | None = None

    def update(self, high: float, low: float, close: float) -> float | None:
        last, self._last = self._last, close
        true_range = high - low if last is None else max(high, last) - min(low, last)
        self.value = self._mean.update(true_range)
        return self.value


class PriorMax(_Indicator):
    """The greatest of the n values before this one: the level that a breakout has to pass."""

    __slots__ = ("_count", "_falling")

    def __init__(self, n: int) -> None:
        super().__init__(n)
        self._count = 0
        # Those of the last n values that no later one has passed; the first is their maximum.
        self._falling: deque[tuple[int, float]] = deque()

    def update(self, x: float) -> float | None:
        falling = self._falling
        if self._count >= self.n:
            self.value = falling[0][1]
        while falling and falling[-1][1] <= x:
            falling.pop()
        falling.append((self._count, x))
        self._count += 1
        if falling[0][0] < self._count - self.n:
            falling.popleft()
        return self.value


class PriorMin(_Indicator):
    """The least of the n values before this one: the level that a fall has to pass."""

    __slots__ = ("_count", "_rising")

    def __init__(self, n: int) -> None:
        super().__init__(n)
        self._count = 0
        # Those of the last n values that no later one has undercut; the first is their minimum.
        self._rising: deque[tuple[int, float]] = deque()

    def update(self, x: float) -> float | None:
        rising = self._rising
        if self._count >= self.n:
            self.value = rising[0][1]
        while rising and rising[-1][1] >= x:
            rising.pop()
        rising.append((self._count, x))
        self._count += 1
        if rising[0][0] < self._count - self.n:
            rising.popleft()
        return self.value


class RollingMedian(_Indicator):
    """The median of the last n values; the mean of the middle two if n is even."""

    __slots__ = ("_sorted", "_window")

    def __init__(self, n: int) -> None:
        super().__init__(n)
        self._window: deque[float] = deque()
        self._sorted: list[float] = []

    def update(self, x: float) -> float | None:
        self._window.append(x)
        insort(self._sorted, x)
        if len(self._window) > self.n:
            del self._sorted[bisect_left(self._sorted, self._window.popleft())]
        elif len(self._window) < self.n:
            return None
        low, high = self._sorted[(self.n - 1) // 2], self._sorted[self.n // 2]
        self.value = low if low == high else (low + high) / 2
        return self.value
