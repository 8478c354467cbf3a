/* How fast a job goes and how long it will still take: from this run alone, smoothed, and nothing while unsure. */

const QUICK = 8; // seconds: what the shown rate remembers
const STEADY = 40; // seconds: what the time left is reckoned with
const STEP = 0.25; // seconds; what comes sooner is counted together
const WATCHED = 5; // seconds to be watched, in at least LOOKS steps
const LOOKS = 3;
const KNOWN = 15; // seconds; after so long a single step will do
const APART = 2.5; // how far the two rates may be apart until the time left is a guess
const SILENCE = 10; // seconds without a step after which nothing is known; or FOLD usual pauses
const FOLD = 4;
const FARTHEST = 7 * 86_400; // seconds; nobody plans with more

/** Times are seconds of any clock that does not jump. */
export class Pace {
  #first = null;
  #last = null;
  #looks = 0;
  #quick = new Mean(QUICK);
  #steady = new Mean(STEADY);

  see(done, at) {
    if (!this.#last) {
      this.#first = this.#last = { done, at };
      return;
    }
    const passed = at - this.#last.at;
    const steps = done - this.#last.done;
    if (passed < STEP || steps <= 0) return; // a step that is awaited counts with its whole pause
    this.#quick.add(steps / passed, passed);
    this.#steady.add(steps / passed, passed);
    this.#looks += 1;
    this.#last = { done, at };
  }

  /** Steps a second, or null. */
  rate(now) {
    if (!this.#last || this.#looks === 0) return null;
    const watched = this.#last.at - this.#first.at;
    if (watched < WATCHED || (this.#looks < LOOKS && watched < KNOWN)) return null;
    const usual = watched / this.#looks;
    if (now - this.#last.at > Math.max(SILENCE, FOLD * usual)) return null;
    return this.#quick.value;
  }

  /** Seconds until `total` is reached, or null. */
  left(total, now) {
    const rate = this.rate(now);
    if (rate === null || total === null) return null;
    const steady = this.#steady.value;
    if (Math.max(rate, steady) > APART * Math.min(rate, steady)) return null;
    const left = (total - this.#last.done) / steady - (now - this.#last.at);
    return left > FARTHEST ? null : Math.max(0, left);
  }
}

/** A mean that forgets: what lies `memory` seconds back weighs a third. */
class Mean {
  #memory;
  #sum = 0;
  #weight = 0;

  constructor(memory) {
    this.#memory = memory;
  }

  add(value, seconds) {
    const kept = Math.exp(-seconds / this.#memory);
    this.#sum = this.#sum * kept + value * (1 - kept);
    this.#weight = this.#weight * kept + (1 - kept);
  }

  get value() {
    return this.#sum / this.#weight;
  }
}
