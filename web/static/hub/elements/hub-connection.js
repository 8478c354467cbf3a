import { hub } from "../client.js";
import { gettext } from "../words.js";

const REASONS = {
  4409: () => gettext("Too many tabs of yours are open. Close some and reload this page."),
  4403: () => gettext("You may no longer read this page’s news. Reload it."),
};

/** Nothing while live; a quiet bar when it has not been for seconds; sign-in when the session ended. */
class HubConnection extends HTMLElement {
  #off;

  connectedCallback() {
    this.#off = hub.on("state", () => this.#show());
  }

  disconnectedCallback() {
    this.#off();
  }

  #show() {
    if (hub.state === "signed-out") {
      const here = location.pathname + location.search + location.hash;
      location.assign(`/accounts/login/?next=${encodeURIComponent(here)}`);
      return;
    }
    const isAway = hub.state === "stopped" || hub.stalled;
    if (isAway) document.documentElement.dataset.link = "away";
    else if (hub.state === "live") document.documentElement.dataset.link = "live";
    this.#say(isAway ? this.#words() : "");
  }

  #words() {
    if (hub.state !== "stopped") return gettext("Reconnecting… you’ll get what you missed");
    return REASONS[hub.code]?.() ?? gettext("News has stopped coming in. Reload this page.");
  }

  #say(text) {
    if ((this.querySelector("span")?.textContent ?? "") === text) return;
    if (!text) {
      this.replaceChildren();
      return;
    }
    const dot = document.createElement("i");
    dot.className = "dot";
    const words = document.createElement("span");
    words.textContent = text;
    this.replaceChildren(dot, words);
  }
}

customElements.define("hub-connection", HubConnection);
