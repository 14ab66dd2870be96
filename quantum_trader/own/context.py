"""Context: what a strategy may know besides its bars: the session, its positions, the account, ranks, and its own dice."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime

import numpy as np

from quantum_trader.events import PolicyUpdatedEvent


class NoSymbol(LookupError):
    """No symbol was named, and the strategy is asked about all of them at once. Name one: ctx.position(symbol)."""

    def __init__(self) -> None:
        super().__init__("name a symbol: ctx.position(symbol); in on_session there is no current one")


@dataclass(frozen=True, slots=True)
class Account:
    """What a strategy holds and what there is, at the last closes; in account currency, quantities in units."""

    equity: float
    cash: float
    positions: Mapping[str, float]
    closes: Mapping[str, float]
    ranks: Mapping[str, float]
    policy: PolicyUpdatedEvent | None
    dice_of: str  # what the random numbers of this session are drawn from


@dataclass(frozen=True, slots=True)
class Context:
    """What is known at the close of `session`; `ts` is its instant (aware UTC). Nothing in it is of a later time."""

    session: int
    ts: datetime
    account: Account
    symbol: str | None = None
    _dice: list[np.random.Generator] = field(default_factory=list, repr=False, compare=False)

    @property
    def date(self) -> date:
        return self.ts.date()

    @property
    def equity(self) -> float:
        """Cash and positions at the last closes, in account currency."""
        return self.account.equity

    @property
    def cash(self) -> float:
        return self.account.cash

    @property
    def policy(self) -> PolicyUpdatedEvent | None:
        """The policy in force."""
        return self.account.policy

    @property
    def rng(self) -> np.random.Generator:
        """Random numbers of this run, strategy and session: the same each time the run is done, resumed or not."""
        if not self._dice:
            key = int.from_bytes(hashlib.sha256(self.account.dice_of.encode()).digest()[:16], "big")
            self._dice.append(np.random.Generator(np.random.Philox(key=key)))
        return self._dice[0]

    def position(self, symbol: str | None = None) -> float:
        """Units held of a symbol; of the one being asked about if none is named."""
        return self.account.positions.get(self._named(symbol), 0.0)

    def weight(self, symbol: str | None = None) -> float:
        """The value of the position as a fraction of equity."""
        name = self._named(symbol)
        held = self.account.positions.get(name, 0.0)
        return held * self.account.closes[name] / self.equity if held and self.equity else 0.0

    def rank(self, symbol: str | None = None) -> float | None:
        """The ranker's score of a symbol, 0..1; None when it is not ranked, or the ranker is off."""
        return self.account.ranks.get(self._named(symbol))

    def of(self, symbol: str) -> Context:
        """The same, about one symbol."""
        return replace(self, symbol=symbol)

    def _named(self, symbol: str | None) -> str:
        name = self.symbol if symbol is None else symbol
        if name is None:
            raise NoSymbol
        return name
