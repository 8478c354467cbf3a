/* What is new to somebody in one room: a count of the hub's, and the events after it. Knows no page and no network. */

export const UNSURE = 3000; // ms around a count in which an edit may be in it already, or not yet

export class RoomCount {
  #me;
  #unread = 0;
  #mentions = 0;
  #readUpTo = -1;
  #upTo = 0; // the newest message that the count knows
  #from = 0; // what was edited before this is in the count; what was edited after `#to` is not
  #to = 0;
  #later = new Map(); // what came after it: id -> whether it names me
  #edits = []; // that are later than it, or hardly earlier

  constructor(me) {
    this.#me = me;
  }

  get unread() {
    return this.#unread + this.#later.size;
  }

  get mentions() {
    return this.#mentions + [...this.#later.values()].filter(Boolean).length;
  }

  get readUpTo() {
    return this.#readUpTo;
  }

  /**
   * The hub's own count, taken between `from` and `to` (ms by its clock). An older one than is known changes nothing.
   * @returns {boolean} false when something happened so close to it that the hub has to count once more
   */
  recount({ unread, mentions, read_up_to, last_message }, from, to = from) {
    const isOlder =
      read_up_to < this.#readUpTo || (read_up_to === this.#readUpTo && last_message < this.#upTo);
    if (isOlder) return true;
    this.#unread = unread;
    this.#mentions = mentions;
    this.#readUpTo = read_up_to;
    this.#upTo = last_message;
    this.#from = from - UNSURE;
    this.#to = to + UNSURE;
    for (const id of this.#later.keys()) if (id <= last_message) this.#later.delete(id);
    this.#edits = this.#edits.filter((edit) => edit.at > this.#from);
    return this.#edits.map((edit) => this.#apply(edit)).every(Boolean);
  }

  /** @returns {boolean} whether it is one more that is unread */
  created({ id, author, mentions }) {
    if (id <= this.#upTo || this.#later.has(id) || author?.id === this.#me) return false;
    this.#later.set(id, mentions.includes(this.#me));
    return true;
  }

  /** Somebody edited or deleted it, at `at`. @returns {boolean} as of `recount` */
  changed({ id, author, deleted, mentions, mentioned_before: before = [] }, at) {
    if (id <= this.#readUpTo || author?.id === this.#me) return true;
    const names = !deleted && mentions.includes(this.#me);
    const edit = { id, at, deleted, names, named: before.includes(this.#me) };
    this.#edits.push(edit); // a count that is still under way may be from before it
    return this.#apply(edit);
  }

  #apply({ id, at, deleted, names, named }) {
    if (this.#later.has(id)) {
      if (deleted) this.#later.delete(id);
      else this.#later.set(id, names);
      return true;
    }
    const changesNothing = !deleted && names === named;
    if (id <= this.#readUpTo || id > this.#upTo || changesNothing) return true;
    if (at < this.#from) return true; // it was counted as it is now
    if (at < this.#to) return false;
    if (deleted) this.#unread = Math.max(0, this.#unread - 1);
    this.#mentions = Math.max(0, this.#mentions + Number(names) - Number(named));
    return true;
  }
}
