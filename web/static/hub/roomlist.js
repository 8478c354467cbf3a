/*
 * The list of a room's messages on the page: made like the rows it is given, with as little change as that takes, and
 * without moving what somebody reads. At the end it follows, elsewhere it stays. `on`: top(), bottom(), moved(), and
 * isAtEnd(): whether the rows reach the newest message.
 */

const NEAR = 32; // px from the end that count as being at it
const AHEAD = 700; // px from either end at which more is asked for
const QUIET = 50; // ms that a screen reader is not told of rows that are not news

export class RoomList {
  #log;
  #talk;
  #view;
  #on;
  #shown = new Map(); // key -> {row, node}
  #isFollowing = true;
  #sizes;
  #quiet;
  pinned = null; // the key of a row that is not touched, for somebody edits it

  constructor({ log, talk, view, on }) {
    this.#log = log;
    this.#talk = talk;
    this.#view = view;
    this.#on = on;
    log.addEventListener("scroll", this.#scrolled, { passive: true });
    this.#sizes = new ResizeObserver(() => this.#isFollowing && this.toEnd());
    this.#sizes.observe(log);
    this.#sizes.observe(talk);
  }

  stop() {
    this.#log.removeEventListener("scroll", this.#scrolled);
    this.#sizes.disconnect();
  }

  get isFollowing() {
    return this.#isFollowing;
  }

  /** More than a screen above the end. */
  get isFarUp() {
    return this.#below() > this.#log.clientHeight;
  }

  node(key) {
    return this.#shown.get(key)?.node;
  }

  /** The row at the top of what is seen, as an id of a message. */
  get firstSeen() {
    return this.#anchor()?.row.item.id || null;
  }

  /** `isNews`: the rows that are new may be read aloud. */
  show(rows, { isNews = true } = {}) {
    if (!isNews) this.#hush();
    this.#isFollowing &&= this.#on.isAtEnd();
    const anchor = this.#isFollowing ? null : this.#anchor();
    const before = anchor?.node.getBoundingClientRect().top;
    this.#sync(rows);
    if (this.#isFollowing) this.toEnd();
    else if (anchor) {
      const node = this.#shown.get(anchor.row.key)?.node;
      if (node) this.#log.scrollTop += node.getBoundingClientRect().top - before;
    }
    this.look();
  }

  toEnd() {
    this.#isFollowing = true;
    this.#log.scrollTop = this.#log.scrollHeight;
  }

  /** Put a row in the middle and stay there. */
  reveal(key) {
    const node = this.node(key);
    if (!node) return false;
    this.#isFollowing = false;
    const { top, height } = node.getBoundingClientRect();
    const frame = this.#log.getBoundingClientRect();
    this.#log.scrollTop += top - frame.top - (frame.height - height) / 2;
    this.#scrolled();
    return true;
  }

  /** Focus the next or previous stored message. @returns "row", "below" for past the last one, or null */
  step(by) {
    const rows = [...this.#talk.querySelectorAll(".message[data-id]")];
    const here = rows.indexOf(document.activeElement.closest(".message"));
    const at = here < 0 && by < 0 ? rows.length - 1 : here + by;
    if (at < 0 || (here < 0 && by > 0)) return null;
    if (at >= rows.length) return "below";
    rows[at].focus({ preventScroll: true });
    rows[at].scrollIntoView({ block: "nearest" });
    return "row";
  }

  /** Is there enough above and below? */
  look() {
    if (this.#log.clientHeight === 0) return;
    if (this.#log.scrollTop < AHEAD) this.#on.top();
    if (this.#below() < AHEAD) this.#on.bottom();
  }

  #scrolled = () => {
    if (this.#log.clientHeight === 0) return;
    this.#isFollowing = this.#below() < NEAR && this.#on.isAtEnd();
    this.#on.moved();
    this.look();
  };

  #below() {
    const { scrollTop, scrollHeight, clientHeight } = this.#log;
    return scrollHeight - scrollTop - clientHeight;
  }

  #anchor() {
    const { top } = this.#log.getBoundingClientRect();
    for (const shown of this.#shown.values())
      if (shown.row.item && shown.node.getBoundingClientRect().bottom > top) return shown;
    return null;
  }

  #sync(rows) {
    const wanted = new Set(rows.map(({ key }) => key));
    for (const [key, { node }] of this.#shown) if (!wanted.has(key)) node.remove();
    const shown = new Map();
    let place = this.#talk.firstElementChild;
    for (const row of rows) {
      const known = this.#shown.get(row.key)?.node;
      const node = this.#node(row);
      if (known && known === place) place = node; // which may have taken its place
      if (node === place) place = place.nextElementSibling;
      else this.#talk.insertBefore(node, place);
      shown.set(row.key, { row, node });
    }
    this.#shown = shown;
    while (place) {
      const next = place.nextElementSibling;
      place.remove(); // what came with the page
      place = next;
    }
  }

  #node(row) {
    const known = this.#shown.get(row.key);
    if (!known) return this.#view.build(row);
    const { node } = known;
    if (isUnsent(known.row) && !isUnsent(row)) this.#hush(); // it was read aloud when it was sent
    if (row.day) this.#view.nameDay(node, row.day);
    if (known.row.item === row.item || this.pinned === row.key) {
      if (row.item) node.toggleAttribute("data-first", row.isFirst);
      if (this.pinned === row.key) row.item = known.row.item; // made anew when it is let go
      return node;
    }
    const made = this.#view.build(row);
    const hadFocus = node.contains(document.activeElement);
    node.replaceWith(made);
    if (hadFocus) made.focus({ preventScroll: true });
    return made;
  }

  #hush() {
    clearTimeout(this.#quiet);
    this.#log.setAttribute("aria-live", "off");
    this.#quiet = setTimeout(() => this.#log.setAttribute("aria-live", "polite"), QUIET);
  }
}

const isUnsent = ({ item }) => Boolean(item) && !item.id;
