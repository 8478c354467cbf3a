import { get } from "../api.js";
import { initials, isComposing } from "../dom.js";
import { fillIn, gettext, ngettext } from "../words.js";

const PAUSE = 150; // ms after the last letter
const MOST = 8; // people offered at once
let pickers = 0;

/**
 * A text field of usernames becomes a list of chosen people and a field that finds more: a combobox with a list box,
 * as the ARIA practices describe it. What is sent are the usernames, in the field that was there before.
 */
class HubRoomsPicker extends HTMLElement {
  #field; // the server's, hidden now
  #input;
  #list;
  #chips;
  #status;
  #chosen = []; // {id, name, username}
  #found = [];
  #at = -1; // the option that Enter takes
  #asked = 0;
  #timer;

  connectedCallback() {
    if (this.#field) return;
    this.#field = this.querySelector("input");
    const typed = this.#field.value.split(/[\s,;]+/).filter(Boolean);
    const known = JSON.parse(this.querySelector("#picker-chosen").textContent);
    this.#build();
    for (const person of known) this.#choose(person, { isQuiet: true });
    const names = new Set(known.map(({ username }) => username));
    this.#input.value = typed.filter((name) => !names.has(name.replace(/^@/, ""))).join(" ");
    this.#write();
  }

  disconnectedCallback() {
    clearTimeout(this.#timer);
  }

  #build() {
    const id = `picker-${++pickers}`;
    this.#input = element("input", {
      type: "text",
      role: "combobox",
      autocomplete: "off",
      autocapitalize: "none",
      spellcheck: "false",
      "aria-autocomplete": "list",
      "aria-expanded": "false",
      "aria-controls": `${id}-list`,
    });
    for (const name of ["aria-invalid", "aria-describedby"])
      if (this.#field.hasAttribute(name))
        this.#input.setAttribute(name, this.#field.getAttribute(name));
    this.#list = element("ul", { id: `${id}-list`, role: "listbox", class: "picker-list" });
    this.#list.hidden = true;
    this.#list.setAttribute("aria-label", gettext("People"));
    this.#chips = element("ul", { class: "picker-chips" });
    this.#chips.setAttribute("aria-label", gettext("Chosen"));
    this.#status = element("p", { class: "for-readers", role: "status" });
    const box = element("div", { class: "picker-box" });
    box.append(this.#chips, this.#input);
    this.#input.id = this.#field.id;
    this.#field.removeAttribute("id");
    this.#field.removeAttribute("required");
    this.#field.type = "hidden";
    const place = element("div", { class: "picker-place" });
    place.append(box, this.#list);
    this.#field.after(place, this.#status);
    const help = this.querySelector(".help");
    if (help) help.textContent = gettext("Type a name, and choose from the list.");
    box.addEventListener("click", () => this.#input.focus());
    this.#input.addEventListener("input", () => this.#typed());
    this.#input.addEventListener("keydown", (event) => this.#press(event));
    this.#input.addEventListener("focus", () => this.#input.value.trim() && this.#typed());
    this.addEventListener("focusout", ({ relatedTarget }) => {
      if (!this.contains(relatedTarget)) this.#close();
    });
    // The focus stays in the field.
    this.#list.addEventListener("pointerdown", (event) => event.preventDefault());
    this.#list.addEventListener("click", ({ target }) => {
      const option = target.closest("[role=option]");
      if (option) this.#choose(this.#found[[...this.#list.children].indexOf(option)]);
    });
  }

  #typed() {
    clearTimeout(this.#timer);
    this.#write();
    this.#timer = setTimeout(() => this.#ask(), PAUSE);
  }

  async #ask() {
    const query = this.#input.value.trim();
    const asked = ++this.#asked;
    if (!query) {
      this.#close();
      return;
    }
    let items = [];
    try {
      ({ items } = await get(`/people?q=${encodeURIComponent(query)}&limit=20`));
    } catch {
      // The names that were typed are sent as they are.
    }
    if (asked !== this.#asked || !this.contains(document.activeElement)) return;
    const without = new Set(this.dataset.without.split(",").map(Number));
    for (const { id } of this.#chosen) without.add(id);
    this.#offer(items.filter(({ id }) => !without.has(id)).slice(0, MOST));
  }

  #offer(people) {
    this.#found = people;
    this.#list.replaceChildren(...people.map((person, at) => this.#option(person, at)));
    this.#list.hidden = people.length === 0;
    this.#input.setAttribute("aria-expanded", String(people.length > 0));
    this.#move(people.length ? 0 : -1);
    const count = people.length;
    this.#status.textContent = count
      ? fillIn(ngettext("%(count)d person found", "%(count)d people found", count), { count })
      : gettext("Nobody found");
    this.toggleAttribute("data-nobody", count === 0);
  }

  #option({ name, username }, at) {
    const option = element("li", { role: "option", id: `${this.#list.id}-${at}` });
    const face = element("span", { class: "face", "aria-hidden": "true" });
    face.textContent = initials(name);
    const words = element("span", { class: "cut" });
    words.textContent = name;
    const hint = element("span", { class: "quiet cut" });
    hint.textContent = username === name ? "" : username;
    option.append(face, words, hint);
    return option;
  }

