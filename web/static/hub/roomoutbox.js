/*
 * What was sent and is not known to be stored. Each message keeps its `client_id` until it is, over reconnects and
 * reloads, so that however often it is sent the hub stores it once. One at a time, in order. Knows no page and no
 * network.
 */

const PAUSES = [1000, 3000, 8000]; // ms before it is tried again by itself; then whoever wrote it decides
const ORPHANED = 8000; // ms after which what another tab has not sent is sent from here
// Not about the message: the same one may well be stored later.
const PASSING = new Set([
  "offline",
  "timeout",
  "unavailable",
  "too_many_requests",
  "rate_limited",
  "internal_error",
  "unauthorized",
  "",
]);

export class Outbox {
  #storage;
  #prefix;
  #post;
  #told;
  #entries = []; // {client_id, body, at, state: "waiting" | "sending" | "failed", why, tries, isKept}
  #running = false;
  #timer;

  /** `post({client_id, body})` resolves with the stored message or rejects with a `code`; `told()`: something changed. */
  constructor({ storage, prefix, post, told }) {
    this.#storage = storage;
    this.#prefix = prefix;
    this.#post = post;
    this.#told = told;
    this.#entries = this.#kept();
  }

  get entries() {
    return this.#entries;
  }

  add({ client_id, body, at }) {
    const entry = { client_id, body, at, state: "waiting", why: null, tries: 0 };
    entry.isKept = this.#keep(entry);
    this.#entries.push(entry);
    this.#told();
    this.#run();
  }

  /** It is stored: an event or the answer said so. */
  stored(clientId) {
    const at = this.#entries.findIndex(({ client_id }) => client_id === clientId);
    if (at < 0) return false;
    this.#entries.splice(at, 1);
    this.#forget(clientId);
    this.#told();
    return true;
  }

  discard(clientId) {
    this.stored(clientId);
  }

  retry(clientId) {
    const entry = this.#entries.find(({ client_id }) => client_id === clientId);
    if (entry?.state !== "failed") return;
    Object.assign(entry, { state: "waiting", why: null, tries: 0 });
    entry.isKept = this.#keep(entry);
    this.#told();
    this.#run();
  }

  /** There is a connection again: what only waited for one goes out once more. */
  wake() {
    for (const entry of this.#entries)
      if (entry.state === "failed" && PASSING.has(entry.why))
        Object.assign(entry, { state: "waiting", why: null, tries: 0 });
    clearTimeout(this.#timer);
    this.#told();
    this.#run();
  }

  /** Another tab of the same person has changed what is kept. */
  reread() {
    const kept = new Map(this.#kept().map((entry) => [entry.client_id, entry]));
    this.#entries = this.#entries.filter(({ client_id, isKept }) => !isKept || kept.has(client_id));
    const known = new Set(this.#entries.map(({ client_id }) => client_id));
    for (const entry of kept.values()) {
      if (known.has(entry.client_id)) continue;
      this.#entries.push(entry);
      setTimeout(() => this.#run(), ORPHANED); // who wrote it may have closed the tab
    }
    for (const entry of this.#entries) {
      const { state, why } = kept.get(entry.client_id) ?? entry;
      if (state === "failed" && entry.state === "waiting") Object.assign(entry, { state, why });
    }
    this.#told();
  }

  /** Give up: what was not stored, as it was written. */
  withdraw() {
    const bodies = this.#entries.map(({ body }) => body);
    for (const { client_id } of [...this.#entries]) this.stored(client_id);
    return bodies;
  }

  stop() {
    clearTimeout(this.#timer);
    this.#running = true;
  }

  async #run() {
    if (this.#running) return;
    this.#running = true;
    for (let entry = this.#next(); entry; entry = this.#next()) {
      entry.state = "sending";
      try {
        const { client_id, body } = entry;
        await this.#post({ client_id, body });
        this.stored(client_id);
      } catch (error) {
        if (!this.#failed(entry, error.code ?? "")) break;
      }
    }
    this.#running = false;
  }

  #next() {
    return this.#entries.find(({ state }) => state === "waiting");
  }

  /** @returns {boolean} whether to go on with the next one */
  #failed(entry, code) {
    const isPassing = PASSING.has(code);
    if (isPassing && (code === "offline" || entry.tries < PAUSES.length)) {
      entry.state = "waiting";
      if (code !== "offline") this.#timer = setTimeout(() => this.#run(), PAUSES[entry.tries++]);
      this.#told();
      return false;
    }
    Object.assign(entry, { state: "failed", why: code });
    if (!isPassing) entry.isKept = this.#keep(entry); // it is not sent again unless somebody wants it
    this.#told();
    return true;
  }

  /** @returns {boolean} false when this browser keeps nothing: the message lives as long as the page */
  #keep({ client_id, body, at, why }) {
    try {
      this.#storage.setItem(this.#prefix + client_id, JSON.stringify({ body, at, why }));
      return true;
    } catch {
      return false;
    }
  }

  #forget(clientId) {
    try {
      this.#storage.removeItem(this.#prefix + clientId);
    } catch {
      // It was not kept.
    }
  }

  #kept() {
    const found = [];
    try {
      for (let at = 0; at < this.#storage.length; at += 1) {
        const key = this.#storage.key(at);
        if (!key.startsWith(this.#prefix)) continue;
        const { body, at: when, why = null } = JSON.parse(this.#storage.getItem(key));
        const client_id = key.slice(this.#prefix.length);
        const state = why === null ? "waiting" : "failed"; // the hub has refused it
        const entry = { client_id, body, at: when, state, why, tries: 0 };
        found.push({ ...entry, isKept: true });
      }
    } catch {
      return found;
    }
    return found.sort((one, other) => (one.at < other.at ? -1 : 1));
  }
}
