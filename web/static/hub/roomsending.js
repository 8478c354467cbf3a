/* From the composer into the room: over the socket where there is one, else by the API. */

import { ApiError, send } from "./api.js";
import { hub } from "./client.js";
import { Outbox } from "./roomoutbox.js";
import { hubNow } from "./when.js";
import { gettext } from "./words.js";

const REFUSALS = {
  conflict: () => gettext("Not sent: the room is archived."),
  forbidden: () => gettext("Not sent: you may not write here any more."),
  not_found: () => gettext("Not sent: you may not write here any more."),
  invalid: () => gettext("Not sent: it was not accepted. Write it differently and send it again."),
  too_large: () => gettext("Not sent: it is too long."),
};

export const isBySocket = () => hub.state === "live" && hub.transport === "websocket";

export class Sending {
  #room;
  #author;
  #prefix;
  #outbox;
  #items = new Map(); // what waits, as items that stay the same while nothing about them changes

  /** `on`: changed(), and stored(item) for what the hub answers. */
  constructor(room, { author, on }) {
    this.#room = room;
    this.#author = author;
    this.#prefix = `hub.outbox.${author.id}.${room}.`;
    this.#outbox = new Outbox({
      storage: storage(),
      prefix: this.#prefix,
      post: async (message) => on.stored(await this.#post(message)),
      told: on.changed,
    });
    window.addEventListener("storage", this.#elsewhere);
  }

  stop() {
    window.removeEventListener("storage", this.#elsewhere);
    this.#outbox.stop();
  }

  add(body) {
    this.#outbox.add({ client_id: newId(), body, at: new Date(hubNow()).toISOString() });
  }

  retry(clientId) {
    this.#outbox.retry(clientId);
  }

  discard(clientId) {
    this.#outbox.discard(clientId);
  }

  withdraw() {
    return this.#outbox.withdraw();
  }

  /** @returns {boolean} whether it waited here until now */
  stored(item) {
    return item.author?.id === this.#author.id && this.#outbox.stored(item.client_id);
  }

  wake() {
    this.#outbox.wake();
  }

  get items() {
    const items = new Map();
    for (const { client_id, body, at, state, why } of this.#outbox.entries) {
      const key = `${client_id} ${state}`;
      const said = REFUSALS[why]?.() ?? gettext("Not sent: the hub didn’t answer.");
      const made = { id: 0, client_id, author: this.#author, body, at, state, why: said };
      items.set(key, this.#items.get(key) ?? made);
    }
    this.#items = items;
    return [...items.values()];
  }

  #post(message) {
    if (isBySocket()) return hub.request({ op: "post", topic: `room.${this.#room}`, ...message });
    if (hub.state === "live" || hub.state === "stopped")
      return send("POST", `/rooms/${this.#room}/messages`, message);
    throw new ApiError(0, { code: "offline" });
  }

  #elsewhere = ({ key }) => {
    if (key?.startsWith(this.#prefix)) this.#outbox.reread();
  };
}

function storage() {
  try {
    return localStorage;
  } catch {
    return null; // the browser is told to keep nothing
  }
}

/** A random UUID; over plain http browsers do not make one themselves. */
function newId() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
