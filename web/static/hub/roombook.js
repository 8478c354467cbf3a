/*
 * Which of a room's messages are shown: one window without a hole, wherever in the room one reads. Events change it,
 * pages of the history make it longer, and what happens while a page is under way is heeded. Knows no page and no
 * network.
 */

export class RoomBook {
  #items; // by id
  #older; // the `before` of the page above, null at the room's beginning
  #newer; // the `after` of the page below, null at the newest
  #late = null; // what came during a fetch: item by id

  constructor({ items = [], older = null, newer = null }) {
    this.#items = [...items];
    this.#older = older;
    this.#newer = newer;
  }

  get items() {
    return this.#items;
  }

  get older() {
    return this.#older;
  }

  get newer() {
    return this.#newer;
  }

  get isAtEnd() {
    return this.#newer === null;
  }

  get last() {
    return this.#items.at(-1)?.id ?? 0;
  }

  get(id) {
    return this.#items.find((item) => item.id === id);
  }

  /** The event of a new message. @returns {boolean} whether it was unknown and is shown now */
  created(item) {
    this.#late?.set(item.id, item);
    return this.#insert(item);
  }

  /** The event of one that was changed or deleted: whatever it says is later than what is shown. */
  changed(item) {
    this.#late?.set(item.id, item);
    this.#replace(item);
  }

  /** The answer to one's own call, which may come after events that are later than it. */
  answered(item) {
    const known = this.get(item.id);
    if (!known) this.created(item);
    else if (isLater(item, known)) this.changed(item);
  }

  /** A fetch begins; `how` is "older", "newer", "newest" or an id, around which the window is taken anew. */
  plan(how) {
    this.#late = new Map();
    return { how, before: this.#older, after: this.#newer };
  }

  /** It failed. */
  drop() {
    this.#late = null;
  }

  /** The answer, newest first as the API has it. */
  take({ how, before, after }, { items, next, newer = null }) {
    const page = [...items].reverse();
    if (how === "older") {
      // Otherwise what the page ends at has been let go of meanwhile: it would leave a hole.
      if (before === this.#older) {
        this.#items = [...page.filter(({ id }) => !this.get(id)), ...this.#items];
        this.#older = next;
      }
    } else if (how === "newer") {
      if (after === this.#newer) {
        this.#items = [...this.#items, ...page.filter(({ id }) => !this.get(id))];
        this.#newer = newer;
      }
    } else {
      this.#items = page;
      this.#older = next;
      this.#newer = newer;
    }
    const late = [...this.#late.values()];
    this.#late = null;
    for (const item of late) if (!this.#replace(item)) this.#insert(item);
  }

  /** Nothing of it may be shown any more. */
  clear() {
    this.#items = [];
    this.#older = this.#newer = null;
  }

  /** Let go of what is beyond `most` at one end. */
  trim(end, most) {
    const extra = this.#items.length - most;
    if (extra <= 0) return;
    if (end === "top") {
      this.#items = this.#items.slice(extra);
      this.#older = this.#items[0].id;
    } else {
      this.#items = this.#items.slice(0, most);
      this.#newer = this.last;
    }
  }

  #insert(item) {
    if (this.get(item.id)) return false;
    const at = this.#items.findIndex(({ id }) => id > item.id);
    if (at < 0 && !this.isAtEnd) return false; // it stands below the window
    if (at === 0 && this.#older !== null) return false; // above it
    this.#items = this.#items.toSpliced(at < 0 ? this.#items.length : at, 0, item);
    return true;
  }

  #replace(item) {
    const at = this.#items.findIndex(({ id }) => id === item.id);
    if (at < 0) return false;
    this.#items = this.#items.with(at, item);
    return true;
  }
}

const isLater = (one, other) =>
  !other.deleted && (one.deleted || (one.edited_at ?? "") > (other.edited_at ?? ""));
