"""Sections: every number a person may change, typed, with its default and its unit, one class for each file in `config/`.

What a component goes by *is* its section: nothing is stated twice. Values only; knows no file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from quantum_trader.config.notify import NotifyConfig
from quantum_trader.config.own import OwnConfig
from quantum_trader.config.section import Section
from quantum_trader.instruments import Instrument
from quantum_trader.model import RiskMode

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
AtLeastZero = Annotated[float, Field(ge=0.0)]


class AppConfig(Section):
    """The run itself."""

    seed: int = 7
    cash: Annotated[Decimal, Field(gt=0)] = Decimal(1_000_000)  # account currency
    data_directory: str = "data"  # where imported data sets live
    run_directory: str = "runs"  # where runs live, each in a folder of its own
    checkpoint_every: Annotated[int, Field(ge=1)] = 250  # sessions that a crash may cost, to be done again
    periods_per_year: Positive | None = None  # as the calendar of the data says
    gateway_host: str = "127.0.0.1"
    gateway_port: Annotated[int, Field(ge=0, le=65_535)] = 8_765


class UniverseConfig(Section):
    """What is traded, and when. Empty `symbols` is all of the data set; dates are ISO, both inclusive, empty is open."""

    dataset: str = "demo"
    symbols: tuple[str, ...] = ()
    start: str = ""
    end: str = ""
    currency: str = "USD"  # of the account, for whoever reads this; nothing is converted
    align: Literal["strict", "outer"] = "strict"  # outer accepts symbols that hardly ever trade in the same session


class Costs(Section):
    """What trading costs, and how much of a bar one order may take."""

    fee_rate: Annotated[Decimal, Field(ge=0, lt=1)] = Decimal("0.001")  # of the traded value
    min_fee: Annotated[Decimal, Field(ge=0)] = Decimal(0)  # account currency
    half_spread_bp: Annotated[float, Field(ge=0)] = 2.0
    impact_bp: Annotated[float, Field(ge=0)] = 10.0  # for an order as large as the bar's volume
    participation: Annotated[float, Field(gt=0, le=1)] = 0.05  # of the bar's volume

    @model_validator(mode="after")
    def _leaves_a_price(self) -> Self:
        if self.half_spread_bp + self.impact_bp >= 10_000.0:
            raise ValueError("half_spread_bp and impact_bp must be below 10000 together, or a sale would have no price")
        return self


class DelistingConfig(Section):
    """What becomes of a position whose symbol has no bars any more: held, or written off after `delist_after` sessions."""

    policy: Literal["hold", "haircut"] = "hold"
    haircut: Fraction = 1.0  # of the last close, lost; 1 is all


class ExecutionConfig(Costs):
    """The paper venue."""

    time_to_live: Positive = 3  # sessions
    delist_after: Positive = 5  # sessions without a bar
    delisting: DelistingConfig = DelistingConfig()


class ModeConfig(Section):
    """What a risk mode allows; fractions of equity."""

    global_min_confidence: Fraction
    max_risk_per_trade: Fraction
    max_positions: Annotated[int, Field(ge=0)]
    gross_limit: Fraction
    top_n: Annotated[int, Field(ge=0)]


class ThresholdsConfig(Section):
    """Where modes change. A mode is entered on the safe side of `..._enter` and left beyond `..._leave`.

    Drawdowns are positive fractions, ratios compare the volatility forecast with its own past.
    """

    defensive_drawdown: AtLeastZero = 0.10
    defensive_ratio: AtLeastZero = 1.50
    normal_enter_drawdown: AtLeastZero = 0.07
    normal_enter_ratio: AtLeastZero = 1.25
    aggressive_enter_drawdown: AtLeastZero = 0.04
    aggressive_enter_ratio: AtLeastZero = 0.95
    aggressive_leave_drawdown: AtLeastZero = 0.06
    aggressive_leave_ratio: AtLeastZero = 1.10
    dwell: Count = 5  # sessions


class PolicyConfig(Section):
    """The modes and the way between them. `fixed_mode` keeps one mode for ever (experiments)."""

    fixed_mode: RiskMode | None = None
    override_sessions: Positive = 21
    drawdown_window: Positive = 252  # sessions
    volatility_window: Positive = 252  # sessions
    thresholds: ThresholdsConfig = ThresholdsConfig()
    defensive: ModeConfig = ModeConfig(
        global_min_confidence=0.80, max_risk_per_trade=0.005, max_positions=2, gross_limit=0.40, top_n=2
    )
    normal: ModeConfig = ModeConfig(
        global_min_confidence=0.65, max_risk_per_trade=0.010, max_positions=4, gross_limit=0.80, top_n=4
    )
    aggressive: ModeConfig = ModeConfig(
        global_min_confidence=0.55, max_risk_per_trade=0.015, max_positions=5, gross_limit=1.00, top_n=5
    )

    def mode(self, mode: RiskMode) -> ModeConfig:
        """What `mode` allows."""
        return {
            RiskMode.DEFENSIVE: self.defensive,
            RiskMode.NORMAL: self.normal,
            RiskMode.AGGRESSIVE: self.aggressive,
        }[mode]


class RiskConfig(Section):
    """Limits of the pre-trade checks. Fractions are of equity unless said otherwise, ages are sessions."""

    policy_max_age: Count = 5
    price_max_age: Count = 3
    price_collar: AtLeastZero = 0.25  # of the previous close
    max_order_qty: Annotated[float, Field(gt=0)] = 1_000_000  # no limit of size, a guard against a slipped digit
    max_orders_per_session: Count = 10
    max_orders_per_symbol: Count = 2  # in a session
    max_exits_per_session: Count = 50  # orders of any kind that may have gone before an exit
    max_order_notional: Fraction = 0.25
    risk_tolerance: AtLeastZero = 1.02  # of the policy's risk per trade: the sizer rounds
    max_symbol_weight: Fraction = 0.30
    cash_reserve: Fraction = 0.01  # of the order's cost
    max_participation: Fraction = 0.05  # of the average daily volume
    max_daily_loss: Fraction = 0.03
    max_drawdown: Fraction = 0.20
    rearm_after: Positive | None = None  # sessions until a replay goes on after that drawdown, with a fresh peak
    cooldown: Count = 5  # after a stop, for its pair
    burst_stops: Positive = 3
    burst_window: Count = 10
    burst_pause: Count = 5  # after a burst of stops, for every entry
    jump_quarantine: Count = 5


class SizingConfig(Section):
    """How the balancer sizes. `fixed_qty` (shares by symbol) replaces it: reference runs only."""

    sigma_target: Annotated[float, Field(gt=0)] = 0.018  # daily volatility at which a position has its plain size
    max_order_weight: Fraction = 0.24  # of equity in one order; below the guard's limit
    max_symbol_weight: Fraction = 0.28  # of equity in one symbol; below the guard's limit
    min_weight: Fraction = 0.01  # of equity; smaller orders are dropped
    fixed_qty: Mapping[str, Annotated[Decimal, Field(gt=0)]] = Field(default_factory=dict)


class SeedConfig(Section):
    """One strategy of the seed population: its family, and the family's parameters in their order."""

    family: str
    params: tuple[int, ...]


