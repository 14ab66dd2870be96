// Control charts as small multiples, those with open violations first; one at a time large, where violations are acknowledged.

import { ask } from "../../dialog.js";
import { emptiness, h, keyed, say } from "../../dom.js";
import { count } from "../../format.js";

const REACH = 4; // sigmas that are in sight
const WIDE = 240;
const HIGH = 58;

export function charts(page, body, note) {
  const list = h("ul", { class: "charts" });
  body.append(list);
  page.store.on("charts", (view) => {
    emptiness(body, view.rows.length ? null : "No control charts in this run.");
    say(note, view.open ? `${count(view.open)} open` : "none open");
    note.classList.toggle("is-bad", view.open > 0);
    keyed(list, view.rows, (row) => row.id, (row) => make(row), fill);
  });

  function make(row) {
    return h(
      "li",
      {},
      h(
        "button",
        { class: "plain chart", "data-chart": row.name, onclick: () => open(page, row) },
        h("span", { class: "chart-head" }, h("span", { class: "chart-name", text: row.name }), h("span", { class: "chart-state" })),
        h("svg:svg", { class: "chart-drawing", viewBox: `0 0 ${WIDE} ${HIGH}`, preserveAspectRatio: "none", "aria-hidden": "true" },
          h("svg:path", { class: "zone-c" }), h("svg:path", { class: "centre" }), h("svg:path", { class: "limit" }), h("svg:path", { class: "series" }), h("svg:g")),
      ),
    );
  }

  function fill(node, row) {
    const button = node.firstElementChild;
    const state = row.open ? `${row.open} open` : row.phase === "MONITOR" ? "in control" : row.points ? "baseline" : "no points";
    say(button.querySelector(".chart-state"), state);
    button.setAttribute("aria-label", `${row.name}: ${state}, ${row.points} points`);
    button.classList.toggle("is-open", row.open > 0);
    draw(button.lastElementChild, row.recent, row.limits);
  }
}

/** Points in sigmas where they were judged, else scaled to what there is. */
function draw(svg, points, limits) {
  const [zone, centre, limit, series, marks] = svg.children;
  const judged = limits != null && limits.sigma > 0;
  const values = points.map((point) => (judged ? (point[3] ?? (point[2] - limits.centre) / limits.sigma) : point[2]));
  const least = judged ? -REACH : Math.min(...values);
  const most = judged ? REACH : Math.max(...values);
  const y = (value) => HIGH / 2 - ((Math.max(least, Math.min(most, value)) - (least + most) / 2) / (most - least || 1)) * (HIGH - 8);
  const x = (at) => 3 + (at * (WIDE - 6)) / Math.max(1, points.length - 1);
  zone.setAttribute("d", judged ? `M0 ${y(1)}H${WIDE}V${y(-1)}H0Z` : "");
  centre.setAttribute("d", judged ? `M0 ${y(0)}H${WIDE}` : "");
  limit.setAttribute("d", judged ? `M0 ${y(3)}H${WIDE}M0 ${y(-3)}H${WIDE}` : "");
  series.setAttribute("d", values.length ? `M${values.map((value, at) => `${x(at).toFixed(1)} ${y(value).toFixed(1)}`).join("L")}` : "");
  const wrong = points.map((point, at) => ({ point, at })).filter(({ point }) => !point[5]);
  keyed(marks, wrong, ({ point }) => point[0], () => h("svg:path", { class: "mark" }), (node, { at }) =>
    node.setAttribute("d", `M${x(at).toFixed(1)} ${y(values[at]).toFixed(1)}h0.01`));
}

