/* What somebody is writing, per person and room, in this browser: it outlives reloads, sign-in and crashes. */

export class Drafts {
  #storage;
  #user;

  constructor(storage, user) {
    this.#storage = storage;
    this.#user = user;
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

  /** @returns {boolean} false when this browser keeps nothing */
  write(room, text) {
    try {
      if (text.trim()) this.#storage.setItem(this.key(room), text);
      else this.#storage.removeItem(this.key(room));
      return true;
    } catch {
      return false;
    }
  }
}