def _seed(family: str, *params: int) -> SeedConfig:
    return SeedConfig(family=family, params=params)


class GatesConfig(Section):
    """What a strategy must show to change its stage. `backtest_psr` and `backtest_dsr` hold for all looks of a stay together."""

    gate: Literal["psr", "dsr"] = "psr"
    review_every: Positive = 21  # sessions
    backtest_looks: Positive = 24  # in one stay, at windows that are full
    backtest_rest: Annotated[int, Field(ge=0)] = 504  # sessions after the last of them
    backtest_sessions: Positive = 504
    backtest_trades: Count = 20
    backtest_profit_factor: AtLeastZero = 1.3
    backtest_drawdown: Fraction = 0.20
    backtest_psr: Fraction = 0.95
    backtest_dsr: Fraction = 0.80
    shadow_sessions: Count = 126
    shadow_trades: Count = 10
    shadow_profit_factor: AtLeastZero = 1.2
    shadow_sharpe: float = 0.5
    shadow_drawdown: Fraction = 0.15
    shadow_patience: Count = 252
    similar: Fraction = 0.9  # correlation of daily profits above which a candidate is like a live strategy
    similar_p: Annotated[float, Field(gt=0, lt=1)] = 0.05  # at which it is better, over all looks together
    live_sessions: Count = 252
    live_trades: Count = 8
    live_profit_factor: AtLeastZero = 0.9
    live_drawdown: Fraction = 0.15
    retired_sessions: Count = 504

    @model_validator(mode="after")
    def _looks_overlap(self) -> Self:
        if (self.backtest_looks - 1) * self.review_every > self.backtest_sessions:
            raise ValueError("backtest_looks reach beyond one window of backtest_sessions")
        return self


class StrategiesConfig(Section):
    """The seed population and its life. `all_live` starts every seed LIVE, without evaluation: experiments only."""

    all_live: bool = False
    settle_bars: Annotated[int, Field(ge=0)] = 0  # bars after warm-up before a strategy may speak
    stop_atr: Annotated[float, Field(ge=0)] = 3.0  # protective stop below the close, in ATR(20); 0 is none
    retry_after: Positive = 5  # sessions until a denied entry that is still wanted is signalled again
    weight_per_symbol: Fraction = 0.20  # of a virtual account
    confidence_window: Positive = 252  # sessions
    breed_every: Positive = 126  # sessions
    breed_most: Annotated[int, Field(ge=0)] = 4
    population: Positive = 24  # not retired
    gates: GatesConfig = GatesConfig()
    seeds: tuple[SeedConfig, ...] = (
        _seed("trend", 10, 50),
        _seed("trend", 20, 50),
        _seed("trend", 20, 100),
        _seed("trend", 50, 200),
        _seed("breakout", 20, 10),
        _seed("breakout", 55, 20),
        _seed("momentum", 126),
        _seed("momentum", 252),
        _seed("reversion", 2, 10, 200, 60),
        _seed("reversion", 2, 5, 200, 70),
        _seed("reversion", 3, 15, 100, 60),
        _seed("reversion", 5, 30, 200, 55),
    )


