import { get } from "../api.js";
import { hub } from "../client.js";
import { copy, initials, setText, slot } from "../dom.js";
import { RoomPresence } from "../roompresence.js";

const AGAIN = 60_000; // ms: whispers may be lost, so the list is looked over now and then
const MOST = 30; // members who are not here that are named

/** Who is in the room just now, who is away from the screen, and below them the other members. */
class HubRoomPeople extends HTMLElement {
  #presence = new RoomPresence();
  #members = [];
  #offs = [];
  #timer;

  connectedCallback() {
    const { topic } = this.dataset;
    this.#offs = [
      hub.on("whisper", (whisper) => {
        if (whisper.topic === topic && this.#presence.hear(whisper)) this.#draw();
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

  async #fetch() {
    try {
      await this.#presence.fetch(async () => {
        return (await get(`/presence?topic=${this.dataset.topic}`)).people;
      });
      this.#draw();
    } catch {
      // The next look comes by itself.
    }
  }

  #draw() {
    const here = sorted(this.#presence.people);
    const others = sorted(this.#members.filter(({ id }) => !this.#presence.has(id)));
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
