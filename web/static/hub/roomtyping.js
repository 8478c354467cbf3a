/* Who is typing: said at most once a second, forgotten after a while without being said again. */

import { fillIn, gettext } from "./words.js";

const SAID = 1000; // ms from one whisper of one's own to the next
const BELIEVED = 5000; // ms that somebody else's counts

export class Typing {
  #people = new Map(); // id -> {name, until}
  #said = Number.NEGATIVE_INFINITY;

  /** One has typed something. @returns {boolean} whether to say so */
  type(now) {
    if (now - this.#said < SAID) return false;
    this.#said = now;
    return true;
  }

  hear({ id, name }, now) {
    this.#people.set(id, { name, until: now + BELIEVED });
  }

  /** They have sent it, or left. */
  stop(id) {
    this.#people.delete(id);
  }

  names(now) {
    for (const [id, { until }] of this.#people) if (until <= now) this.#people.delete(id);
    return [...this.#people.values()].map(({ name }) => name);
  }

  /** In how many ms the next of them is forgotten, or null. */
  next(now) {
    const ends = [...this.#people.values()].map(({ until }) => until - now);
    return ends.length ? Math.max(0, Math.min(...ends)) : null;
  }
}

export function typingWords(names) {
  const [one, two, three] = names;
  if (names.length === 0) return "";
  if (names.length === 1) return fillIn(gettext("%(one)s is typing…"), { one });
  if (names.length === 2) return fillIn(gettext("%(one)s and %(two)s are typing…"), { one, two });
  if (names.length === 3)
    return fillIn(gettext("%(one)s, %(two)s and %(three)s are typing…"), { one, two, three });
  return gettext("Several people are typing…");
}

/** The line below the composer. */
export class TypingLine {
  #place;
  #typing = new Typing();
  #timer;

  constructor(place) {
    this.#place = place;
  }

  /** @returns {boolean} whether to say so */
  type() {
    return this.#typing.type(Date.now());
  }

  hear(person) {
    this.#typing.hear(person, Date.now());
    this.#show();
  }

  stop(id) {
    this.#typing.stop(id);
    this.#show();
  }

  clear() {
    clearTimeout(this.#timer);
  }

  #show() {
    clearTimeout(this.#timer);
    const now = Date.now();
    this.#place.textContent = typingWords(this.#typing.names(now));
    const next = this.#typing.next(now);
    if (next !== null) this.#timer = setTimeout(() => this.#show(), next + 1);
  }
}
