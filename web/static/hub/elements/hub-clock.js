import { clock } from "../when.js";

/** The time of day, for wall displays. */
class HubClock extends HTMLElement {
  #timer;

  connectedCallback() {
    this.#show();
    this.#timer = setInterval(() => this.#show(), 1000);
  }

  disconnectedCallback() {
    clearInterval(this.#timer);
  }

  #show() {
    const text = clock(new Date());
    if (this.textContent !== text) this.textContent = text;
  }
}

customElements.define("hub-clock", HubClock);
