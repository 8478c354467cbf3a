const PLACES = {
  KeyD: "/",
  KeyI: "/inbox/",
  KeyJ: "/jobs/",
  KeyR: "/rooms/",
  KeyA: "/announcements/",
  KeyS: "/settings/",
};
const ACTS = {
  KeyJ: "next",
  KeyK: "previous",
  KeyE: "read",
  KeyU: "unread",
  KeyX: "select",
};
const CHORD = 1200; // ms between `g` and the second key

/**
 * Shortcuts by the place of the key (`event.code`): a Korean layout sends other letters. They rest while somebody
 * types. What a page does with `next`, `read` and so on is its own matter: it listens for "hub-key".
 */
class HubKeys extends HTMLElement {
  #going = 0;
  #pressed = (event) => this.#press(event);

  connectedCallback() {
    if (document.body.dataset.shortcuts !== "off")
      document.addEventListener("keydown", this.#pressed);
  }

  disconnectedCallback() {
    document.removeEventListener("keydown", this.#pressed);
  }

  #press(event) {
    if (event.defaultPrevented || isTyping(event) || event.ctrlKey || event.metaKey || event.altKey)
      return;
    const dialog = this.querySelector("dialog");
    if (event.key === "?" || (event.code === "Slash" && event.shiftKey)) {
      if (dialog.open) dialog.close();
      else if (document.querySelector("dialog[open]")) return;
      else dialog.showModal();
      event.preventDefault();
      return;
    }
    if (document.querySelector("dialog[open]")) return;
    const isSecond = event.timeStamp - this.#going < CHORD && this.#going > 0;
    this.#going = 0;
    if (isSecond && !event.shiftKey && event.code in PLACES) {
      event.preventDefault();
      location.assign(PLACES[event.code]);
    } else if (event.code === "KeyG" && !event.shiftKey) {
      this.#going = event.timeStamp;
    } else if (event.code === "KeyI" && event.shiftKey) {
      this.#act("read-all", event);
    } else if (!event.shiftKey && event.code in ACTS) {
      this.#act(ACTS[event.code], event);
    }
  }

  #act(name, event) {
    const act = new CustomEvent("hub-key", { detail: name, cancelable: true });
    if (!document.dispatchEvent(act)) event.preventDefault();
  }
}

function isTyping({ isComposing, target }) {
  if (isComposing || target.isContentEditable) return true;
  if (target.matches?.("textarea, select")) return true;
  return Boolean(
    target.matches?.("input:not([type=checkbox], [type=radio], [type=button], [type=submit])"),
  );
}

customElements.define("hub-keys", HubKeys);
