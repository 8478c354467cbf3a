/* Who is in a room just now: the hub's list, and what was whispered since it was asked for. Knows no page and no network. */

export class RoomPresence {
  #people = new Map(); // id -> {id, name, away}
  #fetches = new Set(); // what was heard during each

  get people() {
    return [...this.#people.values()];
  }

  has(id) {
    return this.#people.has(id);
  }

  /** @returns {boolean} whether it changes anything */
  hear(whisper) {
    for (const heard of this.#fetches) heard.push(whisper);
    return this.#apply(whisper);
  }

  /** `ask()` resolves with the hub's list of people. It is from some moment of the fetch: what was heard in it is later. */
  async fetch(ask) {
    const heard = [];
    this.#fetches.add(heard);
    try {
      const people = await ask();
      this.#people = new Map(people.map((person) => [person.id, person]));
      for (const whisper of heard) this.#apply(whisper);
    } finally {
      this.#fetches.delete(heard);
    }
  }

  #apply({ type, data }) {
    if (type === "presence.left") this.#people.delete(data.id);
    else if (type === "presence.joined" || type === "presence.changed")
      this.#people.set(data.id, { away: false, ...data });
    else return false;
    return true;
  }
}
