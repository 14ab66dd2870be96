// Roster: strategies by stage, how symbols rank and why, models beside their challengers.

import { emptiness, h, keyed, say, tabs } from "../../dom.js";
import { count } from "../../format.js";

const STAGES = [["BACKTEST", "candidate"], ["SHADOW", "shadow"], ["LIVE", "live"], ["RETIRED", "retired"]];
const COMPONENTS = ["trend", "momentum", "liquidity", "quality", "cost"];

export function roster(page, find) {
  tabs(find("roster-tabs"), (name) => [find(name)]);
  strategies(page, find("strategies"));
  opportunities(page, find("opportunities"));
  models(page, find("models"));
}

function strategies(page, body) {
  const steps = h("ol", { class: "stages", "aria-label": "Strategies by stage" });
  const counts = {};
  for (const [stage, label] of STAGES) {
    steps.append(h("li", { class: `stage is-${stage.toLowerCase()}` }, (counts[stage] = h("b", { text: "–" })), h("span", { text: label })));
  }
  const rows = h("tbody");
  const table = grid(["strategy", "stage", "PSR", "DSR", "trades", "PF", "fills"], 2, rows);
  body.append(steps, table);
  page.store.on("strategies", (view) => {
    for (const [stage] of STAGES) say(counts[stage], count(view.stages[stage]));
    emptiness(body, view.rows.length ? null : "Nobody has been born yet.");
    table.hidden = !view.rows.length;
    keyed(rows, view.rows, (row) => row.id, (row) => make(page, row), fill);
  });
}

function make(page, row) {
  const name = row.event_id
    ? h("button", { class: "plain name", text: row.id, onclick: () => page.explain(row.event_id) })
    : h("span", { class: "name", text: row.id });
  return h("tr", {}, h("td", {}, name), h("td", {}, h("span", { class: "tag" })), h("td", { class: "number" }, h("span", { class: "meter" }), h("span", { class: "meter-text" })), ...[0, 1, 2, 3].map(() => h("td", { class: "number" })));
}

function fill(node, row) {
  const [name, stage, psr, ...rest] = node.children;
  name.title = row.missed.length ? `missed: ${row.missed.join(", ")}` : row.steps.map((step) => `${step.date} ${step.to}`).join(", ");
  const tag = stage.firstElementChild;
  say(tag, { BACKTEST: "candidate" }[row.stage] ?? row.stage.toLowerCase());
  tag.className = `tag is-${row.stage.toLowerCase()}`;
  psr.firstElementChild.hidden = !row.psr; // an empty meter would tell of a bad one
  psr.firstElementChild.style.setProperty("--share", row.psr);
  say(psr.lastElementChild, row.psr ? row.psr.toFixed(2) : "–");
  [row.dsr ? row.dsr.toFixed(2) : "–", count(row.trades), row.profit_factor == null ? "–" : row.profit_factor.toFixed(1), count(row.fills)].forEach((text, at) => say(rest[at], text));
}

function opportunities(page, body) {
  const rows = h("tbody");
  const table = grid(["symbol", "score", ...COMPONENTS], 1, rows);
  body.append(table);
  page.store.on("opportunities", (view) => {
    emptiness(body, view.rows.length ? null : "Symbols are ranked once they have half a year of bars.");
    table.hidden = !view.rows.length;
    keyed(rows, view.rows, (row) => row.symbol, make, fill);
  });
  const make = () => h("tr", {}, h("td", {}, h("b")), h("td", { class: "number" }), ...COMPONENTS.map(() => h("td", { class: "number" }, h("span", { class: "meter" }), h("span", { class: "meter-text" }))));
  const fill = (node, row) => {
    say(node.firstElementChild.firstElementChild, row.symbol);
    node.classList.toggle("is-idle", !row.top);
    say(node.children[1], row.excluded ? row.excluded.toLowerCase() : row.score.toFixed(3));
    COMPONENTS.forEach((name, at) => {
      const cell = node.children[at + 2];
      const value = row.components?.[name];
      cell.firstElementChild.style.setProperty("--share", value ?? 0);
      say(cell.lastElementChild, value == null ? "–" : value.toFixed(2));
    });
  };
}

function models(page, body) {
  const rows = h("tbody");
  const table = grid(["model", "live loss", "challenger", "DM t", "p", "newest verdict"], 1, rows, 5);
  body.append(table);
  page.store.on("models", (view) => {
    emptiness(body, view.rows.length ? null : "No model was trained yet.");
    table.hidden = !view.rows.length;
    keyed(rows, view.rows, (row) => row.model, () => h("tr", {}, ...[0, 1, 2, 3, 4, 5].map((at) => h("td", { class: at && at < 5 ? "number" : "" }))), fill);
  });
  const loss = (one) => (one ? `${one.loss.toFixed(4)} v${one.version}` : "–");
  const fill = (node, row) => {
    const texts = [
      row.model, loss(row.live), loss(row.challenger),
      row.t == null ? "–" : row.t.toFixed(2), row.p == null ? "–" : row.p.toFixed(3),
      row.verdict ? `${row.verdict.toLowerCase()} ${row.date}: ${row.why}` : "–",
    ];
    texts.forEach((text, at) => say(node.children[at], text));
    node.children[5].className = row.verdict === "PROMOTED" ? "is-good" : "";
  };
}

function grid(heads, numbersFrom, rows, numbersTo = heads.length) {
  return h("table", { class: "table" }, h("thead", {}, h("tr", {}, ...heads.map((text, at) => h("th", { text, scope: "col", class: at >= numbersFrom && at < numbersTo ? "number" : "" })))), rows);
}
