// Equity beside buy and hold, with the drawdown below, its ladder, and the risk mode as a strip between the two.

import uPlot from "../../vendor/uplot.js";
import { colour, emptiness, h, say } from "../../dom.js";
import { change, money, percent } from "../../format.js";

const MODE_COLOURS = [null, "--strip-wary", "--strip-calm", "--strip-bold"]; // in the order of the modes
const STRIP = 5; // pixels

export function equity(page, body, figures) {
  const boxes = { equity: h("div", { class: "plot is-equity" }), drawdown: h("div", { class: "plot is-drawdown" }) };
  body.append(boxes.equity, boxes.drawdown);
  const named = {};
  for (const [name, label] of [["date", ""], ["equity", "equity"], ["gain", ""], ["benchmark", "buy & hold"], ["drawdown", "drawdown"]]) {
    figures.append(h("div", { class: `is-${name}` }, h("dt", { text: label }), (named[name] = h("dd"))));
  }
  emptiness(body, "The curve begins with the first session.");
  let plots = null;
  let data = null;
  let chosen = null; // a session
  for (const box of Object.values(boxes)) box.addEventListener("click", () => choose(plots?.equity.cursor.idx));
  Object.assign(boxes.equity, { tabIndex: 0 });
  boxes.equity.setAttribute("role", "group");
  boxes.equity.setAttribute("aria-label", "Equity: a click, or the left and right arrows, choose a session and tell what was decided in it");
  boxes.equity.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step || !data?.t.length) return;
    event.preventDefault();
    const last = data.t.length - 1;
    choose(Math.max(0, Math.min(last, chosen == null ? last : Math.round(chosen / data.every) + step)));
  });
  page.store.on("equity", (view) => {
    data = { ...view, t: view.minute.map((minute) => minute * 60) };
    draw();
  });
  page.store.on("theme", () => {
    destroy();
    draw();
  });
  new ResizeObserver(() => {
    if (plots) for (const [name, plot] of Object.entries(plots)) plot.setSize(size(boxes[name]));
    else draw();
  }).observe(body);

  /** What was decided in the session of a point is told beside the curve, which marks it. */
  async function choose(at) {
    if (at == null) return;
    chosen = at * data.every;
    for (const plot of Object.values(plots)) plot.redraw(false);
    figure(at);
    try {
      page.explain((await page.call(`api/v1/sessions/${chosen}`)).event_id);
    } catch (refused) {
      page.say(refused.message, "bad");
    }
  }

  /** The session that was chosen, as a line. */
  function mark(plot) {
    if (chosen == null) return;
    const at = data.t[Math.round(chosen / data.every)];
    if (at == null) return;
    const { ctx, bbox } = plot;
    const x = Math.round(plot.valToPos(at, "x", true));
    ctx.save();
    ctx.fillStyle = colour("--text");
    ctx.fillRect(x, bbox.top, devicePixelRatio, bbox.height);
    ctx.restore();
  }

  function destroy() {
    if (plots) for (const plot of Object.values(plots)) plot.destroy();
    plots = null;
  }

  function draw() {
    if (!data?.t.length) return;
    emptiness(body, null);
    if (!boxes.equity.clientWidth) return;
    const columns = {
      equity: [data.t, data.benchmark, data.equity],
      drawdown: [data.t, data.drawdown.map((bp) => -bp / 10_000)],
    };
    if (!plots) plots = { equity: new uPlot(equityPlot(), columns.equity, boxes.equity), drawdown: new uPlot(drawdownPlot(), columns.drawdown, boxes.drawdown) };
    else for (const [name, plot] of Object.entries(plots)) plot.setData(columns[name]);
    figure(null);
  }

  function figure(at) {
    const last = data.last;
    const point = at == null ? last : { t: data.t[at], equity: data.equity[at], benchmark: data.benchmark[at], drawdown: data.drawdown[at] / 10_000 };
    if (!point) return;
    const start = data.equity[0];
    const gain = Number(point.equity) / start - 1;
    say(named.date, at == null ? "" : new Date(point.t * 1000).toISOString().slice(0, 10));
    say(named.equity, money(point.equity));
    say(named.gain, change(gain));
    named.gain.className = gain < 0 ? "is-bad" : "is-good";
    say(named.benchmark, `${money(point.benchmark)}`);
    say(named.drawdown, percent(point.drawdown));
    named.drawdown.className = point.drawdown < 0.0005 ? "is-none" : "";
  }

  const size = (box) => ({ width: box.clientWidth, height: box.clientHeight });

  function shared() {
    return {
      legend: { show: false },
      cursor: {
        sync: { key: "equity", setSeries: false },
        points: { size: 6 },
        drag: { x: false, y: false },
      },
      scales: { x: { time: true } },
      padding: [8, 4, 0, 0],
    };
  }

  function axis(more) {
    return {
      stroke: colour("--muted"),
      font: `11px ${getComputedStyle(document.body).fontFamily}`,
      grid: { stroke: colour("--line"), width: 1 },
      ticks: { show: false },
      ...more,
    };
  }

  function equityPlot() {
    const accent = colour("--accent");
    return {
      ...shared(),
      ...size(boxes.equity),
      axes: [
        axis({ show: false, size: 0 }),
        axis({ side: 1, size: 58, space: 34, values: (_, ticks) => ticks.map(thousands) }),
      ],
      series: [
        {},
        { label: "Buy and hold", stroke: colour("--benchmark"), width: 1.3, dash: [4, 4], points: { show: false } },
        { label: "Equity", stroke: accent, width: 2, fill: (plot) => fade(plot, accent), points: { show: false } },
      ],
      hooks: {
        drawClear: [stops],
        draw: [modes, mark],
        setCursor: [(plot) => figure(plot.cursor.idx)],
      },
    };
  }

  function drawdownPlot() {
    const bad = colour("--bad");
    return {
      ...shared(),
      ...size(boxes.drawdown),
      scales: {
        x: { time: true },
        y: { range: (_, least) => [Math.min(-0.02, least * 1.15, ...ladder(least)), 0] },
      },
      axes: [
        axis({ size: 24, space: 74, grid: { show: false }, values: dates }),
        axis({ side: 1, size: 58, space: 26, values: (_, ticks) => ticks.map((tick) => percent(tick, 0)) }),
      ],
      series: [{}, { label: "Drawdown", stroke: bad, width: 1.4, fill: alpha(bad, 0.16), points: { show: false } }],
      hooks: { draw: [rungs, mark] },
    };
  }

  /** The rungs that are in sight: those passed, and the next one. */
  function ladder(least) {
    const levels = data.levels ?? [];
    const next = levels.findIndex((level) => -level < least);
    return levels.slice(0, next < 0 ? levels.length : next + 1).map((level) => -level * 1.08);
  }

  function rungs(plot) {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.font = `${10.5 * devicePixelRatio}px ${getComputedStyle(document.body).fontFamily}`;
    ctx.textBaseline = "bottom";
    data.levels.forEach((level, at) => {
      const y = plot.valToPos(-level, "y", true);
      if (y > bbox.top + bbox.height) return;
      ctx.strokeStyle = colour(at === data.levels.length - 1 ? "--bad" : "--warn");
      ctx.fillStyle = ctx.strokeStyle;
      ctx.lineWidth = devicePixelRatio;
      ctx.setLineDash([5 * devicePixelRatio, 4 * devicePixelRatio]);
      ctx.beginPath();
      ctx.moveTo(bbox.left, y);
      ctx.lineTo(bbox.left + bbox.width, y);
      ctx.stroke();
      if (bbox.width > 400 * devicePixelRatio) ctx.fillText(["half of what is allowed", "four fifths", "all: sell only"][at] ?? "", bbox.left + 6 * devicePixelRatio, y - 1);
    });
    ctx.restore();
  }

  /** The risk mode of each session, as a strip at the foot. */
  function modes(plot) {
    const { ctx, bbox } = plot;
    const height = STRIP * devicePixelRatio;
    const colours = MODE_COLOURS.map((name) => name && colour(name));
    ctx.save();
    for (let from = 0; from < data.t.length; ) {
      let to = from;
      while (to + 1 < data.t.length && data.mode[to + 1] === data.mode[from]) to += 1;
      const left = plot.valToPos(data.t[from], "x", true);
      const right = plot.valToPos(data.t[Math.min(to + 1, data.t.length - 1)], "x", true);
      if (colours[data.mode[from]]) {
        ctx.fillStyle = colours[data.mode[from]];
        ctx.fillRect(left, bbox.top + bbox.height - height, Math.max(1, right - left), height);
      }
      from = to + 1;
    }
    ctx.restore();
  }

  /** When trading was stopped. */
  function stops(plot) {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.fillStyle = alpha(colour("--bad"), 0.12);
    for (const [from, to] of data.stops) {
      const left = Math.max(bbox.left, plot.valToPos(from * 60, "x", true));
      const right = to == null ? bbox.left + bbox.width : plot.valToPos(to * 60, "x", true);
      ctx.fillRect(left, bbox.top, Math.max(1, right - left), bbox.height);
    }
    ctx.restore();
  }
}

function fade(plot, accent) {
  const { ctx, bbox } = plot;
  if (!bbox.height) return "transparent";
  const gradient = ctx.createLinearGradient(0, bbox.top, 0, bbox.top + bbox.height);
  gradient.addColorStop(0, alpha(accent, 0.26));
  gradient.addColorStop(1, alpha(accent, 0));
  return gradient;
}

const alpha = (rgb, share) => rgb.replace(/^rgb\((.*)\)$/, `rgba($1, ${share})`);

function thousands(value) {
  if (Math.abs(value) >= 1e6) return `${+(value / 1e6).toFixed(2)} M`;
  return Math.abs(value) >= 1e3 ? `${+(value / 1e3).toFixed(0)} k` : String(value);
}

const dates = (plot, ticks) => {
  const days = (plot.scales.x.max - plot.scales.x.min) / 86_400;
  return ticks.map((tick) => {
    const text = new Date(tick * 1000).toISOString();
    return days > 2_000 ? text.slice(0, 4) : days > 3 ? text.slice(0, 7) : text.slice(11, 16);
  });
};
