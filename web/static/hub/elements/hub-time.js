import { exact, short } from "../when.js";

const TICK = 15_000; // ms

const shown = new Set();
setInterval(() => {
  for (const element of shown) element.show();
}, TICK);

/** Keeps the <time> inside it short, right, and exact on hover. */
class HubTime extends HTMLElement {
  connectedCallback() {
    shown.add(this);
    this.show();
  }

  disconnectedCallback() {
    shown.delete(this);
  }

  show() {
    const time = this.querySelector("time");
    if (!time) return;
    const at = new Date(time.dateTime);
    const text = short(at);
    if (time.textContent !== text) time.textContent = text;
    time.title = exact(at);
  }
}

customElements.define("hub-time", HubTime);
