/* Fetches what of a room is to be shown: the page above or below, the newest, and everything anew after a reset. */

import { get } from "./api.js";
import { hub } from "./client.js";
import { RoomBook } from "./roombook.js";

const PAGE = 50;
const AGAIN = 2000; // ms before a fetch is tried once more, doubled up to LONGEST
const LONGEST = 30_000;

export class RoomHistory {
  #room;
  #topic;
  #on;
  #isBusy = false;
  #isOver = false;
  #generation = 0; // an answer that was asked for before it rose is none
  #renewal = null; // a promise while everything is fetched anew
  #newest = null; // one while the newest is

  /** `on`: fetched(how), renewed(room), failed(), gone(), and seen(): the id to renew around, or null for the end. */
  constructor(room, data, on) {
    this.#room = room;
    this.#topic = `room.${room}`;
    this.#on = on;
    this.book = new RoomBook(data);
  }

  stop() {
    this.#generation += 1;
    this.#isOver = true;
  }

  /** The page above ("older") or below ("newer"); one at a time, and after a failure not at once again. */
  async load(how) {
    if (!this.#isBusy && !this.#isOver) await this.#fetch(how);
  }

  /** The end of the room, in place of whatever page is under way. @returns {Promise<boolean>} whether it is shown */
  newest() {
    this.#newest ??= this.#fetchNewest().finally(() => {
      this.#newest = null;
    });
    return this.#newest;
  }

  /** A message and its neighbours, in place of whatever is shown. @returns {Promise<boolean>} whether they are */
  async around(id) {
    while (this.#renewal) await this.#renewal;
    return !this.#isOver && (await this.#fetch(id)) === true;
  }

  async #fetchNewest() {
    for (;;) {
      while (this.#renewal) await this.#renewal;
      if (this.#isOver) return false;
      const isShown = await this.#fetch("newest");
      if (isShown !== null) return isShown;
    }
  }

  /** @returns whether it is shown, or null when something has taken its place */
  async #fetch(how) {
    this.#isBusy = true;
    const generation = ++this.#generation;
    const plan = this.book.plan(how);
    const isMore = how === "older" || how === "newer";
    try {
      const page = isMore
        ? await this.#page(how === "older" ? `before=${plan.before}` : `after=${plan.after}`)
        : await this.#around(how === "newest" ? null : how);
      if (generation !== this.#generation) return null;
      this.book.take(plan, page);
    } catch {
      if (generation !== this.#generation) return null;
      this.book.drop();
      if (!isMore) this.#on.failed();
      setTimeout(() => this.#rested(generation), AGAIN);
      return false;
    }
    this.#isBusy = false;
    this.#on.fetched(how);
    return true;
  }

  #rested(generation) {
    if (generation !== this.#generation) return;
    this.#isBusy = false;
    this.#on.fetched(null);
  }

  /** A reset: what happened until now is in the snapshot, what happens from now on is held until that is shown. */
  renew() {
    const renewal = this.#renew().finally(() => {
      if (this.#renewal === renewal) this.#renewal = null;
    });
    this.#renewal = renewal;
    return renewal;
  }

  async #renew() {
    const generation = ++this.#generation;
    this.#isBusy = true;
    hub.hold(this.#topic); // for the room
    hub.hold(this.#topic); // for its messages
    const seen = this.#on.seen();
    for (let pause = AGAIN; ; pause = Math.min(2 * pause, LONGEST)) {
      const plan = this.book.plan("newest");
      try {
        const room = await get(`/rooms/${this.#room}`);
        const page = await this.#around(seen);
        if (generation !== this.#generation) return;
        this.book.take(plan, page);
        this.#isBusy = false;
        this.#on.renewed(room);
        hub.release(this.#topic, room.cursor ?? null);
        hub.release(this.#topic, page.cursor);
        return;
      } catch (error) {
        if (generation === this.#generation && error.status === 404) this.#on.gone();
      }
      await new Promise((resolve) => setTimeout(resolve, pause));
      if (generation !== this.#generation) return;
    }
  }

  async #around(id) {
    if (id === null) return this.#page("");
    try {
      return await this.#page(`around=${id}`);
    } catch (error) {
      if (error.status !== 404) throw error;
      const page = await this.#page(`after=${id - 1}`); // that message is not there: from the next one on
      return page.items.length > 0 ? page : this.#page("");
    }
  }

  #page(from) {
    return get(`/rooms/${this.#room}/messages?${from && `${from}&`}limit=${PAGE}`);
  }
}
