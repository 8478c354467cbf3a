import { gettext } from "../words.js";

const BACK = 2000; // ms

/** A button that copies the text beside it. */
class HubCopy extends HTMLElement {
  #before; // the button's own word
  #timer;

  connectedCallback() {
    const button = this.querySelector("button");
    this.#before ??= this.querySelector('[data-slot="word"]').textContent;
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
    try {
      await navigator.clipboard.writeText(text.textContent);
      word.textContent = gettext("Copied");
    } catch {
      getSelection().selectAllChildren(text);
      word.textContent = gettext("Selected: copy it");
    }
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      word.textContent = this.#before;
    }, BACK);
  };
}

customElements.define("hub-copy", HubCopy);
