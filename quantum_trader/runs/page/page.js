"use strict";
(() => {
  const facts = JSON.parse(document.getElementById("facts").textContent);
  const $ = (selector) => document.querySelector(selector);
  const root = document.documentElement;
  const colour = (name) => {
    const probe = document.createElement("i");
    probe.style.color = `var(--${name})`;
    root.append(probe);
    const found = getComputedStyle(probe).color;
    probe.remove();
    return found;
  };
  const make = (tag, text, kind) => {
    const node = document.createElement(tag);
    if (text !== undefined) node.textContent = text;
    if (kind) node.className = kind;
    return node;
  };
  const number = (value, places = 0) =>
    value === null || value === undefined ? "–" : value.toLocaleString("en", { minimumFractionDigits: places, maximumFractionDigits: places });
  const percent = (value, places = 1) => (value === null || value === undefined ? "–" : `${(value * 100).toFixed(places)}%`);
  const compact = (value) => value.toLocaleString("en", { notation: "compact", maximumFractionDigits: 2 });
  const price = (value) => number(value, Math.abs(value) < 1 ? 6 : 2);
  const day = (seconds) => new Date(seconds * 1000).toISOString().slice(0, 10);

  // --- plots: made anew when the theme, the width or a choice changes ------------------------------------------------

  const plots = new Map();
  const curve = facts.curve;
  const MODES = { DEFENSIVE: "warn", NORMAL: "accent", AGGRESSIVE: "good" };

  function axes(format, bare) {
    const line = { stroke: colour("line"), width: 1 };
    const common = { stroke: colour("muted"), grid: line, ticks: { ...line, size: 4 }, font: "12px system-ui", labelFont: "12px system-ui" };
    return [{ ...common, grid: { show: false }, show: !bare, size: 44 }, { ...common, size: 58, values: (_, ticks) => ticks.map((tick) => (tick === null ? "" : format(tick))) }];
  }

  function draw(id, data, series, options) {
    const box = document.getElementById(id);
    plots.get(id)?.destroy();
    const plot = new uPlot(
      {
        width: box.clientWidth,
        height: Number(box.dataset.height),
        tzDate: (ts) => uPlot.tzDate(new Date(ts * 1000), "Etc/UTC"),
        cursor: { y: false, points: { size: 7 }, sync: options.sync ? { key: options.sync } : undefined },
        legend: { show: false },
        padding: [8, 6, options.bare ? 8 : 0, 0], // half of a label hangs over where no axis is below
        ...options.more,
        axes: axes(options.format, options.bare),
        scales: { x: { time: true }, y: options.scale ?? {} },
        series: [{}, ...series],
      },
      data,
      box,
    );
    plots.set(id, plot);
    return plot;
  }

  function bands(plot) {
    if (new Set(curve.mode).size < 2) return;
    const { ctx, bbox } = plot;
    let from = 0;
    for (let at = 1; at <= curve.mode.length; at++) {
      if (at < curve.mode.length && curve.mode[at] === curve.mode[from]) continue;
      const name = MODES[curve.mode[from]];
      if (name) {
        const left = plot.valToPos(curve.ts[from], "x", true);
        const right = plot.valToPos(curve.ts[Math.min(at, curve.ts.length - 1)], "x", true);
        ctx.save();
        ctx.globalAlpha = 0.85;
        ctx.fillStyle = colour(name);
        const height = 4 * devicePixelRatio;
        ctx.fillRect(Math.max(left, bbox.left), bbox.top + bbox.height - height, Math.max(0, Math.min(right, bbox.left + bbox.width) - Math.max(left, bbox.left)), height);
        ctx.restore();
      }
      from = at;
    }
  }

  function legend(at) {
    const box = $("#equity-legend");
    const last = at ?? curve.ts.length - 1;
    box.replaceChildren();
    const add = (name, value, tone) => {
      const dot = make("i");
      dot.style.background = `var(--${tone})`;
      const one = make("span", undefined, "one");
      one.append(dot, make("span", name), make("b", value));
      box.append(one);
    };
    add("Equity", number(curve.equity[last]), "accent");
    add("Buy and hold", number(curve.benchmark[last]), "benchmark");
    box.append(make("span", day(curve.ts[last]), "day"));
  }

  // Where the highest is many times the lowest, a linear scale shows nothing but the end.
  const LOG = { distr: 3 };
  const isWide = (values, times) => {
    const known = values.filter((value) => value > 0);
    return known.length === values.length && Math.max(...known) > times * Math.min(...known);
  };
  $("#log").checked = isWide([...curve.equity, ...curve.benchmark], 4);

  function drawEquity() {
    const isLog = $("#log").checked;
    draw(
      "plot-equity",
      [curve.ts, curve.equity, curve.benchmark],
      [
        { stroke: colour("accent"), width: 2, points: { show: false } },
        { stroke: colour("benchmark"), width: 1.4, points: { show: false } },
      ],
      {
        format: compact,
        sync: "run",
        scale: isLog ? LOG : {},
        more: { hooks: { draw: [bands], setCursor: [(plot) => legend(plot.cursor.idx ?? undefined)] } },
      },
    );
    legend();
  }

  function drawRest() {
    draw("plot-drawdown", [curve.ts, curve.drawdown], [{ stroke: colour("bad"), width: 1.3, fill: colour("bad-soft"), fillTo: 0, points: { show: false } }], {
      format: (value) => percent(value, 0),
      bare: true,
      sync: "run",
      scale: { range: (_, low) => [Math.min(low, -0.01), 0] },
    });
    draw("plot-exposure", [curve.ts, curve.exposure], [{ stroke: colour("accent"), width: 1.1, fill: colour("soft"), fillTo: 0, points: { show: false } }], {
      format: (value) => percent(value, 0),
      bare: true,
      sync: "run",
      scale: { range: () => [0, 1.02] },
    });
  }

  // --- symbols -------------------------------------------------------------------------------------------------------

  const symbols = Object.keys(facts.prices);
  let shown = symbols.find((symbol) => facts.prices[symbol].fills.length) ?? symbols[0];

  function marks(plot) {
    const { ctx, bbox } = plot;
    const size = (plot.width < 500 ? 3 : 4.5) * devicePixelRatio;
    for (const [ts, at, side, trigger] of facts.prices[shown].fills) {
      const x = plot.valToPos(ts, "x", true);
      const y = plot.valToPos(at, "y", true);
      if (x < bbox.left || x > bbox.left + bbox.width || y < bbox.top || y > bbox.top + bbox.height) continue;
      const up = side === "BUY" ? 1 : -1;
      ctx.fillStyle = colour(side === "BUY" ? "good" : trigger === "STOP" ? "bad" : "muted");
      ctx.beginPath();
      ctx.moveTo(x, y + up * 2);
      ctx.lineTo(x - size, y + up * (size * 1.7 + 2));
      ctx.lineTo(x + size, y + up * (size * 1.7 + 2));
      ctx.fill();
    }
  }

  function drawSymbol() {
    if (!shown) return;
    const one = facts.prices[shown];
    draw("plot-symbol", [one.ts, one.close], [{ stroke: colour("text"), width: 1.2, points: { show: false } }], {
      format: (value) => compact(value),
      scale: isWide(one.close, 8) ? LOG : { range: (_, low, high) => [low - (high - low) * 0.1, high + (high - low) * 0.1] },
      more: { hooks: { draw: [marks] } },
    });
    for (const tab of $("#symbol-tabs").children) tab.setAttribute("aria-selected", String(tab.textContent === shown));
  }

  for (const symbol of symbols.slice(0, 60)) {
    const tab = make("button", symbol);
    tab.type = "button";
    tab.setAttribute("role", "tab");
    tab.addEventListener("click", () => {
      shown = symbol;
      drawSymbol();
    });
    $("#symbol-tabs").append(tab);
  }

  // --- trades --------------------------------------------------------------------------------------------------------

  let order = { key: "entered", up: true };
  const body = $("#trade-table tbody");
  const words = (trip) => `${trip.symbol} ${trip.strategy} ${trip.entered} ${trip.left} ${trip.trigger} ${trip.order} ${trip.why.reason ?? ""}`.toLowerCase();

  function story(trip) {
    const list = make("dl");
    const facts_ = { order: trip.order, ...trip.why, "left by": trip.trigger, fills: trip.fills };
    for (const [name, value] of Object.entries(facts_)) {
      if (value === null || value === undefined || value === "") continue;
      list.append(make("dt", name), make("dd", typeof value === "number" ? String(Math.round(value * 1e6) / 1e6) : value));
    }
    const row = make("tr");
    const cell = make("td", undefined, "story");
    cell.colSpan = 10;
    cell.append(list);
    row.append(cell);
    return row;
  }

  function toggle(row, trip) {
    const next = row.nextElementSibling;
    if (next && !next.classList.contains("trip")) next.remove();
    else row.after(story(trip));
  }

  function listTrades() {
    const asked = $("#filter").value.trim().toLowerCase();
    const trips = facts.trips.filter((trip) => asked.split(/\s+/).every((word) => words(trip).includes(word)));
    const value = (trip) => trip[order.key] ?? "";
    trips.sort((a, b) => (value(a) < value(b) ? -1 : value(a) > value(b) ? 1 : 0) * (order.up ? 1 : -1));
    $("#trade-count").textContent = `${number(trips.length)} of ${number(facts.trips.length)}`;
    body.replaceChildren();
    for (const trip of trips.slice(0, 2000)) {
      const row = make("tr", undefined, "trip");
      row.tabIndex = 0;
      const tone = trip.left ? (trip.result >= 0 ? "up" : "down") : "";
      row.append(
        make("td", trip.entered),
        make("td", trip.left || "held", "wide"),
        make("td", trip.symbol),
        make("td", trip.strategy, "wide"),
        make("td", number(trip.units), "num wide"),
        make("td", price(trip.paid), "num wide"),
        make("td", trip.received === null ? "–" : price(trip.received), "num wide"),
        make("td", trip.left ? number(trip.result) : "–", `num ${tone}`),
        make("td", trip.left ? percent(trip.rise) : "–", `num ${tone}`),
        make("td", number(trip.days), "num wide"),
      );
      row.addEventListener("click", () => toggle(row, trip));
      row.addEventListener("keydown", (event) => {
        if (event.key === "Enter") toggle(row, trip);
      });
      body.append(row);
    }
    if (!trips.length) {
      const row = make("tr");
      const cell = make("td", facts.trips.length ? "No trade fits the filter." : "Nothing was traded; the funnel below says where the wishes ended.", "muted");
      cell.colSpan = 10;
      row.append(cell);
      body.append(row);
    }
    for (const head of document.querySelectorAll("#trade-table th[data-key]")) {
      if (head.dataset.key === order.key) head.setAttribute("aria-sort", order.up ? "ascending" : "descending");
      else head.removeAttribute("aria-sort");
    }
  }

  for (const head of document.querySelectorAll("#trade-table th[data-key]")) {
    head.tabIndex = 0;
    const sort = () => {
      order = { key: head.dataset.key, up: order.key === head.dataset.key ? !order.up : true };
      listTrades();
    };
    head.addEventListener("click", sort);
    head.addEventListener("keydown", (event) => {
      if (event.key === "Enter") sort();
    });
  }
  $("#filter").addEventListener("input", listTrades);

  // --- funnel, counts, control charts --------------------------------------------------------------------------------

  function funnel() {
    const found = facts.report.funnel;
    const lost = (counts, word) => {
      const told = Object.entries(counts).sort((a, b) => b[1] - a[1]).map(([name, count]) => `${name} ${number(count)}`).join(", ");
      return told && `${word}: ${told}`;
    };
    const steps = [
      ["Wishes", found.signals, lost(found.refused, "refused")],
      ["Sized", found.sized, lost(found.dropped, "dropped")],
      ["Approved", found.approved, lost(found.denied, "denied")],
      ["Filled", found.filled, lost(found.unfilled, "ended unfilled")],
    ];
    const most = Math.max(1, ...steps.map((step) => step[1]));
    for (const [name, count, why] of steps) {
      const row = make("div", undefined, "step");
      const what = make("div", undefined, "what");
      const bar = make("div", undefined, "bar");
      bar.style.width = `${(count / most) * 82}%`;
      what.append(bar, make("span", number(count)));
      row.append(make("span", name), what);
      if (why) row.append(make("span", why, "lost"));
      $("#funnel-bars").append(row);
    }
  }

  function bars(box, counts, isShare) {
    const entries = Object.entries(counts).sort((a, b) => b[1] - a[1]);
    const most = Math.max(...entries.map((entry) => entry[1]));
    for (const [name, count] of entries) {
      const row = make("div");
      row.style.setProperty("--share", String(count / most));
      row.append(make("span", name), make("b", isShare ? percent(count, 0) : number(count)));
      box.append(row);
    }
    if (!entries.length) box.append(make("p", "None.", "muted"));
  }

  const SVG = "http://www.w3.org/2000/svg";
  function shape(tag, values) {
    const node = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(values)) node.setAttribute(name, String(value));
    return node;
  }

  function controlChart(chart) {
    const box = make("div", undefined, "spc");
    const head = make("h3", chart.name);
    const found = chart.violations.length;
    const open = chart.violations.filter((one) => !one.by).length;
    const told = found && open === found ? `${number(found)} open violations` : `${number(found)} violations${open ? `, ${number(open)} open` : ""}`;
    head.append(make("span", `${number(chart.points)} points, ${told}`));
    const known = chart.value.flatMap((value, at) => (chart.sigma[at] === null ? [value] : [value, chart.centre[at] + 3 * chart.sigma[at], chart.centre[at] - 3 * chart.sigma[at]]));
    const low = Math.min(...known);
    const high = Math.max(...known);
    const x = (at) => 4 + (392 * at) / Math.max(1, chart.value.length - 1);
    const y = (value) => 114 - (106 * (value - low)) / (high - low || 1);
    const svg = shape("svg", { viewBox: "0 0 400 120", preserveAspectRatio: "none", role: "img", "aria-label": `Control chart ${chart.name}` });
    const path = (values, style) => {
      let text = "";
      values.forEach((value, at) => {
        if (value !== null) text += `${text && values[at - 1] !== null ? "L" : "M"}${x(at).toFixed(1)},${y(value).toFixed(1)}`;
      });
      svg.append(shape("path", { d: text, fill: "none", "vector-effect": "non-scaling-stroke", ...style }));
    };
    const limit = (times) => chart.value.map((_, at) => (chart.sigma[at] === null ? null : chart.centre[at] + times * chart.sigma[at]));
    path(limit(0), { style: "stroke:var(--muted)", "stroke-dasharray": "4 4", "stroke-width": 1 });
    path(limit(3), { style: "stroke:var(--bad)", "stroke-width": 1, opacity: 0.6 });
    path(limit(-3), { style: "stroke:var(--bad)", "stroke-width": 1, opacity: 0.6 });
    path(chart.value, { style: "stroke:var(--accent)", "stroke-width": 1.3 });
    chart.out.forEach((isOut, at) => {
      if (isOut) svg.append(shape("ellipse", { cx: x(at), cy: y(chart.value[at]), rx: 2.6, ry: 3, style: "fill:var(--bad)" }));
    });
    const dates = chart.dates.filter(Boolean);
    box.append(head, svg, make("p", dates.length ? `${dates[0]} to ${dates.at(-1)}` : "", "muted small"));
    if (chart.violations.length) {
      const more = make("details");
      more.append(make("summary", `${number(chart.violations.length)} violations`));
      const list = make("ul");
      for (const one of chart.violations.slice(-200)) list.append(make("li", `${one.date || "–"} rule ${one.rule}, ${one.severity}${one.by ? `, acknowledged by ${one.by}` : ""}`));
      more.append(list);
      box.append(more);
    }
    $("#spc").append(box);
  }

  // --- all of it -----------------------------------------------------------------------------------------------------

  function drawAll() {
    drawEquity();
    drawRest();
    drawSymbol();
  }

  const modes = Object.keys(facts.report.time_in_mode);
  for (const mode of modes) {
    const dot = make("i");
    dot.style.background = `var(--${MODES[mode] ?? "muted"})`;
    const one = make("span");
    one.append(dot, `${mode} ${percent(facts.report.time_in_mode[mode], 0)}`);
    $("#bands").append(one);
  }
  funnel();
  for (const box of document.querySelectorAll(".bars[data-of]")) bars(box, facts.report[box.dataset.of], "share" in box.dataset);
  bars($("#event-bars"), Object.fromEntries(Object.entries(facts.events).slice(0, 8)), false);
  facts.charts.forEach(controlChart);
  listTrades();
  drawAll();
  $("#log").addEventListener("change", drawEquity);
  $("#theme").addEventListener("click", () => {
    const isDark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = isDark ? "light" : "dark";
    drawAll();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth !== width) {
      width = innerWidth;
      drawAll();
    }
  });
})();
