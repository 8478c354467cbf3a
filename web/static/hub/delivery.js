import { parseCursor, writeCursor } from "./cursor.js";

// Per topic; more than this between a reset and its snapshot, and the snapshot is asked for again.
const MOST_HELD = 5000;

/**
 * What has come of each topic, so that every event is handed on once and in order.
 *
 * Knows no network. `emit(event)` gets the events; `again(reset)` is asked to fetch a snapshot once more;
 * `lost(reset)` hears of the topics of a past epoch that the server said nothing about.
 */
export class Delivery {
  #epoch = null;
  #epochIsOver = false; // a reset said so; the next cursor of the server names the new one
  #renewed = new Set(); // topics that were reset since then
  #awaited = new Set(); // topics whose reset belongs to the epoch that a welcome named already
  #former = null; // the cursor from before that welcome, which counts until those resets are here
  #positions = new Map();
  #held = new Map(); // topic -> {holders, events, least, floor, useless}
  #emit;
  #again;
  #lost;

  constructor({ cursor, emit, again = () => {}, lost = () => {} }) {
    this.#emit = emit;
    this.#again = again;
    this.#lost = lost;
    const read = parseCursor(cursor);
    if (read) {
      this.#epoch = read.epoch;
      this.#positions = read.offsets;
    }
  }

  get topics() {
    return [...this.#positions.keys()];
  }

  /** The text to resume with, or null when nothing is known yet. */
  get cursor() {
    if (this.#awaited.size > 0) return this.#former;
    return this.#epoch === null ? null : writeCursor(this.#epoch, this.#positions);
  }

  position(topic) {
    return this.#positions.get(topic);
  }

  /** The server's word on a new connection: where topics go on that were not known here. */
  welcome(epoch, offsets) {
    if (this.#epoch !== null && (epoch !== this.#epoch || this.#awaited.size > 0)) {
      // Old numbers mean nothing in the new log; a `reset` for each topic follows.
      this.#former = this.cursor;
      this.#awaited = new Set([...this.#awaited, ...this.#positions.keys()]);
      this.#positions.clear();
      for (const hold of this.#held.values()) hold.events = [];
    }
    this.#epoch = epoch;
    this.#epochIsOver = false;
    this.#renewed.clear();
    for (const [topic, offset] of Object.entries(offsets)) this.begin(topic, offset);
  }

  /** A topic goes on from `offset` unless its position is known. */
  begin(topic, offset) {
    if (this.#positions.has(topic)) return;
    this.#positions.set(topic, offset);
    const hold = this.#held.get(topic);
    if (hold) hold.least = offset; // what lies below never comes: the snapshot must have it
  }

  /** @returns {boolean} false when events are missing before this one: resume with the cursor */
  take(event) {
    const { topic, offset } = event;
    const position = this.#positions.get(topic);
    if (position !== undefined && offset <= position) return true;
    if (position !== undefined && offset > position + 1) return false;
    this.#positions.set(topic, offset);
    this.#pass(event);
    return true;
  }

  /**
   * The server's own cursor of this connection, sent after what it covers.
   * @returns {boolean} false when it has sent more than came here
   */
  covers(text) {
    const theirs = parseCursor(text);
    if (!theirs) return true;
    const past = new Set(this.#awaited);
    if (this.#epoch === null || this.#epochIsOver) {
      if (this.#epochIsOver && theirs.epoch !== this.#epoch)
        for (const topic of this.topics) if (!this.#renewed.has(topic)) past.add(topic);
      this.#epoch = theirs.epoch;
      this.#epochIsOver = false;
      this.#renewed.clear();
    }
    if (theirs.epoch !== this.#epoch) return false;
    this.#awaited.clear();
    for (const topic of past) if (!theirs.offsets.has(topic)) this.#lose(topic);
    for (const [topic, offset] of theirs.offsets) {
      if (offset > (this.#positions.get(topic) ?? offset)) return false;
    }
    return true;
  }

  /** Learn from the server's cursor the positions of topics that are not known here. */
  learn(text) {
    const theirs = parseCursor(text);
    if (!theirs) return;
    this.#epoch ??= theirs.epoch;
    if (theirs.epoch !== this.#epoch) return;
    for (const [topic, offset] of theirs.offsets) this.begin(topic, offset);
  }

  /** The position can't be continued: go on from `offset`, whatever came before. */
  reset({ topic, offset, reason }) {
    this.#positions.set(topic, offset);
    if (!this.#awaited.delete(topic) && reason === "epoch") {
      this.#epochIsOver = true;
      this.#renewed.add(topic);
    }
    this.#held.delete(topic); // who held it hears of the reset and holds again
  }

  /** Its number belonged to the past epoch, and nothing was said about the new one. */
  #lose(topic) {
    this.forget(topic);
    this.#lost({ topic, offset: 0, reason: "epoch" });
  }

  forget(topic) {
    this.#awaited.delete(topic);
    this.#positions.delete(topic);
    this.#held.delete(topic);
  }

  /** Keep the topic's events until each holder has released it. */
  hold(topic) {
    const hold = this.#held.get(topic);
    if (hold) {
      hold.holders += 1;
      return;
    }
    const least = this.#positions.get(topic) ?? 0; // a snapshot below it is older than the holding
    this.#held.set(topic, { holders: 1, events: [], least, floor: Number.POSITIVE_INFINITY });
  }

  /**
   * A holder's snapshot is shown; `text` is the snapshot's cursor. Of several holders the earliest cursor
   * counts: an event may then meet a snapshot that has it already, but none is missed.
   */
  release(topic, text) {
    const hold = this.#held.get(topic);
    if (!hold) return;
    const snapshot = parseCursor(text);
    const offset = snapshot?.offsets.get(topic);
    if (snapshot && snapshot.epoch !== this.#epoch && !this.#epochIsOver) hold.useless = "epoch";
    else if (offset !== undefined && offset < hold.least) hold.useless ??= "expired";
    hold.floor = Math.min(hold.floor, offset ?? 0);
    hold.holders -= 1;
    if (hold.holders > 0) return;
    this.#held.delete(topic);
    const known = this.#positions.get(topic);
    const position = known ?? 0;
    if (hold.useless) {
      this.#again({ topic, offset: position, reason: hold.useless });
      return;
    }
    if (known !== undefined || hold.floor > 0)
      this.#positions.set(topic, Math.max(position, hold.floor));
    for (const event of hold.events) if (event.offset > hold.floor) this.#pass(event);
  }

  #pass(event) {
    const hold = this.#held.get(event.topic);
    if (!hold) this.#emit(event);
    else if (hold.events.length < MOST_HELD) hold.events.push(event);
    else hold.useless ??= "expired";
  }
}
