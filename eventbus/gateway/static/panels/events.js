// Events as they come, newest first. Stands still under the pointer, and while the reader is down the list.

import { emptiness, h, keyed, reveal, say } from "../dom.js";
import { gist, moment } from "../format.js";

const KEPT = 500; // in the document
const WAITING = 2_000; // while the list stands still

export function events(page, { body, filter, waiting, scopes }) {
  const list = h("ol", { class: "events", role: "listbox", "aria-label": "Events, newest first", tabindex: 0 });
  body.append(list);
  let shown = [];
  let fresh = [];
  let wanted = () => true;
  let still = false;
  const hold = (is) => {
    still = is;
    body.classList.toggle("is-held", is);
    if (!is) draw();
  };
  body.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && hold(true));
  body.addEventListener("pointerleave", () => hold(false));
  filter.addEventListener("input", () => {
    wanted = matcher(filter.value);
    draw(true);
  });
  scopes?.addEventListener("change", () => {
    shown = [];
    fresh = [];
    page.link.listen(scopes.value.split(" "));
    draw(true);
  });
  page.onKey("/", () => filter.focus());
  page.link.addEventListener("message", ({ detail }) => {
    if (detail.type === "event") take([detail]);
    else if (detail.type === "batch") take(detail.events);
    else if (detail.type === "gap") take([{ seq: `gap-${detail.last}`, gap: detail }]);
  });
  page.link.addEventListener("other", () => {
    shown = [];
    fresh = [];
    draw(true);
  });
  list.addEventListener("click", (event) => {
    const row = event.target.closest("[role=option]");
    if (row) choose(row);
  });
  list.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    const rows = [...list.children];
    const at = rows.findIndex((row) => row.getAttribute("aria-selected") === "true");
    const next = rows[Math.min(rows.length - 1, Math.max(0, at + step))];
    if (next) {
      choose(next);
      reveal(body, next);
    }
    event.preventDefault();
  });
  for (const key of ["ArrowDown", "ArrowUp"]) {
    page.onKey(key, () => {
      list.focus();
      list.dispatchEvent(new KeyboardEvent("keydown", { key }));
    });
  }

  function choose(row) {
    if (row.dataset.event) page.explain(row.dataset.event);
  }

  function take(items) {
    fresh.push(...items);
    if (fresh.length > WAITING) fresh.splice(0, fresh.length - WAITING);
    page.store.touch("events");
  }

  page.store.on("events", () => draw());
  page.store.on("selected", () => draw(true));

  function draw(isForced = false) {
    if (still && !isForced) {
      say(waiting, fresh.length ? `${fresh.length} waiting` : "held");
      return;
    }
    say(waiting, "");
    if (fresh.length) {
      shown = fresh.reverse().concat(shown).slice(0, KEPT * 2);
      fresh = [];
    }
    const rows = shown.filter((item) => item.gap || wanted(item, page)).slice(0, KEPT);
    emptiness(body, rows.length ? null : shown.length ? "Nothing here matches the filter." : "Listening; nothing has come yet.");
    keyed(list, rows, (item) => item.seq, make, mark);
    const selected = list.querySelector("[aria-selected=true]");
    if (selected) list.setAttribute("aria-activedescendant", selected.id);
    else list.removeAttribute("aria-activedescendant");
  }

  function mark(node, item) {
    const isIt = item.payload != null && item.payload.event_id === page.selected;
    if ((node.getAttribute("aria-selected") === "true") !== isIt) node.setAttribute("aria-selected", String(isIt));
  }

  function make(item) {
    if (item.gap) {
      return h("li", { class: "event is-gap", text: `${item.gap.dropped} not shown: they came faster than they could be sent` });
    }
    const event = item.payload;
    const kind = page.kindOf(event);
    const told = page.describe(event);
    return h(
      "li",
      {
        class: `event is-${kind.toLowerCase()} ${told?.tone ? `tone-${told.tone}` : ""}`,
        role: "option",
        id: `event-${item.seq}`,
        "aria-selected": "false",
        "data-event": event.event_id,
      },
      h("time", { text: moment(event.timestamp) }),
      h("span", { class: "event-type", text: event.type }),
      h("span", { class: "event-gist", text: told?.text ?? gist(event.payload) }),
    );
  }
}

/** A filter: words that have to be in the type or in what is told; `trade.*` is a pattern of the type. */
function matcher(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  return ({ payload }, page) => {
    if (!words.length) return true;
    const type = payload.type.toLowerCase();
    const told = `${type} ${page.describe(payload)?.text ?? gist(payload.payload)}`.toLowerCase();
    return words.every((word) => (word.endsWith("*") ? type.startsWith(word.slice(0, -1)) : told.includes(word)));
  };
}
