// The page: one socket and one store for all panels, the theme, the tabs of a phone, the keys, and how fresh everything is.

import { ask, tell } from "./dialog.js";
import { emptiness, say, tabs } from "./dom.js";
import { seconds } from "./format.js";
import { Link, call } from "./socket.js";
import { Store } from "./store.js";

export class Page {
  store = new Store();
  status = {};
  #keys = new Map();
  #describe;
  #story;
  #kinds = new Map();
  #wanted = [];

  /**
   * `describe(event)` says an event in a few words, or gives undefined where it does not know its type; `story(event)` gives
   * the path of the whole story that an event belongs to, or null.
   */
  constructor({ describe = () => undefined, story = () => null, topics = ["*"] } = {}) {
    this.#describe = describe;
    this.#story = story;
    const socket = new URL("api/v1/ws", document.baseURI);
    socket.protocol = socket.protocol.replace("http", "ws");
    this.link = new Link(socket.href);
    this.link.listen(topics);
    this.link.addEventListener("message", ({ detail }) => this.#hear(detail));
    this.link.addEventListener("state", () => this.#show());
    this.link.addEventListener("other", () => this.store.forget());
    this.store.on("topology", (view) => {
      for (const route of view.routes) this.#kinds.set(route.type, route.kind);
    });
  }

  /** Everything that is drawn is mounted by now: paint once by HTTP, then live. */
  async start(views) {
    this.#phone();
    this.#theme();
    for (const body of document.querySelectorAll(".card-body.scroll")) {
      body.tabIndex = 0; // or the keyboard could not scroll it
      body.setAttribute("role", "group");
      body.setAttribute("aria-labelledby", body.closest("section").getAttribute("aria-labelledby"));
    }
    this.#show();
    document.addEventListener("keydown", (event) => this.#pressed(event));
    this.#wanted = views;
    this.link.open();
    await this.#begin().catch(() => {}); // the socket says what is wrong, and goes on trying
  }

  /** What this server can do and show; then each view that there is, first by HTTP. */
  async #begin() {
    this.status = await this.call("api/v1/status");
    this.store.touch("status");
    const there = this.#wanted.filter((name) => this.status.views.includes(name));
    for (const name of this.#wanted) if (!there.includes(name)) this.#lacks(name);
    this.link.want(...there);
    await Promise.all(there.map((name) => this.#paint(name)));
  }

  call(path, body, method) {
    return call(this.link, path, body, method);
  }

  /** A short notice at the edge of the page. */
  say(text, kind) {
    tell(text, kind);
  }

  /** Whether the server can do it here. */
  can(capability) {
    return (this.status.capabilities ?? []).includes(capability);
  }

  /** Enable or disable a control by what the server can do; a disabled one says why. */
  permit(control, capability, why) {
    const isOver = this.store.view("run")?.stage === "over";
    const refusal = !this.can(capability) ? why : isOver && control.dataset.over !== "allowed" ? "The run is over." : null;
    control.disabled = refusal != null;
    if (refusal) control.title = refusal;
    else control.title = control.dataset.title ?? "";
  }

  describe(event) {
    return this.#describe(event);
  }

  story(event) {
    return this.#story(event);
  }

  kindOf(event) {
    return event.kind ?? this.#kinds.get(event.type) ?? "event";
  }

  /** Show why an event happened. */
  explain(eventId) {
    this.selected = eventId;
    this.store.touch("selected");
  }

  onKey(key, act) {
    this.#keys.set(key, act);
  }

  async #paint(name) {
    const found = await this.call(`api/v1/views/${name}`);
    this.store.put(name, found.rev, found.data);
  }

  #hear(message) {
    switch (message.type) {
      case "welcome":
        this.status = { ...this.status, capabilities: message.capabilities };
        this.store.touch("status");
        if (!this.status.views) this.#begin().catch(() => {}); // it could not be asked when the page was loaded
        break;
      case "view":
        if ("data" in message) this.store.put(message.view, message.rev, message.data);
        else if (!this.store.append(message.view, message.rev, message.base, message.append)) {
          this.link.again(message.view);
        }
        break;
      case "resnapshot":
        tell("Some events are no longer there; the list goes on with what is new.");
        break;
      case "error":
        tell(message.detail ?? message.code, "bad");
        break;
    }
  }

  /** A view that this server does not make, as it only reads the journal of another process. */
  #lacks(name) {
    const body = document.querySelector(`[data-panel="${name}"]`);
    if (body) emptiness(body, "Only the process that owns the bus knows this; this page follows its journal.");
  }

  #show() {
    const { state, reason, age } = this.link;
    const root = document.documentElement;
    root.dataset.link = state;
    const words = {
      connecting: "connecting",
      live: "live",
      stale: `reconnecting, ${seconds(age)} old`,
      lost: `reconnecting, ${seconds(age)} old`,
      asleep: "asleep",
      refused: `refused: ${reason}`,
      auth: "token needed",
    };
    for (const node of document.querySelectorAll("[data-link-text]")) say(node, words[state]);
    if (state === "auth" && !document.querySelector("dialog[open]")) this.#login(reason);
  }

  #login(reason) {
    ask({
      title: "This gateway asks for a token",
      text: reason || "It is kept by this page alone, and asked for again when the page is loaded anew.",
      fields: [{ name: "token", label: "Token", type: "password" }],
      action: "Connect",
      act: async ({ token }) => {
        await this.link.authenticate(token);
        await this.#begin();
      },
    });
  }

  #theme() {
    const button = document.querySelector("[data-theme-button]");
    const root = document.documentElement;
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const current = () => root.dataset.theme ?? (dark.matches ? "dark" : "light");
    const changed = () => {
      button.setAttribute("aria-label", current() === "dark" ? "Light theme" : "Dark theme");
      this.store.touch("theme");
    };
    const kept = localStorage.getItem("theme");
    if (kept) root.dataset.theme = kept;
    button.addEventListener("click", () => {
      root.dataset.theme = current() === "dark" ? "light" : "dark";
      localStorage.setItem("theme", root.dataset.theme);
      changed();
    });
    dark.addEventListener("change", changed);
    changed();
  }

  /** On a phone the cards stand behind tabs; elsewhere all of them are there, and the tabs are not shown. */
  #phone() {
    const list = document.querySelector("[data-page-tabs]");
    const cards = [...document.querySelectorAll("[data-on]")];
    const narrow = matchMedia("(max-width: 760px)");
    let shown = "";
    const place = () => {
      for (const card of cards) card.classList.toggle("is-behind", narrow.matches && card.dataset.on !== shown);
      this.store.touch("size");
    };
    tabs(list, () => [], (name) => {
      shown = name;
      place();
    });
    narrow.addEventListener("change", place);
  }

  #pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const at = event.target;
    if (at.type === "range" && event.key.startsWith("Arrow")) return;
    if (at.closest("input:not([type=range]), select, textarea")) {
      if (event.key === "Escape") at.blur();
      return;
    }
    if (event.key === " " && at.closest("button, a, summary, [role=option]")) return;
    const act = this.#keys.get(event.key);
    if (act) {
      event.preventDefault();
      act();
    }
  }
}
