// Subscriptions: who listens, how fast, how far behind. Those that stand out come first.

import { emptiness, h, keyed, say } from "../dom.js";
import { count, milliseconds, rate, seconds } from "../format.js";

const COLUMNS = [
  ["rate", "per s", (row) => rate(row.rate)],
  ["queued", "queued", (row) => count(row.queued)],
  ["p99", "p99", (row) => milliseconds(row.p99_ms)],
  ["errors", "errors", (row) => count(row.errors)],
  ["age", "oldest", (row) => (row.oldest_age_s ? seconds(row.oldest_age_s) : "–")],
];

export function subscriptions(page, body) {
  const rows = h("tbody");
  const table = h(
    "table",
    { class: "table" },
    h(
      "thead",
      {},
      h("tr", {}, h("th", { text: "subscription", scope: "col" }), ...COLUMNS.map(([, text]) => h("th", { class: "number", text, scope: "col" }))),
    ),
    rows,
  );
  body.append(table);
  page.store.on("subscriptions", (view) => {
    emptiness(body, view.rows.length ? null : "Nobody listens yet.");
    table.hidden = !view.rows.length;
    const worst = (row) => row.dead_lettered * 1e6 + row.errors * 1e3 + (row.oldest_age_s > 1 ? 500 : 0);
    const sorted = [...view.rows].sort((a, b) => worst(b) - worst(a) || b.rate - a.rate || a.name.localeCompare(b.name));
    keyed(rows, sorted, (row) => row.name, make, fill);
  });
}

function make(row) {
  return h(
    "tr",
    {},
    h("td", { title: row.selector }, h("span", { class: "name", text: row.name })),
    ...COLUMNS.map(([name]) => h("td", { class: `number is-${name}` })),
  );
}

function fill(node, row) {
  COLUMNS.forEach(([, , text], at) => say(node.children[at + 1], text(row)));
  node.classList.toggle("is-wrong", row.errors > 0 || row.dead_lettered > 0);
  node.classList.toggle("is-idle", !row.rate);
}
