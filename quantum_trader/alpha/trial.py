"""Trial: what a strategy would have earned on stored bars: its machines, and the account that every strategy has alone.

It goes on session by session, so a review costs only the sessions since the one before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from quantum_trader.alpha.families import Machine, StrategySpec
from quantum_trader.execution.sole import Lot, SoleAccount
from quantum_trader.model import Bar
from quantum_trader.snapshot import reinstate, snapshot


@dataclass(frozen=True, slots=True)
class Group:
    """The bars of one session, in sorted symbol order, and the stop that an entry decided at each close would have."""

    session: int
    bars: tuple[Bar, ...]
    stops: Mapping[str, float | None]


class Trial:
    """One strategy on every symbol, by an `account` of its own. Feed it every session once, in order.

    It wants nothing in a symbol before it is warm there, and for `settle_bars` bars more.
    """

    def __init__(self, spec: StrategySpec, account: SoleAccount, *, settle_bars: int = 0) -> None:
        self.account = account
        self._spec = spec
        self._cells: dict[str, tuple[Machine, Lot]] = {}
        self._settle_bars = settle_bars
        self._settled: Counter[str] = Counter()
        self.through = -1  # the last session taken

    def take(self, group: Group) -> None:
        """Fill what was decided before, then decide on the closes of this session."""
        account = self.account
        for bar in group.bars:
            cell = self._cells.get(bar.symbol)
            if cell is None:
                cell = self._cells[bar.symbol] = (self._spec.machine(), account.lot(bar.symbol))
            machine, lot = cell
            account.take(lot, bar)
            target = machine.update(bar)
            if target is not None and self._settled[bar.symbol] < self._settle_bars:
                self._settled[bar.symbol] += 1
                target = None
            lot.target = target
        account.close(group.session, group.stops.__getitem__)
        self.through = group.session

    def targets(self) -> dict[str, int | None]:
        """What it wants since the last bar of each symbol."""
        return {symbol: lot.target for symbol, (_, lot) in self._cells.items()}

    def state(self) -> dict[str, Any]:
        """Everything needed to go on after a restart, in plain JSON values; the spec is given."""
        return {
            "account": self.account.state(),
            "machines": {symbol: snapshot(machine) for symbol, (machine, _) in self._cells.items()},
            "settled": dict(self._settled),
            "through": self.through,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Become what `state()` described."""
        self.account.restore(state["account"])
        self._cells = {}
        for symbol, saved in state["machines"].items():
            machine = self._spec.machine()
            reinstate(machine, saved)
            self._cells[symbol] = (machine, self.account.lot(symbol))
        self._settled = Counter(state["settled"])
        self.through = state["through"]


def run(trial: Trial, sessions: Iterable[Group]) -> None:
    """Take every session that `trial` has not seen yet."""
    for group in sessions:
        if group.session > trial.through:
            trial.take(group)
