/* Tells the hub how far one has read: as far as was seen in a tab that is looked at, and at most once a second. */

import { send } from "./api.js";
import { hub } from "./client.js";
import { parseCursor } from "./cursor.js";
import { isBySocket } from "./roomsending.js";

const EVERY = 1000; // ms from one mark to the next

export class ReadMarks {
  #room;
  #seen;
  #readUpTo;
  #at = 0;
  #timer;

  /** `seen()`: the id of the last message that is seen just now, or 0. */
  constructor(room, seen) {
    this.#room = room;
    this.#seen = seen;
    this.#readUpTo = room.read_up_to;
  }

  stop() {
    clearTimeout(this.#timer);
  }

  /** Another tab has told it. */
  learn(upTo) {
    this.#readUpTo = Math.max(this.#readUpTo, upTo);
  }

  look() {
    if (this.#timer || document.hidden || !this.#room.joined) return;
    if (this.#seen() <= this.#readUpTo) return;
    this.#timer = setTimeout(() => this.#tell(), Math.max(0, this.#at + EVERY - Date.now()));
  }

  async #tell() {
    const upTo = this.#seen();
    this.#at = Date.now();
    try {
      if (upTo > this.#readUpTo) await this.#send(upTo);
      this.learn(upTo);
      this.#timer = undefined;
      this.look();
    } catch {
      this.#timer = undefined; // the next message, look or connection tries again
    }
  }

  async #send(upTo) {
    const { id } = this.#room;
    const topic = `room.${id}`;
    const offset = parseCursor(hub.cursor)?.offsets.get(topic);
    if (isBySocket() && offset !== undefined) await hub.request({ op: "read", topic, offset });
    else await send("POST", `/rooms/${id}/read`, { up_to: upTo });
  }
}
