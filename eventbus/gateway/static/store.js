// What the page knows: the newest of each view, and when the server was last heard. Panels listen by key and draw once a frame.

export class Store {
  #views = new Map();
  #listeners = new Map();
  #dirty = new Set();
  #frame = 0;

  /** The newest data of a view; undefined while it has not come. */
  view(name) {
    return this.#views.get(name)?.data;
  }

  /** A whole view. One that is older than what is known is passed over: the first paint may come after the socket's. */
  put(name, rev, data) {
    const known = this.#views.get(name);
    if (known && rev < known.rev) return;
    this.#views.set(name, { rev, data });
    this.touch(name);
  }

  /** What is added to a view; false if it does not fit what is known, so that the whole has to be asked for again. */
  append(name, rev, base, added) {
    const known = this.#views.get(name);
    if (!known || known.rev !== base) return false;
    const data = { ...known.data };
    for (const [column, values] of Object.entries(added)) {
      data[column] = Array.isArray(values) && Array.isArray(data[column]) ? data[column].concat(values) : values;
    }
    this.#views.set(name, { rev, data });
    this.touch(name);
    return true;
  }

  /** Another server, or another log: what was known belongs to neither. */
  forget() {
    this.#views.clear();
  }

  on(key, draw) {
    if (!this.#listeners.has(key)) this.#listeners.set(key, []);
    this.#listeners.get(key).push(draw);
  }

  touch(key) {
    this.#dirty.add(key);
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      const dirty = [...this.#dirty];
      this.#dirty.clear();
      for (const each of dirty) for (const draw of this.#listeners.get(each) ?? []) draw(this.view(each));
    });
  }
}
