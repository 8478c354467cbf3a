import { isOn, isPossible, turn } from "../desktop.js";

/** Turns browser notifications on and off here; shows what stands in the way. */
class HubPermission extends HTMLElement {
  #status = null;

  connectedCallback() {
    this.addEventListener("click", this.#click);
    this.#show();
    navigator.permissions?.query({ name: "notifications" }).then((status) => {
      this.#status = status;
      status.addEventListener("change", this.#show);
    });
  }

  disconnectedCallback() {
    this.removeEventListener("click", this.#click);
    this.#status?.removeEventListener("change", this.#show);
  }

  #click = async ({ target }) => {
    const act = target.closest("[data-act]")?.dataset.act;
    if (act === "ask") await Notification.requestPermission();
    if (act) turn(act !== "off");
    this.#show();
  };

  #show = () => {
    const now = this.#state();
    for (const part of this.querySelectorAll("[data-when]"))
      part.hidden = part.dataset.when !== now;
  };

  #state() {
    if (!globalThis.isSecureContext) return "insecure";
    if (!isPossible()) return "unknown";
    if (Notification.permission !== "granted") return Notification.permission;
    return isOn() ? "on" : "off";
  }
}

customElements.define("hub-permission", HubPermission);
