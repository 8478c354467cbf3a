/*
 * Which lines of a job's log are shown: one window without a hole, wherever in the log one reads. Whispers bring
 * lines and may be lost or too long to be carried; what is missing is fetched by number. Knows no page and no network.
 */

const MOST = 2000; // lines shown at once, however long the log is
const PAGE = 500; // lines a fetch

export class LogBook {
  #lines; // {n, attempt, text}, by number
  #head; // the highest number known to exist
  #isWhole = false; // nothing is kept above the first line
  #seen; // the last number that was shown to somebody at the end

  constructor(lines = [], head = 0) {
    this.#lines = [...lines];
    this.#head = Math.max(head, this.last);
    this.#seen = this.last;
  }

  get lines() {
    return this.#lines;
  }

  get first() {
    return this.#lines[0]?.n ?? this.#head + 1;
  }

  get last() {
    return this.#lines.at(-1)?.n ?? 0;
  }

  get head() {
    return this.#head;
  }

  /** Lines that stand below what is shown. */
  get below() {
    return this.#head - this.last;
  }

  /** Somebody is at the end of what is shown. */
  see() {
    this.#seen = Math.max(this.#seen, this.last);
  }

  /** Lines that have come since, in the page or not. */
  get unseen() {
    return Math.max(0, this.#head - this.#seen);
  }

  learn(head) {
    this.#head = Math.max(this.#head, head);
  }

  /**
   * A whisper: `lines` from number `n`, none when they are too long for one, and the number of the next one.
   * Returns the lines to show below the others.
   */
  hear({ attempt, n, lines = [], next }, isFollowing) {
    const wasWhole = this.below === 0;
    this.learn(next - 1);
    const isNext = n <= this.last + 1 && (this.#lines.length > 0 || n === 1);
    if (!isNext || !wasWhole || !(isFollowing || this.#lines.length < MOST)) return [];
    const heard = lines.map((text, at) => ({ n: n + at, attempt, text }));
    return this.#append(heard);
  }

  /** What to fetch for somebody who follows the newest lines; null when nothing is missing. */
  missing() {
    if (this.below === 0) return null;
    const isFar = this.below > MOST || this.#lines.length === 0;
    return isFar
      ? this.#plan("replace", Math.max(1, this.#head - PAGE + 1))
      : this.#plan("append", this.last + 1);
  }

  /** What to fetch for somebody who has read up, or down, to the end of what is shown. */
  older() {
    if (this.first <= 1 || this.#isWhole) return null;
    const from = Math.max(1, this.first - PAGE);
    return this.#plan("prepend", from, this.first - from);
  }

  newer() {
    return this.below === 0 ? null : this.#plan("append", this.last + 1);
  }

  /** The answer to a fetch. Returns the lines to show, and how; the others at the far end are to be let go of. */
  take({ how, from, limit, head }, items) {
    const lines = items.map(({ n, attempt, text }) => ({ n, attempt, text }));
    if (how === "prepend") {
      const older = lines.filter(({ n }) => n < this.first);
      this.#lines.unshift(...older);
      this.#isWhole = older.length === 0; // old lines may have been dropped
      return older;
    }
    if (how === "replace") {
      this.#lines = [];
      this.#isWhole = false;
    }
    const added = this.#append(lines.filter(({ n }) => n >= from));
    // Fewer than asked for, and no news meanwhile: there are no more, whatever was said before.
    if (lines.length < limit && this.#head === head) this.#head = this.last;
    return added;
  }

  /** How many lines to let go of, so that at most MOST are left. */
  trim(end) {
    const extra = Math.max(0, this.#lines.length - MOST);
    if (end === "top") this.#lines.splice(0, extra);
    else this.#lines.splice(this.#lines.length - extra, extra);
    return extra;
  }

  #plan(how, from, limit = PAGE) {
    return { how, from, limit, head: this.#head };
  }

  #append(lines) {
    const newer = lines.filter(({ n }) => n > this.last);
    this.#lines.push(...newer);
    this.learn(this.last);
    return newer;
  }
}
