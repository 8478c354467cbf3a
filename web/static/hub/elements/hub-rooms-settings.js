import { hub } from "../client.js";
import { setText, slot } from "../dom.js";
import "./hub-rooms-picker.js";

const GATHER = 300; // ms: invitations come by the dozen
const AGAIN = 5000; // ms before another try

/**
 * The settings of a room, right while they are open: after a change of somebody else the page is fetched, and each
 * part of it that is not being filled in is put in place of the former; where the focus is, once it has gone.
 */
class HubRoomsSettings extends HTMLElement {
  #offs = [];
  #touched = new Set(); // parts in which something was typed or chosen
  #isOwed = false; // a part is as it was, for it had the focus
  #turn = 0; // of the newest fetch
  #timer;

  connectedCallback() {
    const { id, cursor } = this.dataset;
    const topic = `room.${id}`;
    this.addEventListener("input", this.#typed);
    this.addEventListener("focusout", this.#left);
    hub.subscribe(topic, cursor, { present: false }); // who is no member has it from nowhere else
    this.#offs = [
      () => this.removeEventListener("input", this.#typed),
      () => this.removeEventListener("focusout", this.#left),
      () => hub.unsubscribe(topic, { present: false }),
      hub.on("event", (event) => {
        const isOfRoom = event.topic === topic && !event.type.startsWith("message.");
        const isOfMe = event.type.startsWith("room.") && event.data.id === Number(id);
        if (isOfRoom || (isOfMe && event.type !== "room.read")) this.#fetchSoon();
      }),
      hub.on("reset", (reset) => reset.topic === topic && this.#fetchSoon()),
      hub.on("revoked", (revoked) => revoked.topic === topic && this.#fetchSoon()),
    ];
  }

  disconnectedCallback() {
    for (const off of this.#offs) off();
    clearTimeout(this.#timer);
  }

  get #address() {
    return `/rooms/${this.dataset.id}/settings/`;
  }

  #typed = ({ target }) => {
    if (target.name !== "who") {
      this.#touched.add(target.closest("[data-live]")?.dataset.live);
      return;
    }
    const query = target.value.trim() && `?${new URLSearchParams({ who: target.value.trim() })}`;
    history.replaceState(null, "", `${this.#address}${query}`);
    this.#fetchSoon();
  };

  #left = () => this.#isOwed && this.#fetchSoon();

  #fetchSoon(ms = GATHER) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#fetch(), ms);
  }

  async #fetch() {
    const turn = ++this.#turn;
    let answer;
    let text;
    try {
      answer = await fetch(this.#address + location.search, { cache: "no-store" });
      text = await answer.text();
    } catch {
      this.#fetchSoon(AGAIN);
      return;
    }
    if (turn !== this.#turn) return; // a later one knows more
    if (answer.status === 404) this.#leave();
    else if (answer.ok && !answer.redirected) this.#show(text);
    else if (answer.status >= 500) this.#fetchSoon(AGAIN);
  }

  #show(text) {
    const fresh = new DOMParser().parseFromString(text, "text/html");
    this.#isOwed = false;
    for (const part of this.querySelectorAll("[data-live]")) {
      const name = part.dataset.live;
      const other = fresh.querySelector(`[data-live="${name}"]`);
      if (!other || this.#touched.has(name) || isSame(part, other)) continue;
      if (part.contains(document.activeElement)) this.#isOwed = true;
      else part.replaceWith(document.adoptNode(other));
    }
    const said = fresh.querySelector("[data-slot=people-said]");
    if (said && slot(this, "people-said")) setText(this, "people-said", said.textContent);
    const picker = this.querySelector("hub-rooms-picker");
    const without = fresh.querySelector("hub-rooms-picker")?.dataset.without;
    if (picker && without !== undefined) picker.dataset.without = without;
  }

  #leave() {
    slot(this, "gone").hidden = false;
    slot(this, "back").hidden = true;
    slot(this, "rooms").hidden = false;
    for (const part of this.querySelectorAll(".setting")) part.hidden = true;
  }
}

const isSame = (part, other) =>
  other.textContent === part.textContent && other.dataset.place === part.dataset.place;

customElements.define("hub-rooms-settings", HubRoomsSettings);
