// Events of a run in a few words. `tone` colours those that a person should not miss.

import { percent } from "../format.js";

const WORDS = {
  "trade.executed": (p) => ({
    text: `${p.side} ${number(p.size)} ${p.symbol} @ ${price(p.price)}${p.trigger === "STOP" ? " stopped out" : ""}${p.pnl == null ? "" : `, P&L ${number(p.pnl)}`} · ${p.strategy_id}`,
  }),
  "order.approved": (p) => ({ text: `${p.side} ${number(p.qty)} ${p.symbol} ${p.kind} · ${p.strategy_id}` }),
  "order.accepted": (p) => ({ text: `${number(p.qty)} ${p.symbol} works until session ${p.expires_session}` }),
  "order.denied": (p) => ({ text: `${p.symbol} ${p.kind}: ${p.code}, ${short(p.value)} against ${short(p.limit)} · ${p.strategy_id}`, tone: "warn" }),
  "order.rejected": (p) => ({ text: `${p.symbol}: ${p.code}`, tone: "bad" }),
  "order.cancelled": (p) => ({ text: `${p.symbol}, ${number(p.remaining_qty)} unfilled: ${p.reason}` }),
  "order.expired": (p) => ({ text: `${p.symbol}, ${number(p.remaining_qty)} unfilled: ${p.reason}` }),
  "orders.proposed": (p) => ({ text: `${p.items.length} wanted, ${p.rejected.length} refused` }),
  "orders.sized": (p) => ({ text: `${p.items.length} sized, ${p.dropped.length} dropped` }),
  "signals.generated": (p) => ({ text: p.items.length ? p.items.map((one) => `${one.symbol} ${one.target ? "long" : "flat"}`).join(", ") : "no change of wishes" }),
  "market.bar": (p) => ({ text: `${p.symbol} O ${price(p.open)} H ${price(p.high)} L ${price(p.low)} C ${price(p.close)}` }),
  "session.closed": (p) => ({ text: `session ${p.session}, ${p.present.length} symbols` }),
  "session.decide": (p) => ({ text: `session ${p.session}` }),
  "portfolio.updated": (p) => ({ text: `equity ${number(p.equity)}, ${p.positions.length} positions, drawdown ${percent(p.drawdown)}` }),
  "policy.updated": (p) => ({ text: `${p.risk_mode}: ${p.reasons.join(", ") || "confirmed"} · ${p.allowed_strategies.length} strategies allowed` }),
  "killswitch.changed": (p) => ({ text: `${p.mode}${p.latched ? ", latched" : ""} by ${p.actor}: ${p.reason}`, tone: p.mode === "OFF" ? "good" : "bad" }),
  "command.killswitch": (p) => ({ text: `${p.actor} asks for ${p.mode}: ${p.reason}` }),
  "command.policy": (p) => ({ text: `${p.actor} asks for ${p.risk_mode}: ${p.reason}` }),
  "command.acknowledge": (p) => ({ text: `${p.user} has seen ${p.violation_id}: ${p.reason}` }),
  "strategy.created": (p) => ({ text: `${p.strategy_id}, trial ${p.trial_no}` }),
  "strategy.promoted": (p) => ({ text: `${p.strategy_id}: ${p.from_stage} → ${p.to_stage}, ${p.reason}` }),
  "strategy.promotion_refused": (p) => ({ text: `${p.strategy_id} → ${p.to_stage}: ${p.code}`, tone: "bad" }),
  "health.status_changed": (p) => ({ text: `${p.component} ${p.old_status} → ${p.new_status}: ${p.reason}`, tone: { HEALTHY: "good", DEGRADED: "warn", CRITICAL: "bad" }[p.new_status] }),
  "spc.violation_created": (p) => ({ text: `${p.chart}: rule ${p.rule_id}, ${p.rule_name}`, tone: p.severity === "CRITICAL" ? "bad" : "warn" }),
  "spc.violation_acknowledged": (p) => ({ text: `${p.violation_id} by ${p.user}: ${p.reason}`, tone: "good" }),
  "spc.limits_updated": (p) => ({ text: `${p.chart}: ${short(p.lcl)} .. ${short(p.center_line)} .. ${short(p.ucl)} from ${p.sample_count} points` }),
  "spc.sample_processed": (p) => ({ text: `${p.chart} #${p.sample_id}: ${short(p.mean)}${p.z == null ? "" : `, z ${p.z.toFixed(2)}`}` }),
  "spc.alert_threshold_exceeded": (p) => ({ text: `${p.metric} ${percent(p.value)} passes ${percent(p.threshold)}`, tone: "bad" }),
  "model.trained": (p) => ({ text: `${p.model} v${p.version} from ${p.samples} samples` }),
  "model.promoted": (p) => ({ text: `${p.model_name} v${p.old_version} → v${p.new_version}`, tone: "good" }),
  "model.rejected": (p) => ({ text: `${p.model_name} v${p.version}: ${p.reason}` }),
  "prediction.made": (p) => ({ text: p.items.map((one) => `${one.symbol} σ ${percent(one.sigma_1d)}`).join(", ") }),
  "evaluation.completed": (p) => ({ text: `${p.subject_id} ${p.purpose}: ${p.verdict}${p.reasons.length ? `, ${p.reasons[0]}` : ""}` }),
  "evaluation.failed": (p) => ({ text: `${p.subject_id}: ${p.message}`, tone: "bad" }),
  "opportunities.updated": (p) => ({ text: `${p.top_symbols.join(", ") || "none"} of ${Object.keys(p.scores).length}` }),
  "feed.anomaly": (p) => ({ text: `${p.symbol} ${p.kind}: ${p.detail}`, tone: "warn" }),
  "run.started": (p) => ({ text: `${p.run_id} over ${p.universe.join(", ")}, ${p.sessions} sessions` }),
  "run.completed": (p) => ({ text: `${p.sessions} sessions, digest ${p.digest.slice(0, 12)}…`, tone: "good" }),
};

/** An event in a few words; undefined for a type that is told as any other. */
export function describe(event) {
  try {
    return WORDS[event.type]?.(event.payload);
  } catch {
    return undefined; // one of another version: told as any other
  }
}

const number = (text) => Number(text).toLocaleString("en-US", { maximumFractionDigits: 2 });
const price = (text) => Number(Number(text).toPrecision(6)).toLocaleString("en-US", { maximumFractionDigits: 4 });
const short = (value) => (typeof value === "number" ? String(Number(value.toPrecision(4))) : value);
