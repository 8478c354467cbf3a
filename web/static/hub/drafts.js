/* What somebody is writing, per person and room, in this browser: it outlives reloads, sign-in and crashes. */

export class Drafts {
  #storage;
  #user;
  #visit;

  /** `visit`: the tab's `history`, whose entry has what the storage refuses, over reloads and the back button. */
  constructor(storage, user, visit) {
    this.#storage = storage;
    this.#user = user;
    this.#visit = visit;
  }

  key(room) {
    return `hub.draft.${this.#user}.${room}`;
  }

  read(room) {
    try {
      return this.#storage.getItem(this.key(room)) ?? "";
    } catch {
      return "";
    }
  }

  /** What was written at this entry of the tab's history and could not be stored; undefined for nothing. */
  unstored(room) {
    return this.#visit.state?.[this.key(room)];
  }

  /** @returns {boolean} false when the browser stores nothing */
  write(room, text) {
    try {
      if (text.trim()) this.#storage.setItem(this.key(room), text);
      else this.#storage.removeItem(this.key(room));
    } catch {
      this.#note(room, text);
      return false;
    }
    if (this.unstored(room) !== undefined) this.#note(room, undefined);
    return true;
  }

  #note(room, text) {
    try {
      this.#visit.replaceState({ ...this.#visit.state, [this.key(room)]: text || undefined }, "");
    } catch {
      // Too often within a short time, for some browsers: the next key notes it.
    }
  }
}
