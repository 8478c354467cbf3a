import { gettext } from "../words.js";

const BACK = 2000; // ms

/** A button that copies the text beside it. */
class HubCopy extends HTMLElement {
  connectedCallback() {
    const button = this.querySelector("button");
    if (!navigator.clipboard) return;
    button.hidden = false;
    button.addEventListener("click", this.#copy);
  }

  disconnectedCallback() {
    this.querySelector("button").removeEventListener("click", this.#copy);
  }

  #copy = async () => {
    const text = this.querySelector('[data-slot="text"]');
    const word = this.querySelector('[data-slot="word"]');
    const before = word.textContent;
    try {
      await navigator.clipboard.writeText(text.textContent);
      word.textContent = gettext("Copied");
    } catch {
      getSelection().selectAllChildren(text);
      word.textContent = gettext("Selected: copy it");
    }
    setTimeout(() => {
      word.textContent = before;
    }, BACK);
  };
}

customElements.define("hub-copy", HubCopy);
