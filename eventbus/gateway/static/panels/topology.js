// Topology: who publishes what and who hears it, as streams whose width and speed are the rate. Type in the middle.

import { emptiness, h, keyed, say } from "../dom.js";
import { rate } from "../format.js";

const MOST = 14; // types that are drawn; the others are quiet
const ROW = 17.5;
const TOP = 8;

export function topology(page, body, legend) {
  const links = h("svg:g", { class: "links" });
  const drawing = h("svg:svg", { class: "topology", role: "img", "aria-label": "Event types between who publishes and who hears them" }, links);
  const labels = h("div", { class: "topology-labels" });
  const frame = h("div", { class: "topology-frame" }, drawing, labels);
  body.append(frame);
  let chosen = [];
  let isSeen = false; // what is out of sight is neither drawn nor moved, which would take most of what the page takes
  const redraw = () => page.store.view("topology") && draw(page.store.view("topology"));
  page.store.on("topology", draw);
  page.store.on("size", redraw);
  new ResizeObserver(() => page.store.touch("size")).observe(frame);
  new IntersectionObserver(([seen]) => {
    isSeen = seen.isIntersecting;
    drawing.classList.toggle("is-still", !isSeen);
    redraw();
  }).observe(body);

  function draw(view) {
    const routes = view.routes.filter((route) => route.consumers.length || route.producers.length);
    emptiness(body, routes.length ? null : "No types are routed yet.");
    frame.hidden = !routes.length;
    const busy = routes.filter((route) => route.per_s > 0).length;
    say(legend, `${routes.length} types, ${busy} moving`);
    if (!isSeen) return;
    // Whoever was drawn stays drawn while it moves: rows that change places cannot be read.
    const loud = [...routes]
      .sort((a, b) => b.per_s - a.per_s || (b.total ?? 0) - (a.total ?? 0) || a.type.localeCompare(b.type))
      .slice(0, MOST);
    const before = new Set(chosen);
    const kept = loud.filter((route) => before.has(route.type)).length;
    if ((busy && kept < Math.min(MOST, loud.length) - 3) || !chosen.length) chosen = loud.map((route) => route.type).sort();
    const known = new Map(routes.map((route) => [route.type, route]));
    const rows = chosen.map((type) => known.get(type)).filter(Boolean);
    const width = frame.clientWidth;
    if (!width || !rows.length) return;
    const left = ends(rows, "producers");
    const right = ends(rows, "consumers");
    const height = TOP * 2 + ROW * Math.max(rows.length, left.length, right.length);
    drawing.setAttribute("viewBox", `0 0 ${width} ${height}`);
    drawing.setAttribute("height", height);
    const place = (count, at) => TOP + (height - 2 * TOP) * ((at + 0.5) / count);
    const side = Math.min(width < 500 ? 96 : 150, width * 0.26);
    const half = Math.min(width < 500 ? 78 : 104, width * 0.16);
    const paths = [];
    rows.forEach((route, at) => {
      const y = place(rows.length, at);
      for (const name of route.producers) {
        paths.push(path(`${name}>${route.type}`, route, side, place(left.length, left.indexOf(name)), width / 2 - half, y));
      }
      for (const name of route.consumers) {
        paths.push(path(`${route.type}>${name}`, route, width / 2 + half, y, width - side, place(right.length, right.indexOf(name))));
      }
    });
    keyed(links, paths, (one) => one.key, () => h("svg:path"), fillPath);
    const texts = [
      ...left.map((name, at) => ({ key: `l${name}`, text: name, side: "left", y: place(left.length, at) })),
      ...rows.map((route, at) => ({
        key: `m${route.type}`,
        text: route.type,
        rate: route.per_s ? rate(route.per_s) : "",
        kind: route.kind,
        side: "middle",
        y: place(rows.length, at),
      })),
      ...right.map((name, at) => ({ key: `r${name}`, text: name, side: "right", y: place(right.length, at) })),
    ];
    labels.style.setProperty("--side", `${side}px`);
    labels.style.setProperty("--half", `${half}px`);
    keyed(labels, texts, (one) => one.key, label, (node, one) => {
      node.style.setProperty("--y", `${one.y}px`);
      if (one.side === "middle") say(node.lastElementChild, one.rate);
    });
  }
}

const ends = (rows, side) => [...new Set(rows.flatMap((route) => route[side]))];

function path(key, route, x1, y1, x2, y2) {
  const bend = (x2 - x1) * 0.5;
  return {
    key,
    d: `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`,
    kind: route.kind,
    per_s: route.per_s,
  };
}

function fillPath(node, { d, kind, per_s }) {
  if (node.getAttribute("d") !== d) node.setAttribute("d", d);
  const strength = per_s > 0 ? Math.min(1, 0.25 + Math.log10(1 + per_s) / 3) : 0;
  const level = Math.ceil(strength * 5);
  const name = `link is-${kind.toLowerCase()} flow-${level}`;
  if (node.getAttribute("class") !== name) node.setAttribute("class", name);
}

function label({ text, side, kind, rate: per }) {
  return h(
    "div",
    { class: `node at-${side} ${kind ? `is-${kind.toLowerCase()}` : ""}`, title: text },
    h("span", { text }),
    side === "middle" ? h("b", { text: per }) : null,
  );
}
