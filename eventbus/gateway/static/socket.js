// One socket for the whole page: subscribes, resumes where it was cut, says how fresh everything is.
// Nothing but this file knows the protocol.

const STALE_MS = 3_000; // without a word from the server
const GIVEN_UP_MS = 10_000; // a connection that says nothing is no connection
const HIDDEN_MS = 60_000; // in the background, until the socket is closed
const BACK = { some: 6_000, all: 300 }; // events looked through for the list when the page opens
const FINAL = new Set([1002, 1003, 1007, 1008, 1009, 4401, 4403]); // no use in trying again by itself

export class Link extends EventTarget {
  state = "connecting"; // live, stale, lost, asleep, refused, auth
  reason = "";
  welcome = null;
  #socket = null;
  #views = new Set();
  #topics = ["*"];
  #position = null; // { seq, epoch }
  #heard = performance.now();
  #tries = 0;
  #timer = 0;
  #token = null;
  #shown = false; // what stands for it, on this connection
  #skip = false; // the next subscription begins with what comes then
  #hidden = 0;

  constructor(url) {
    super();
    this.url = url;
    setInterval(() => this.#beat(), 1_000);
    document.addEventListener("visibilitychange", () => this.#seen());
  }

  /** Seconds since the server was last heard. */
  get age() {
    return (performance.now() - this.#heard) / 1_000;
  }

  get token() {
    return this.#token;
  }

  open() {
    clearTimeout(this.#timer);
    if (this.#socket) return;
    if (this.state !== "stale" && this.state !== "lost") this.#become("connecting");
    this.#shown = false;
    const socket = (this.#socket = new WebSocket(this.url, "eventbus.v1"));
    socket.onmessage = (message) => this.#hear(socket, JSON.parse(message.data));
    socket.onclose = (closed) => this.#closed(socket, closed);
  }

  /** Come in with a token, where the server wants one. Raises `Refused` for one that it does not take. */
  async authenticate(token) {
    this.#token = token;
    try {
      await call(this, "api/v1/status");
    } catch (refused) {
      this.#token = null;
      throw refused;
    }
    if (this.#socket?.readyState === WebSocket.OPEN) await this.#show();
    else this.open();
  }

  /** The socket is shown a ticket, good for once: the token itself goes nowhere but into the header of a request. */
  async #show() {
    const socket = this.#socket;
    try {
      const { ticket } = await call(this, "api/v1/ticket", {});
      if (socket !== this.#socket) return;
      this.#shown = true;
      this.#send({ type: "auth", token: ticket });
    } catch (refused) {
      if (refused.status === 401 || refused.status === 403) this.#token = null;
      socket?.close(4000);
    }
  }

  /** Views from now on; they come whole, then as often as they change. */
  want(...names) {
    const fresh = names.filter((name) => !this.#views.has(name));
    for (const name of fresh) this.#views.add(name);
    if (this.welcome) this.#look(fresh);
  }

  unwant(...names) {
    for (const name of names) this.#views.delete(name);
    if (this.welcome) this.#send({ type: "unsubscribe", views: names });
  }

  /** The events that come, from now on. */
  listen(topics) {
    this.#topics = topics;
    if (this.welcome) this.#listen(null);
  }

  /** The whole of a view again: what was added did not fit. */
  again(name) {
    this.#send({ type: "unsubscribe", views: [name] });
    this.#look([name]);
  }

  /** Each by itself: one that there is no more of must not keep the others away. */
  #look(names) {
    for (const name of names) this.#send({ type: "subscribe", views: [name] });
  }

  #listen(from) {
    const asked = { type: "subscribe", id: "live", topics: this.#topics, batch_ms: 200, max_rate: 20 };
    if (from) Object.assign(asked, { after: from.seq, epoch: from.epoch });
    this.#send(asked);
  }

  #hear(socket, message) {
    if (socket !== this.#socket) return;
    this.#heard = performance.now();
    switch (message.type) {
      case "auth_required":
        if (this.#token) this.#show();
        else this.#become("auth");
        return;
      case "welcome":
        this.#begin(message);
        break;
      case "event":
        this.#position = { seq: message.seq, epoch: this.welcome?.epoch };
        break;
      case "batch":
        if (message.events.length) {
          this.#position = { seq: message.events.at(-1).seq, epoch: this.welcome?.epoch };
        }
        break;
      case "pong":
        if (this.#position && message.seq != null) this.#position.seq = Math.max(this.#position.seq, message.seq);
        break;
      case "resnapshot":
        this.#position = { seq: message.seq, epoch: message.epoch };
        break;
    }
    if (this.state !== "live" && this.welcome) this.#become("live");
    this.dispatchEvent(new CustomEvent("message", { detail: message }));
  }

  #begin(welcome) {
    const before = this.welcome ?? this.last;
    const isOther = before != null && before.epoch !== welcome.epoch;
    this.welcome = this.last = welcome;
    this.#tries = 0;
    if (isOther) this.dispatchEvent(new Event("other"));
    this.#look(this.#views);
    let from = this.#position;
    if (this.#skip) from = null;
    else if (!from) from = { seq: Math.max((welcome.oldest ?? 1) - 1, welcome.seq - (this.#topics.includes("*") ? BACK.all : BACK.some)), epoch: welcome.epoch };
    this.#skip = false;
    this.#position = from ?? { seq: welcome.seq, epoch: welcome.epoch };
    this.#listen(from);
  }

  #closed(socket, { code, reason }) {
    if (socket !== this.#socket) return;
    this.#socket = null;
    this.welcome = null;
    if (this.#hidden && document.hidden) return this.#become("asleep");
    if (code === 1013) this.#skip = true; // it could not keep up: to ask for all of it again would end the same way
    if (code === 4401 && this.#shown) this.#token = null;
    if (code === 4401 && !this.#token) return this.#become("auth", reason);
    if (code === 4401) return this.open(); // it waited too long for what was not there yet
    if (FINAL.has(code)) return this.#become("refused", reason || `closed with ${code}`);
    this.#become("lost", reason);
    const most = Math.min(5_000, 250 * 2 ** this.#tries++);
    this.#timer = setTimeout(() => this.open(), 250 + Math.random() * (most - 250));
  }

  #beat() {
    const silence = performance.now() - this.#heard;
    if (this.#socket?.readyState === WebSocket.OPEN) {
      if (this.welcome) this.#send({ type: "ping", t: Math.round(performance.now()) });
      if (silence > GIVEN_UP_MS) this.#socket.close(4000);
      else if (silence > STALE_MS && this.state === "live") this.#become("stale");
    }
    if (this.state !== "live") this.dispatchEvent(new Event("state"));
  }

  #seen() {
    clearTimeout(this.#hidden);
    this.#hidden = 0;
    if (document.hidden) {
      this.#hidden = setTimeout(() => this.#socket?.close(1000), HIDDEN_MS);
    } else if (!this.#socket && this.state !== "refused" && this.state !== "auth") {
      this.#tries = 0;
      this.open();
    }
  }

  #send(message) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  #become(state, reason = "") {
    this.state = state;
    this.reason = reason;
    this.dispatchEvent(new Event("state"));
  }
}

/** What the server answered was no success: `message` is the detail of its problem body. */
export class Refused extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

/** Ask or command over HTTP. Raises `Refused` with what the server said. */
export async function call(link, path, body, method = body === undefined ? "GET" : "POST") {
  const headers = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (link.token) headers.Authorization = `Bearer ${link.token}`;
  let answer;
  try {
    answer = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch {
    throw new Refused(0, "the server cannot be reached");
  }
  const found = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(answer.status, found.detail ?? found.title ?? `answered ${answer.status}`);
  return found;
}
