// The few ways in which elements are made and kept. Text is always set as text: what an event says is never markup.

/** An element. `class`, `text`, `vars` (custom properties), `on*` listeners; anything else is an attribute. */
export function h(tag, props = {}, ...children) {
  const node = tag.startsWith("svg:")
    ? document.createElementNS("http://www.w3.org/2000/svg", tag.slice(4))
    : document.createElement(tag);
  for (const [name, value] of Object.entries(props)) set(node, name, value);
  for (const child of children.flat()) if (child != null && child !== false) node.append(child);
  return node;
}

function set(node, name, value) {
  if (value == null || value === false) return;
  if (name === "text") node.textContent = value;
  else if (name === "vars") for (const [key, each] of Object.entries(value)) node.style.setProperty(key, each);
  else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
  else node.setAttribute(name === "class" ? "class" : name, value === true ? "" : value);
}

/** Text of a node, written only when it differs: what did not change costs no layout. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** The children of `parent` become one for each item, in order; those that stay are kept, with focus and scroll. */
export function keyed(parent, items, keyOf, make, fill) {
  const before = new Map();
  for (const child of parent.children) before.set(child.dataset.key, child);
  let at = parent.firstElementChild;
  for (const item of items) {
    const key = String(keyOf(item));
    let node = before.get(key);
    if (node) before.delete(key);
    else {
      node = make(item);
      node.dataset.key = key;
    }
    if (node === at) at = at.nextElementSibling;
    else parent.insertBefore(node, at);
    fill?.(node, item);
  }
  for (const node of before.values()) node.remove();
}

/** Shows one of the states of a card body: nothing yet, or nothing there. `text` of null means that it has content. */
export function emptiness(body, text) {
  let note = body.querySelector(":scope > .empty");
  if (text == null) return note?.remove();
  if (!note) body.append((note = h("p", { class: "empty" })));
  say(note, text);
}

const FADE = 14; // pixels at the foot of a box, as the style sheet has it

/** Bring a child of a scrolling box into sight, and move nothing but that box: the page stays where its reader is. */
export function reveal(box, child) {
  if (!child) return;
  const { top, bottom } = box.getBoundingClientRect();
  const at = child.getBoundingClientRect();
  if (at.top < top) box.scrollTop -= top - at.top;
  else if (at.bottom > bottom - FADE) box.scrollTop += at.bottom - bottom + FADE;
}

/** Tabs inside a card: buttons that show one of several panes, moved along by the arrow keys. */
export function tabs(list, panes, onShow) {
  const buttons = [...list.querySelectorAll("[role=tab]")];
  const show = (wanted) => {
    for (const button of buttons) {
      const isIt = button === wanted;
      button.setAttribute("aria-selected", String(isIt));
      button.tabIndex = isIt ? 0 : -1;
      for (const pane of panes(button.dataset.tab)) pane.hidden = !isIt;
    }
    onShow?.(wanted.dataset.tab);
  };
  list.addEventListener("click", (event) => {
    const button = event.target.closest("[role=tab]");
    if (button) show(button);
  });
  list.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    const next = buttons[(buttons.indexOf(document.activeElement) + step + buttons.length) % buttons.length];
    next.focus();
    show(next);
    event.preventDefault();
    event.stopPropagation();
  });
  show(buttons.find((button) => button.getAttribute("aria-selected") === "true") ?? buttons[0]);
}

const probe = h("span", { class: "sr", "aria-hidden": "true" });

/** The colour that a custom property stands for in the theme that is on. */
export function colour(name) {
  if (!probe.isConnected) document.body.append(probe);
  probe.style.color = `var(${name})`;
  return getComputedStyle(probe).color;
}
