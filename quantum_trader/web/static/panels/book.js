// Book: what was filled, what is held, what works at the venue. A row is asked why it is there.

import { emptiness, h, keyed, say, tabs } from "../../dom.js";
import { count, money, percent, signed } from "../../format.js";

export function book(page, find) {
  tabs(find("book-tabs"), (name) => [find(name)]);
  const note = find("book-note");
  const fills = lines(page, find("fills"), ["date", "", "quantity", "symbol", "price", "P&L", "bp", "strategy"], [2, 4, 5, 6], "Nothing was filled yet.");
  const orders = lines(page, find("orders"), ["date", "", "quantity", "symbol", "state", "strategy"], [2], "No order works at the venue.");
  const positions = lines(page, find("positions"), ["symbol", "quantity", "average", "last", "value", "unrealised", "strategy"], [1, 2, 3, 4, 5], "Nothing is held: all is cash.");
  page.store.on("orders", (view) => {
    // A page that was just opened begins with the reason of what was filled last.
    if (!page.selected && view.fills.length) page.explain(view.fills[0].event_id);
    fills(view.fills, (fill) => [
      fill.date,
      side(fill.side),
      count(Number(fill.qty)),
      fill.symbol,
      fill.price,
      fill.pnl == null ? "" : signed(fill.pnl),
      fill.shortfall_bp.toFixed(0).replace("-", "−"),
      fill.trigger === "STOP" ? `${fill.strategy} · stop` : fill.strategy,
    ], (fill) => [null, tone(fill.side), null, null, null, fill.pnl == null ? null : Number(fill.pnl) < 0 ? "is-bad" : "is-good"]);
    orders([...view.working, ...view.ended.slice(0, 40)], (order) => [
      order.date, side(order.side), order.qty == null ? "" : count(Number(order.qty)), order.symbol,
      order.why ? `${order.state.toLowerCase()}: ${order.why.toLowerCase()}` : order.state.toLowerCase(), order.strategy,
    ], (order) => [null, tone(order.side)]);
  });
  page.store.on("positions", (view) => {
    say(note, view.cash == null ? "" : `cash ${money(view.cash)} · invested ${percent(Number(view.gross) / Number(view.equity || 1), 0)}`);
    positions(view.rows, (row) => [row.symbol, count(Number(row.qty)), row.avg_price, row.last, money(row.value), signed(row.unrealised), row.strategy], (row) => [
      null, null, null, row.stale ? "is-bad" : null, null, Number(row.unrealised) < 0 ? "is-bad" : "is-good",
    ]);
  });
}

const side = (text) => ({ BUY: "buy", SELL: "sell" })[text] ?? "";
const tone = (text) => ({ BUY: "is-good", SELL: "is-bad" })[text] ?? null;

function lines(page, body, heads, numbers, nothing) {
  const rows = h("tbody");
  const table = h(
    "table",
    { class: "table", hidden: true },
    h("thead", {}, h("tr", {}, ...heads.map((text, at) => h("th", { scope: "col", class: numbers.includes(at) ? "number" : "" }, text ? text : h("span", { class: "sr", text: "side" }))))),
    rows,
  );
  body.append(table);
  emptiness(body, nothing);
  const make = (item) => {
    const cells = heads.map((_, at) => h("td", { class: numbers.includes(at) ? "number" : "" }));
    const row = h("tr", { class: item.event_id ? "goes" : "" }, ...cells);
    if (item.event_id) {
      // The first cell is a button, for the keyboard; the whole row is, for the pointer.
      cells[0].append(h("button", { class: "plain", title: "Why?", "data-why": item.event_id }));
      row.addEventListener("click", () => page.explain(item.event_id));
    }
    return row;
  };
  return (items, texts, tones) => {
    emptiness(body, items.length ? null : nothing);
    table.hidden = !items.length;
    const seen = new Map();
    keyed(rows, items, (item) => {
      const key = item.event_id ?? `${item.strategy} ${item.symbol}`;
      seen.set(key, (seen.get(key) ?? 0) + 1);
      return seen.get(key) > 1 ? `${key} ${seen.get(key)}` : key;
    }, make, (row, item) => {
      const tone = tones(item);
      texts(item).forEach((text, at) => {
        const cell = row.children[at];
        say(cell.firstElementChild ?? cell, text);
        cell.className = `${numbers.includes(at) ? "number" : ""} ${tone[at] ?? ""}`.trim();
      });
    });
  };
}