/** One chart, large. */
function open(page, row) {
  const name = `chart:${row.id}`;
  const drawing = h("svg:svg", { class: "chart-large", role: "img", "aria-label": `Control chart ${row.name}` });
  const legend = h("p", { class: "note chart-legend" });
  const list = h("ul", { class: "violations" });
  const dialog = h(
    "dialog",
    { class: "dialog chart-dialog", "aria-label": `Control chart ${row.name}` },
    h("header", {}, h("h2", { text: row.name }), legend, h("button", { class: "button", text: "Close", onclick: () => dialog.close() })),
    drawing,
    h("h3", { text: "Violations, newest first" }),
    list,
  );
  const show = (view) => {
    if (!view || !dialog.isConnected) return;
    const limits = view.limits.at(-1);
    say(legend, `${view.settings.type} · rules ${(view.settings.rules ?? []).join(", ")} · ${limits ? `limits ${short(limits.lcl)} .. ${short(limits.ucl)}` : "collecting its baseline"}`);
    large(drawing, view);
    emptiness(list, view.violations.length ? null : "No rule was broken.");
    keyed(list, view.violations.slice(-60).reverse(), (one) => one.id, (one) => violation(page, one), fill);
  };
  page.store.on(name, show);
  document.body.append(dialog);
  dialog.addEventListener("close", () => {
    dialog.remove();
    page.link.unwant(name);
  });
  dialog.showModal();
  page.link.want(name);
  page.call(`api/v1/views/${name}`).then((found) => page.store.put(name, found.rev, found.data), () => {});

  function fill(node, one) {
    const isOpen = one.acknowledged_by == null;
    say(node.querySelector(".violation-answer"), isOpen ? "open" : `seen by ${one.acknowledged_by}: ${one.reason}`);
    node.classList.toggle("is-open", isOpen);
    const button = node.querySelector(".button");
    button.hidden = !isOpen;
    page.permit(button, "acknowledge", "Commands are not taken here.");
  }
}

function violation(page, one) {
  return h(
    "li",
    { class: `violation is-${one.severity.toLowerCase()}`, "data-violation": one.id },
    h("span", { class: "violation-date", text: one.date }),
    h("span", { text: `rule ${one.rule_id}: ${one.rule}` }),
    h("span", { class: "violation-answer" }),
    h("button", {
      class: "button small",
      text: "Acknowledge",
      "aria-label": `Acknowledge ${one.id}`,
      onclick: () =>
        ask({
          title: "Acknowledge this violation?",
          text: `${one.id}: ${one.rule}`,
          fields: [
            { name: "user", label: "Who", value: localStorage.getItem("user") ?? "" },
            { name: "reason", label: "Reason" },
          ],
          action: "Acknowledge",
          act: async (values) => {
            await page.call(`api/v1/violations/${encodeURIComponent(one.id)}/acknowledge`, values);
            localStorage.setItem("user", values.user);
            page.say("Acknowledged, before the next session", "good");
          },
        }),
    }),
  );
}

/** All points that are kept, with the limits that held for each. */
function large(svg, { points, limits }) {
  const wide = 860;
  const high = 260;
  svg.setAttribute("viewBox", `0 0 ${wide} ${high}`);
  svg.replaceChildren();
  if (!points.length) return;
  const values = points.map((point) => point[2]);
  const bounds = limits.flatMap(({ ucl, lcl }) => [ucl, lcl]);
  const least = Math.min(...values, ...bounds);
  const most = Math.max(...values, ...bounds);
  const first = points[0][0];
  const last = points.at(-1)[0];
  const x = (id) => 6 + ((id - first) * (wide - 12)) / Math.max(1, last - first);
  const y = (value) => 10 + ((most - value) * (high - 20)) / (most - least || 1);
  limits.forEach((each, at) => {
    const from = x(Math.max(first, each.from));
    const to = x(Math.max(first, at + 1 < limits.length ? limits[at + 1].from : last));
    if (to <= from) return;
    for (const [sigmas, kind] of [[2, "zone-b"], [1, "zone-c"]]) {
      svg.append(h("svg:path", { class: kind, d: `M${from} ${y(each.centre + sigmas * each.sigma)}H${to}V${y(each.centre - sigmas * each.sigma)}H${from}Z` }));
    }
    svg.append(h("svg:path", { class: "centre", d: `M${from} ${y(each.centre)}H${to}` }));
    svg.append(h("svg:path", { class: "limit", d: `M${from} ${y(each.ucl)}H${to}M${from} ${y(each.lcl)}H${to}` }));
  });
  svg.append(h("svg:path", { class: "series", d: `M${points.map((point) => `${x(point[0]).toFixed(1)} ${y(point[2]).toFixed(1)}`).join("L")}` }));
  for (const point of points) {
    if (!point[5]) svg.append(h("svg:circle", { class: "mark", cx: x(point[0]).toFixed(1), cy: y(point[2]).toFixed(1), r: 3 }, h("svg:title", { text: `${point[6]}: ${short(point[2])}` })));
  }
}

const short = (value) => String(Number(value.toPrecision(4)));
