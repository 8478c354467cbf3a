import { topicOf } from "../announced.js";
import { hub } from "../client.js";
import { setLinked, setText, setTime, slot } from "../dom.js";

/** The page that edits an announcement: says at once when somebody else changes or removes it. */
class HubEdit extends HTMLElement {
  #opened; // the announcement as this page has shown it
  #standing = new Map(); // topic -> what it says there; while it moves on none, or on two
  #off = () => {};

  connectedCallback() {
    const present = this.querySelector("#present");
    if (!present) return;
    this.#opened = JSON.parse(present.textContent);
    this.#standing.set(topicOf(this.#opened), this.#opened);
    this.#off = hub.on("event", (event) => this.#happened(event));
    this.addEventListener("submit", this.#saving);
  }

  disconnectedCallback() {
    this.#off();
    this.removeEventListener("submit", this.#saving);
  }

  /** From here on the news is one's own. */
  #saving = () => this.#off();

  #happened({ topic, type, data }) {
    if (!type.startsWith("announcement.") || data.id !== this.#opened.id) return;
    if (type === "announcement.deleted") this.#standing.delete(topic);
    else this.#standing.set(topic, data);
    const items = [...this.#standing.values()];
    items.sort((one, other) => (changedAt(one) < changedAt(other) ? 1 : -1));
    if (items.length) this.#changed(items[0]);
    else this.#say("removed");
  }

  #changed(item) {
    if (isSame(item, this.#opened)) {
      this.#say("present");
      return;
    }
    setText(this, "title", item.title);
    setLinked(this, "body", item.body);
    const place = slot(this, "team");
    setText(this, "team", item.team?.name ?? place.dataset.everybody);
    setText(this, "level", document.querySelector("#level-words").dataset[item.level]);
    setTime(slot(this, "time"), changedAt(item));
    this.#say("changed");
  }

  /** `removed`, `changed`, or `present` for neither. What is typed stays; a removed one can be announced anew. */
  #say(state) {
    const isRemoved = state === "removed";
    this.querySelector(".removed").hidden = !isRemoved;
    this.querySelector(".present").hidden = state !== "changed";
    slot(this, "anew").hidden = !isRemoved;
    slot(this, "save").hidden = isRemoved;
    const form = this.querySelector("form");
    if (isRemoved) form.action = this.dataset.home;
    else form.removeAttribute("action");
  }
}

const changedAt = ({ edited_at, at }) => edited_at ?? at;

function isSame(one, other) {
  return (
    one.title === other.title &&
    one.body === other.body &&
    one.level === other.level &&
    one.team?.id === other.team?.id
  );
}

customElements.define("hub-edit", HubEdit);
