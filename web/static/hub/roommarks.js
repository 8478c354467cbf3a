/* Tells the hub how far one has read: as far as was seen in a tab that is looked at, and at most once a second. */

import { send } from "./api.js";
import { hub } from "./client.js";
import { parseCursor } from "./cursor.js";
import { isBySocket } from "./roomsending.js";

const EVERY = 1000; // ms from one mark to the next

export class ReadMarks {
  #room;
  #seen;
  #tell;
  #readUpTo;
  #at = 0;
  #timer;
  #isTelling = false;

  /**
   * `seen()`: the id of the last message that is seen just now, or 0. `tell(id)` says so to the hub, and resolves with
   * `{read_up_to}`: what the hub knows as read, which is less where its events have not all come yet.
   */
  constructor(room, seen, tell = (upTo) => tellHub(room.id, upTo)) {
    this.#room = room;
    this.#seen = seen;
    this.#tell = tell;
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
    if (this.#timer || this.#isTelling || !this.#isNewSeen()) return;
    this.#timer = setTimeout(() => this.#mark(), Math.max(0, this.#at + EVERY - Date.now()));
  }

  #isNewSeen() {
    return !document.hidden && this.#room.joined && this.#seen() > this.#readUpTo;
  }

  async #mark() {
    this.#timer = undefined;
    if (!this.#isNewSeen()) return; // somebody may have turned away since this was due
    this.#at = Date.now();
    this.#isTelling = true;
    try {
      this.learn((await this.#tell(this.#seen())).read_up_to);
    } catch {
      return; // the next message, look or connection tries again
    } finally {
      this.#isTelling = false;
    }
    this.look();
  }
}

async function tellHub(room, upTo) {
  const topic = `room.${room}`;
  const offset = parseCursor(hub.cursor)?.offsets.get(topic);
  if (isBySocket() && offset !== undefined) return hub.request({ op: "read", topic, offset });
  return send("POST", `/rooms/${room}/read`, { up_to: upTo });
}
