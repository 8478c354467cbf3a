/*
 * A field in which somebody writes a message: Enter sends, unless an input method is composing with it; `@` and `:` are
 * completed. `keys`: send(), escape(), up(), input(); each may be left out. `sources`: people(query) and emoji(query)
 * resolve with `{insert, label, hint}`.
 */

import { isComposing } from "./dom.js";
import { completed, wordAt } from "./roomcomplete.js";
import { gettext } from "./words.js";

const PAUSE = 120; // ms after a key until the hub is asked
let made = 0;

export class Writer {
  #field;
  #keys;
  #sources;
  #list = null; // the open listbox
  #options = [];
  #chosen = 0;
  #word = null;
  #asked = 0;
  #timer;

  constructor(field, keys, sources) {
    this.#field = field;
    this.#keys = keys;
    this.#sources = sources;
    field.setAttribute("aria-autocomplete", "list");
    field.addEventListener("keydown", this.#press);
    field.addEventListener("input", this.#typed);
    field.addEventListener("click", this.#moved);
    field.addEventListener("blur", this.close);
  }

  stop() {
    this.close();
    this.#field.removeEventListener("keydown", this.#press);
    this.#field.removeEventListener("input", this.#typed);
    this.#field.removeEventListener("click", this.#moved);
    this.#field.removeEventListener("blur", this.close);
  }

  #press = (event) => {
    if (isComposing(event)) return;
    if (this.#list && this.#pick(event)) return;
    const isPlain = !event.ctrlKey && !event.metaKey && !event.altKey && !event.shiftKey;
    if (event.key === "Enter" && !event.shiftKey && !event.altKey) this.#act("send", event);
    else if (event.key === "Escape") this.#act("escape", event);
    else if (event.key === "ArrowUp" && isPlain && !this.#field.value) this.#act("up", event);
  };

  #act(name, event) {
    this.close();
    if (!this.#keys[name]) return;
    event.preventDefault();
    this.#keys[name]();
  }

  /** A key while there are completions. @returns {boolean} whether it was for them */
  #pick(event) {
    const count = this.#options.length;
    const steps = { ArrowDown: 1, ArrowUp: count - 1 };
    if (event.key in steps) this.#choose((this.#chosen + steps[event.key]) % count);
    else if ((event.key === "Enter" && !event.shiftKey) || event.key === "Tab")
      this.#complete(this.#options[this.#chosen]);
    else if (event.key === "Escape") this.close();
    else return false;
    event.preventDefault();
    event.stopPropagation();
    return true;
  }

  #typed = () => {
    this.#keys.input?.();
    this.#moved();
  };

  #moved = () => {
    const { value, selectionStart, selectionEnd } = this.#field;
    const word = selectionStart === selectionEnd ? wordAt(value, selectionStart) : null;
    clearTimeout(this.#timer);
    this.#asked += 1;
    if (!word) {
      this.close();
      return;
    }
    this.#timer = setTimeout(() => this.#ask(word), word.sign === "@" ? PAUSE : 0);
  };

  async #ask(word) {
    const asked = this.#asked;
    const source = word.sign === "@" ? this.#sources.people : this.#sources.emoji;
    let options = [];
    try {
      options = await source(word.query);
    } catch {
      // Without completion one writes the name oneself.
    }
    if (asked !== this.#asked) return;
    this.#word = word;
    this.#open(options);
  }

  #open(options) {
    if (!options.length) {
      this.close();
      return;
    }
    this.#options = options;
    if (!this.#list) {
      this.#list = document.createElement("ul");
      this.#list.className = "complete";
      this.#list.id = `complete-${++made}`;
      this.#list.setAttribute("role", "listbox");
      this.#list.setAttribute("aria-label", gettext("Suggestions"));
      this.#list.addEventListener("pointerdown", (event) => event.preventDefault());
      this.#field.parentElement.append(this.#list);
      this.#field.setAttribute("aria-controls", this.#list.id);
    }
    this.#list.replaceChildren(...options.map((option, at) => this.#row(option, at)));
    this.#choose(0);
  }

  #row({ label, hint, insert }, at) {
    const row = document.createElement("li");
    row.id = `${this.#list.id}-${at}`;
    row.className = "complete-row";
    row.setAttribute("role", "option");
    const words = document.createElement("span");
    words.className = "cut";
    words.textContent = label;
    const more = document.createElement("span");
    more.className = "quiet cut";
    more.textContent = hint;
    row.append(words, more);
    row.addEventListener("click", () => this.#complete({ insert }));
    return row;
  }

  #choose(at) {
    this.#chosen = at;
    for (const [index, row] of [...this.#list.children].entries())
      row.setAttribute("aria-selected", String(index === at));
    const row = this.#list.children[at];
    row.scrollIntoView({ block: "nearest" });
    this.#field.setAttribute("aria-activedescendant", row.id);
  }

  #complete({ insert }) {
    const { text, caret } = completed(this.#field.value, this.#word, insert);
    this.close();
    this.#field.value = text;
    this.#field.setSelectionRange(caret, caret);
    this.#field.focus();
    this.#keys.input?.();
  }

  /** Nothing is completed any more, nor by an answer that is under way. */
  close = () => {
    clearTimeout(this.#timer);
    this.#asked += 1;
    this.#list?.remove();
    this.#list = null;
    this.#options = [];
    this.#field.removeAttribute("aria-controls");
    this.#field.removeAttribute("aria-activedescendant");
  };
}
