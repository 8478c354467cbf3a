import { hub } from "../client.js";
import { setTime, slot } from "../dom.js";
import { onSnapshot } from "../snapshot.js";

/** Says when jobs wait and nobody takes them. */
class HubWorkers extends HTMLElement {
  #offs = [];

  connectedCallback() {
    this.#offs = [
      hub.on("event", ({ topic, type, data }) => {
        if (topic !== "group.dashboard") return;
        if (type === "hub.workers_away") this.#show(data.since);
        else if (type === "hub.workers_back") this.#show(null);
      }),
      onSnapshot(({ jobs }) => this.#show(jobs.workers_away)),
    ];
  }

  disconnectedCallback() {
    for (const off of this.#offs) off();
  }

  #show(since) {
    if (since) setTime(slot(this, "since"), since);
    this.querySelector(".workers").hidden = !since;
  }
}

customElements.define("hub-workers", HubWorkers);
