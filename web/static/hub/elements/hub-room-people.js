import { get } from "../api.js";
import { hub } from "../client.js";
import { copy, initials, setText, slot } from "../dom.js";

const AGAIN = 60_000; // ms: whispers may be lost, so the list is looked over now and then
const MOST = 30; // members who are not here that are named

/** Who is in the room just now, who is away from the screen, and below them the other members. */
class HubRoomPeople extends HTMLElement {
  #here = new Map(); // id -> {id, name, away}
  #members = [];
  #offs = [];
  #timer;

  connectedCallback() {
    const { topic } = this.dataset;
    this.#offs = [
      hub.on("whisper", (whisper) => {
        if (whisper.topic === topic) this.#heard(whisper);
      }),
      hub.on("welcome", () => this.#fetch()),
    ];
    this.#timer = setInterval(() => this.#fetch(), AGAIN);
  }

  disconnectedCallback() {
    for (const off of this.#offs) off();
    clearInterval(this.#timer);
  }

  show(members) {
    this.#members = members;
    this.#draw();
  }

  #heard({ type, data }) {
    if (type === "presence.left") this.#here.delete(data.id);
    else if (type === "presence.joined" || type === "presence.changed")
      this.#here.set(data.id, { away: false, ...data });
    else return;
    this.#draw();
  }

  async #fetch() {
    try {
      const { people } = await get(`/presence?topic=${this.dataset.topic}`);
      this.#here = new Map(people.map((person) => [person.id, person]));
      this.#draw();
    } catch {
      // The next look comes by itself.
    }
  }

  #draw() {
    const here = sorted([...this.#here.values()]);
    const others = sorted(this.#members.filter(({ id }) => !this.#here.has(id)));
    slot(this, "here").replaceChildren(...here.map((person) => this.#row(person)));
    slot(this, "others").replaceChildren(
      ...others.slice(0, MOST).map((person) => this.#row(person)),
    );
    setText(this, "here-count", here.length || "");
    setText(this, "others-count", others.length);
    slot(this, "others-title").hidden = others.length === 0;
  }

  #row({ id, name, away = false }) {
    const row = copy(this.querySelector("#room-person"));
    row.dataset.id = id;
    row.toggleAttribute("data-away", away);
    setText(row, "name", name);
    slot(row, "name").title = name;
    setText(row, "initials", initials(name));
    slot(row, "away").hidden = !away;
    return row;
  }
}

const sorted = (people) => people.sort((one, other) => one.name.localeCompare(other.name));

customElements.define("hub-room-people", HubRoomPeople);