  #move(at) {
    this.#at = at;
    for (const [index, option] of [...this.#list.children].entries())
      option.setAttribute("aria-selected", String(index === at));
    const option = this.#list.children[at];
    if (option) {
      this.#input.setAttribute("aria-activedescendant", option.id);
      option.scrollIntoView({ block: "nearest" });
    } else this.#input.removeAttribute("aria-activedescendant");
  }

  #press(event) {
    if (isComposing(event)) return;
    const isOpen = !this.#list.hidden;
    const last = this.#found.length - 1;
    if (event.key === "ArrowDown" && isOpen) this.#move(this.#at < last ? this.#at + 1 : 0);
    else if (event.key === "ArrowUp" && isOpen) this.#move(this.#at > 0 ? this.#at - 1 : last);
    else if ((event.key === "Enter" || event.key === ",") && isOpen)
      this.#choose(this.#found[this.#at]);
    else if (event.key === "Escape" && isOpen) this.#close();
    else if (event.key === "Backspace" && !this.#input.value && this.#chosen.length)
      this.#remove(this.#chosen.at(-1));
    else return;
    event.preventDefault();
  }

  #close() {
    this.#asked += 1;
    this.#list.hidden = true;
    this.#found = [];
    this.#input.setAttribute("aria-expanded", "false");
    this.removeAttribute("data-nobody");
    this.#move(-1);
  }

  #choose(person, { isQuiet = false } = {}) {
    this.#chosen.push(person);
    this.#chips.append(this.#chip(person));
    if (isQuiet) return;
    this.#input.value = "";
    this.#close();
    this.#write();
    this.#say(gettext("%(who)s added"), person);
  }

  #chip(person) {
    const chip = element("li", { class: "chip" });
    const name = element("span", { class: "cut" });
    name.textContent = person.name;
    name.title = person.username;
    const button = element("button", { type: "button", class: "chip-remove" });
    button.setAttribute("aria-label", fillIn(gettext("Take out %(who)s"), { who: person.name }));
    button.textContent = "×";
    button.addEventListener("click", () => this.#remove(person));
    chip.append(name, button);
    return chip;
  }

  #remove(person) {
    const at = this.#chosen.indexOf(person);
    this.#chosen.splice(at, 1);
    this.#chips.children[at].remove();
    this.#write();
    this.#input.focus();
    this.#say(gettext("%(who)s taken out"), person);
  }

  #say(text, { name }) {
    this.#status.textContent = fillIn(text, { who: name });
  }

  /** What is sent; a name that was typed and not chosen is the server's to judge. */
  #write() {
    const names = this.#chosen.map(({ username }) => username);
    this.#field.value = [...names, this.#input.value.trim()].filter(Boolean).join(", ");
  }
}

function element(tag, attributes) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

customElements.define("hub-rooms-picker", HubRoomsPicker);
