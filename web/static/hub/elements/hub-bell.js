import { hub } from "../client.js";
import { onSnapshot } from "../snapshot.js";
import { setUnread } from "../title.js";

/** The unread count, on every page and in every tab; each event of the inbox brings the new one. */
class HubBell extends HTMLElement {
  #offs = [];

  connectedCallback() {
    setUnread(Number(document.body.dataset.unread));
    this.#offs = [
      hub.on("event", ({ type, data }) => {
        if (type.startsWith("notification.") && Number.isInteger(data.unread))
          this.#show(data.unread);
      }),
      onSnapshot(({ unread }) => this.#show(unread)),
    ];
  }

  disconnectedCallback() {
    for (const off of this.#offs) off();
  }

  #show(unread) {
    setUnread(unread);
    this.querySelector('[data-slot="count"]').textContent = unread > 99 ? "99+" : unread;
    this.querySelector(".badge").hidden = unread === 0;
    this.dispatchEvent(new CustomEvent("hub-unread", { bubbles: true, detail: unread }));
  }
}

customElements.define("hub-bell", HubBell);
