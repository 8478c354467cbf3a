/* What ended in the hours of one day, as the hub reckons it for this person: a day has 23 of them or 25, at times. */

const HOUR = 3_600_000; // ms
const USUAL = 24;

export class Day {
  #first;
  #hours;

  /** `hours` as the hub has them: `{at, …counts}` for each, the first at midnight. */
  constructor(hours) {
    this.#first = Date.parse(hours[0].at);
    this.#hours = hours.map(({ at, ...counts }) => counts);
  }

  get hours() {
    return this.#hours;
  }

  /** When an hour begins, ms. */
  begins(place) {
    return this.#first + place * HOUR;
  }

  /** The counts of the hour in which that was; undefined for another day. */
  at(moment) {
    return this.#hours[Math.floor((moment - this.#first) / HOUR)];
  }

  /** Go on to the day of that moment, which begins empty; false when it is this one. */
  turn(moment) {
    if (moment < this.begins(this.#hours.length)) return false;
    while (moment >= this.begins(this.#hours.length)) {
      const names = Object.keys(this.#hours[0]);
      this.#first = this.begins(this.#hours.length);
      this.#hours = Array.from({ length: USUAL }, () =>
        Object.fromEntries(names.map((name) => [name, 0])),
      );
    }
    return true;
  }
}
