/* What stands around the messages of a room: its name, what one is told of it, who is in it, whether one may write. */

import { send } from "./api.js";
import { setText, slot } from "./dom.js";
import { sayError } from "./elements/hub-toasts.js";
import { setTitle } from "./title.js";
import { gettext } from "./words.js";

const GONE = ["older", "newer", "start", "pill", "join", "archived", "side", "above"];

export class RoomHead {
  #root;
  #room;
  #me;
  #username;
  #stops = [];
  #isGone = false;

  constructor(root, { room, me, username }) {
    this.#root = root;
    this.#room = room;
    this.#me = me;
    this.#username = username;
    const listen = (target, name, then) => {
      target.addEventListener(name, then);
      this.#stops.push(() => target.removeEventListener(name, then));
    };
    listen(slot(root, "involve"), "change", this.#involved);
    listen(slot(root, "join"), "submit", this.#join);
    listen(slot(root, "people-button"), "click", this.#people);
    listen(slot(root, "side-close"), "click", () => this.#fold(false));
    listen(root, "keydown", this.#press);
    listen(document, "pointerdown", this.#elsewhere);
    for (const choice of this.#choices) choice.disabled = false;
  }

  stop() {
    for (const stop of this.#stops) stop();
  }

  get #choices() {
    return slot(this.#root, "involve").querySelectorAll("input");
  }

  show() {
    if (this.#isGone) return;
    const { kind, name, topic_line, archived, joined, involvement, members } = this.#room;
    const others = members.filter(({ id }) => id !== this.#me).map((person) => person.name);
    const title = name || others.join(", ") || gettext("You alone");
    for (const place of ["name", "start-name"])
      if (slot(this.#root, place).textContent !== title) setText(this.#root, place, title);
    setTitle(title);
    setText(this.#root, "line", topic_line);
    slot(this.#root, "line").title = topic_line;
    setText(this.#root, "members-count", members.length);
    for (const about of slot(this.#root, "start").querySelectorAll("[data-kind]"))
      about.hidden = about.dataset.kind !== kind;
    slot(this.#root, "archived").hidden = !archived;
    slot(this.#root, "composer").hidden = archived;
    slot(this.#root, "join").hidden = joined || archived;
    slot(this.#root, "involve").hidden = !joined;
    for (const choice of this.#choices) {
      choice.checked = choice.value === involvement;
      if (choice.checked) setText(this.#root, "involvement", choice.dataset.word);
    }
    this.#root.querySelector("hub-room-people").show(members);
  }

  /** Nothing of the room stays on the page but what one was writing. */
  leave(why, draft) {
    this.#isGone = true;
    for (const name of GONE) slot(this.#root, name).hidden = true;
    this.#root.querySelector(".room-tools").hidden = true;
    this.#root.toggleAttribute("data-gone", true);
    for (const name of ["line", "typing"]) setText(this.#root, name, "");
    setText(this.#root, "gone-why", why);
    slot(this.#root, "gone-draft").hidden = !draft;
    slot(this.#root, "gone").hidden = false;
  }

  #involved = async ({ target }) => {
    const before = this.#room.involvement;
    this.#room.involvement = target.value;
    this.show();
    try {
      await send("PUT", `/rooms/${this.#room.id}/involvement`, { value: target.value });
    } catch (error) {
      this.#room.involvement = before;
      this.show();
      sayError(error.message);
    }
  };

  #join = async (event) => {
    event.preventDefault();
    try {
      const name = encodeURIComponent(this.#username);
      await send("PUT", `/rooms/${this.#room.id}/members/${name}`);
      slot(this.#root, "log").focus({ preventScroll: true }); // the button goes
    } catch (error) {
      sayError(error.message);
    }
  };

  #people = (event) => {
    event.preventDefault();
    this.#fold(!this.#root.hasAttribute("data-side"));
  };

  #fold(isOpen) {
    this.#root.toggleAttribute("data-side", isOpen);
    slot(this.#root, isOpen ? "side-close" : "people-button").focus();
  }

  #press = (event) => {
    if (event.key !== "Escape" || event.defaultPrevented) return;
    const menu = slot(this.#root, "involve");
    if (menu.open) {
      menu.open = false;
      menu.querySelector("summary").focus();
    } else if (this.#root.hasAttribute("data-side")) this.#fold(false);
  };

  #elsewhere = ({ target }) => {
    const menu = slot(this.#root, "involve");
    if (menu.open && !menu.contains(target)) menu.open = false;
  };
}
