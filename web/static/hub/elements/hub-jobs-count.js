import { hub } from "../client.js";
import { isJobEvent, isLive } from "../jobview.js";
import { onSnapshot } from "../snapshot.js";

/** How many of one's own jobs wait or run, on every page and in every tab. */
class HubJobsCount extends HTMLElement {
  #live = new Set();
  #offs = [];

  connectedCallback() {
    this.#live = new Set(this.dataset.live.split(",").filter(Boolean));
    const own = `user.${document.body.dataset.user}`;
    this.#offs = [
      hub.on("event", ({ topic, type, data }) => {
        if (topic !== own || !isJobEvent(type)) return;
        if (isLive(data.state)) this.#live.add(data.id);
        else this.#live.delete(data.id);
        this.#show();
      }),
      onSnapshot(({ jobs }) => {
        this.#live = new Set(jobs.live);
        this.#show();
      }),
    ];
  }

  disconnectedCallback() {
    for (const off of this.#offs) off();
  }

  #show() {
    const { size } = this.#live;
    this.querySelector('[data-slot="count"]').textContent = size > 99 ? "99+" : size;
    this.querySelector(".badge").hidden = size === 0;
  }
}

customElements.define("hub-jobs-count", HubJobsCount);