class ModelGateConfig(Section):
    """What a challenger must show. `p` holds for all looks together: every `every` sessions from `sessions` to `patience`."""

    sessions: Positive = 126
    every: Positive = 21  # sessions between two looks
    p: Annotated[float, Field(gt=0, lt=1)] = 0.05  # one-sided
    mse_ratio: Annotated[float, Field(gt=0)] = 0.99
    quiet_sessions: Count = 20  # without a rule-1 violation of the challenger's own error
    patience: Positive = 252  # sessions
    rollback_sessions: Positive = 63

    @property
    def looks(self) -> int:
        """How often a challenger is looked at, at most."""
        return max(0, self.patience - self.sessions) // self.every + 1


class ModelsConfig(Section):
    """Volatility models: when a challenger is trained, how it is judged."""

    train_every: Positive = 63  # sessions
    retrain_after_alarm: Positive = 20  # sessions after a rule-1 violation
    half_life: Annotated[float, Field(gt=0)] = 60.0  # sessions
    gate: ModelGateConfig = ModelGateConfig()


class RankerConfig(Section):
    """Weights of the five ranked quantities and what excludes a symbol. `enabled = false` lets every symbol in."""

    enabled: bool = True
    every: Positive = 5  # sessions
    trend: Fraction = 0.30
    momentum: Fraction = 0.25
    liquidity: Fraction = 0.20
    quality: Fraction = 0.15
    cost: Fraction = 0.10
    lead: Fraction = 0.05  # by which a challenger must beat a held member of the top
    min_dollar_volume: Annotated[float, Field(ge=0)] = 5_000_000.0  # a day


class ChartConfig(Section):
    """One control chart."""

    type: Literal["imr", "xbar_r", "p"]
    baseline: Positive
    rebase: Positive | None = None
    rules: tuple[int, ...]
    subgroup: Positive = 1


class SpcConfig(Section):
    """The control charts of the product, by name. `enabled = false` keeps none."""

    enabled: bool = True
    charts: Mapping[str, ChartConfig] = Field(
        default_factory=lambda: {
            "pred.log_range": ChartConfig(type="imr", baseline=250, rebase=250, rules=(1, 2, 5, 6)),
            "exec.shortfall": ChartConfig(type="imr", baseline=50, rebase=100, rules=(1, 2)),
            "port.return": ChartConfig(type="imr", baseline=250, rebase=250, rules=(1, 2)),
            "risk.denials": ChartConfig(type="p", baseline=20, rebase=None, rules=(1,), subgroup=20),
            "runtime.handler_ms": ChartConfig(type="xbar_r", baseline=50, rebase=200, rules=(1, 2), subgroup=5),
            "runtime.lag_ms": ChartConfig(type="xbar_r", baseline=50, rebase=200, rules=(1, 2), subgroup=5),
        }
    )


class HealthConfig(Section):
    """When a component counts as degraded or critical."""

    window: Positive = 10  # sessions that a violation counts
    degraded_drawdown: Fraction = 0.5  # of the maximal drawdown
    critical_drawdown: Fraction = 0.8  # of the maximal drawdown
    warnings: Positive = 3  # in the window, for DEGRADED
    critical_charts: Positive = 2  # with a rule-1 violation in the window
    heartbeat_sessions: Positive = 3


class Config(Section):
    """The effective configuration of a run."""

    app: AppConfig = AppConfig()
    universe: UniverseConfig = UniverseConfig()
    execution: ExecutionConfig = ExecutionConfig()
    policy: PolicyConfig = PolicyConfig()
    risk: RiskConfig = RiskConfig()
    sizing: SizingConfig = SizingConfig()
    strategies: StrategiesConfig = StrategiesConfig()
    models: ModelsConfig = ModelsConfig()
    ranker: RankerConfig = RankerConfig()
    spc: SpcConfig = SpcConfig()
    health: HealthConfig = HealthConfig()
    notify: NotifyConfig = NotifyConfig()
    instruments: Mapping[str, Instrument] = Field(default_factory=dict)  # by symbol, or a pattern such as "BTC/*"
    own: OwnConfig = OwnConfig()

    def sha256(self) -> str:
        """The digest that `run.started` carries: equal configurations have equal ones."""
        # What nobody brought is no part of a run: the digests of the shipped ones are those from before it could be.
        # And who is told decides nothing.
        left_out: dict[str, Any] = {"notify": {"discord", "webhooks", "email"}}
        if self.own == OwnConfig():
            left_out["own"] = True
        return hashlib.sha256(self.model_dump_json(exclude=left_out).encode()).hexdigest()
