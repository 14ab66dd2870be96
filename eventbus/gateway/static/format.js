// How numbers, times and durations are written. English digits everywhere, as in the terminal and the reports.

const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const compact = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 1 });

export const count = (value) => (value == null ? "–" : whole.format(value));

/** Few digits, for a rate that moves: 0.4, 12, 1.9K. */
export function rate(value) {
  if (value == null) return "–";
  if (value === 0) return "0";
  if (value < 10) return value.toFixed(1);
  return value < 10_000 ? whole.format(value) : compact.format(value);
}

/** Money comes as text, exact; it is shown in whole units. */
export const money = (value) => (value == null ? "–" : whole.format(Number(value)));
export const signed = (value) => (value == null ? "–" : (Number(value) >= 0 ? "+" : "−") + whole.format(Math.abs(Number(value))));

export function percent(fraction, places = 1) {
  return fraction == null ? "–" : `${(fraction * 100).toFixed(places)} %`.replace("-", "−");
}

export function change(fraction, places = 1) {
  return fraction == null ? "–" : `${fraction >= 0 ? "+" : ""}${(fraction * 100).toFixed(places)} %`.replace("-", "−");
}

export function milliseconds(value) {
  if (value == null) return "–";
  if (value >= 1000) return `${(value / 1000).toFixed(1)} s`;
  if (value >= 100) return `${value.toFixed(0)} ms`;
  return value >= 1 ? `${value.toFixed(1)} ms` : `${Math.round(value * 1000)} µs`;
}

export function seconds(value) {
  if (value == null) return "–";
  if (value < 1) return milliseconds(value * 1000);
  if (value < 120) return `${Math.round(value)} s`;
  if (value < 7200) return `${Math.round(value / 60)} min`;
  return value < 172_800 ? `${Math.round(value / 3600)} h` : `${Math.round(value / 86_400)} d`;
}

export function bytes(value) {
  if (value == null) return "–";
  const unit = ["B", "kB", "MB", "GB"].findIndex((_, at) => value < 1000 ** (at + 1) || at === 3);
  return `${(value / 1000 ** unit).toFixed(unit ? 1 : 0)} ${["B", "kB", "MB", "GB"][unit]}`;
}

export const day = (timestamp) => (timestamp ?? "").slice(0, 10);

/** The time of an event: the day alone where it has no hour, as daily bars do. */
export function moment(timestamp) {
  const text = timestamp ?? "";
  return /T00:00:00(\.0+)?(Z|\+00:00)$/.test(text) ? text.slice(0, 10) : text.slice(11, 19);
}

/** What an event carries, in a few words, where nothing knows better. */
export function gist(payload) {
  const words = [];
  for (const [name, value] of Object.entries(payload ?? {})) {
    if (value == null || value === "" || (typeof value === "object" && !Object.keys(value).length)) continue;
    const text = typeof value === "object" ? (Array.isArray(value) ? `${value.length}×` : "{…}") : String(value);
    words.push(`${name} ${text.length > 28 ? text.slice(0, 27) + "…" : text}`);
    if (words.length === 5) break;
  }
  return words.join("  ");
}
