import { hub } from "../client.js";
import { copy, glow, safeLink, setText, setTime, slot } from "../dom.js";
import { onSnapshot } from "../snapshot.js";

const ENDINGS = new Set(["created", "updated", "deleted"]);

/** Every event with a title, newest first. Inbox items have a place of their own. */
class HubActivity extends HTMLElement {
  #offs = [];

  connectedCallback() {
    this.#offs = [
      hub.on("event", (event) => {
        const { title, url } = event.data;
        if (title && !event.type.startsWith("notification."))
          this.#add({ ...event, title: String(title), url }, { isNew: true });
      }),
      onSnapshot(({ activity }) => {
        this.querySelector("ol").replaceChildren();
        for (const item of [...activity].reverse()) this.#add(item);
      }),
    ];
  }

  disconnectedCallback() {
    for (const off of this.#offs) off();
  }

  #add(item, { isNew = false } = {}) {
    const key = `${item.topic}:${item.offset}`;
    const list = this.querySelector("ol");
    if ([...list.children].some((row) => row.dataset.key === key)) return;
    const row = copy(this.querySelector("template"));
    row.dataset.key = key;
    setText(row, "title", item.title);
    const href = safeLink(typeof item.url === "string" ? item.url : "");
    if (href) slot(row, "link").href = href;
    const [subject, verb] = inWords(item.type);
    setText(row, "subject", subject);
    setText(row, "verb", verb);
    setTime(row.querySelector(".act-time"), item.at);
    list.prepend(row);
    if (isNew) glow(row);
    while (list.childElementCount > Number(this.dataset.most)) list.lastElementChild.remove();
    this.querySelector(".empty").hidden = true;
  }
}

/** `orders.order.created` is an "order", "created"; other types stand for themselves. */
function inWords(type) {
  const parts = type.split(".");
  const last = parts.at(-1);
  if (!ENDINGS.has(last)) return [type, ""];
  return [parts.at(-2).replaceAll("_", " "), document.querySelector("#verb-words").dataset[last]];
}

customElements.define("hub-activity", HubActivity);
