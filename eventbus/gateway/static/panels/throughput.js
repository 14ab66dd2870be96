// Throughput: how much goes through the bus now, and how long it waits.

import { h, say } from "../dom.js";
import { bytes, count, milliseconds, rate } from "../format.js";

const KEPT = 120; // looks

export function throughput(page, body) {
  const line = h("svg:path", { class: "spark-line" });
  const area = h("svg:path", { class: "spark-area" });
  const spark = h(
    "svg:svg",
    { class: "spark", viewBox: "0 0 240 44", preserveAspectRatio: "none", "aria-hidden": "true" },
    area,
    line,
  );
  const now = h("strong", { class: "headline", text: "–" });
  const figures = {};
  const figure = (name, label) =>
    h("div", { class: "figure" }, h("dt", { text: label }), (figures[name] = h("dd", { text: "–" })));
  body.append(
    h("div", { class: "pulse" }, h("div", {}, now, h("span", { class: "unit", text: " events/s" })), spark),
    h(
      "dl",
      { class: "figures" },
      figure("p50", "dispatch p50"),
      figure("p99", "dispatch p99"),
      figure("queue", "queue"),
      figure("pending", "pending"),
      figure("published", "published"),
      figure("letters", "dead letters"),
      figure("blocks", "loop blocks"),
      figure("clients", "clients"),
      figure("journal", "journal"),
    ),
  );
  const seen = [];
  page.store.on("bus", (view) => {
    say(now, rate(view.per_s));
    say(figures.p50, milliseconds(view.p50_ms));
    say(figures.p99, milliseconds(view.p99_ms));
    say(figures.queue, count(view.queue_size));
    say(figures.pending, count(view.pending));
    say(figures.published, count(view.published));
    say(figures.letters, count(view.dead_letters));
    say(figures.blocks, count(view.loop_blocks));
    say(figures.clients, count(view.clients));
    say(figures.journal, view.journal == null ? "in memory" : view.journal.failure ? "failed" : bytes(view.journal.bytes));
    figures.letters.classList.toggle("is-bad", view.dead_letters > 0);
    figures.journal.classList.toggle("is-bad", Boolean(view.journal?.failure));
    seen.push(view.per_s ?? 0);
    if (seen.length > KEPT) seen.shift();
    const most = Math.max(1, ...seen);
    const step = 240 / (Math.max(seen.length, 24) - 1);
    const from = Math.max(0, 24 - seen.length);
    const points = seen.map((value, at) => `${((from + at) * step).toFixed(1)} ${(42 - (value / most) * 38).toFixed(1)}`);
    line.setAttribute("d", `M${points.join("L")}`);
    area.setAttribute("d", `M${(from * step).toFixed(1)} 44L${points.join("L")}L240 44Z`);
  });
}
