import { isOn, isPossible, turn, turnOffIfUnsupported } from "../desktop.js";

/** Turns browser notifications on and off here; shows what stands in the way. */
class HubPermission extends HTMLElement {
  #status = null;

  connectedCallback() {
    this.addEventListener("click", this.#click);
    this.#show();
    this.#watch();
  }

  async #watch() {
    try {
      const status = await navigator.permissions?.query({ name: "notifications" });
      if (!status || !this.isConnected) return;
      this.#status?.removeEventListener("change", this.#show);
      this.#status = status;
      status.addEventListener("change", this.#show);
    } catch {
      // This browser doesn't tell; the next look at the page shows it.
    }
  }

  disconnectedCallback() {
    this.removeEventListener("click", this.#click);
    this.#status?.removeEventListener("change", this.#show);
    this.#status = null;
  }

  #click = async ({ target }) => {
    const act = target.closest("[data-act]")?.dataset.act;
    if (!act) return;
    if (act === "ask") {
      turnOffIfUnsupported();
      if (isPossible()) await Notification.requestPermission();
    }
    if (isPossible()) turn(act !== "off");
    this.#show();
  };

  #show = () => {
    const now = this.#state();
    for (const part of this.querySelectorAll("[data-when]"))
      part.hidden = part.dataset.when !== now;
  };

  #state() {
    if (!globalThis.isSecureContext) return "insecure";
    if (!isPossible()) return "unsupported";
    if (Notification.permission !== "granted") return Notification.permission;
    return isOn() ? "on" : "off";
  }
}

customElements.define("hub-permission", HubPermission);
