// Denials: how many wishes ended where and why, and the newest of them, each of which can be asked why.

import { emptiness, h, keyed, say } from "../../dom.js";
import { count } from "../../format.js";

const WHERE = [
  ["refused", "refused by the orchestrator"],
  ["dropped", "dropped by the balancer"],
  ["denied", "denied by the risk guard"],
];

export function denials(page, body, note) {
  const bars = h("ul", { class: "reasons" });
  const newest = h("ul", { class: "newest" });
  body.append(bars, newest);
  page.store.on("denials", (view) => {
    const rows = WHERE.flatMap(([where, title]) => Object.entries(view[where]).map(([reason, times]) => ({ where, title, reason, times })));
    rows.sort((a, b) => b.times - a.times);
    const most = Math.max(1, ...rows.map((row) => row.times));
    emptiness(body, rows.length ? null : "Nothing was refused yet.");
    say(note, `${count(view.sized)} sized · ${count(view.approved)} approved · ${count(view.filled)} fills`);
    keyed(bars, rows.slice(0, 14), (row) => `${row.where} ${row.reason}`, make, (node, row) => {
      node.style.setProperty("--share", Math.sqrt(row.times / most));
      say(node.lastElementChild, count(row.times));
    });
    keyed(newest, view.lines.slice(0, 12), (line) => line.event_id, (line) =>
      h("li", {}, h("button", { class: "plain", onclick: () => page.explain(line.event_id) },
        h("span", { class: "note", text: line.date }), ` ${line.symbol} ${words(line.code)}`,
        h("span", { class: "note", text: line.value == null ? "" : ` ${line.value} against ${line.limit}` }))));
  });
}

const words = (code) => code.toLowerCase().replaceAll("_", " ");

function make(row) {
  return h(
    "li",
    { class: `reason is-${row.where}`, title: row.title },
    h("span", { text: words(row.reason) }),
    h("b"),
  );
}
