import { get } from "../api.js";
import { hub } from "../client.js";
import { copy, initials, setText, slot } from "../dom.js";
import { onSnapshot } from "../snapshot.js";

const AGAIN = 60_000; // ms: whispers may be lost, so the list is looked over now and then

/** Who has the hub open. Whispers say who comes and goes; after every new connection the list is fetched. */
class HubPeople extends HTMLElement {
  #offs = [];
  #timer;
  #welcomes = 0;

  connectedCallback() {
    const { topic } = this.dataset;
    this.#offs = [
      hub.on("whisper", (whisper) => {
        if (whisper.topic !== topic) return;
        if (whisper.type === "presence.joined") this.#add(whisper.data);
        else if (whisper.type === "presence.left") this.#row(whisper.data.id)?.remove();
        this.#count();
      }),
      hub.on("welcome", () => {
        this.#welcomes += 1;
        if (this.#welcomes > 1) this.#fetch();
      }),
      onSnapshot(({ people }) => this.#showAll(people)),
    ];
    this.#timer = setInterval(() => this.#fetch(), AGAIN);
  }

  disconnectedCallback() {
    for (const off of this.#offs) off();
    clearInterval(this.#timer);
  }

  async #fetch() {
    try {
      this.#showAll((await get(`/presence?topic=${this.dataset.topic}`)).people);
    } catch {
      // The next look comes by itself.
    }
  }

  #row(id) {
    return this.querySelector(`li[data-id="${Number(id)}"]`);
  }

  #showAll(people) {
    const here = new Set(people.map(({ id }) => String(id)));
    for (const row of this.querySelectorAll("li")) if (!here.has(row.dataset.id)) row.remove();
    for (const person of people) this.#add(person);
    this.#count();
  }

  #add({ id, name }) {
    this.#row(id)?.remove();
    const row = copy(this.querySelector("template"));
    row.dataset.id = id;
    setText(row, "name", name);
    setText(row, "initials", initials(name));
    slot(row, "name").title = name;
    const after = [...this.querySelectorAll("li")].find(
      (other) => slot(other, "name").textContent.localeCompare(name) > 0,
    );
    this.querySelector("ul").insertBefore(row, after ?? null);
  }

  #count() {
    const count = this.querySelectorAll("li").length;
    this.querySelector(".empty").hidden = count > 0;
    this.closest("section").querySelector("[data-people-count]").textContent = count;
  }
}

customElements.define("hub-people", HubPeople);
