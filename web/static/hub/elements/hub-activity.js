import { hub } from "../client.js";
import { copy, glow, safeLink, setText, setTime, slot } from "../dom.js";
import { stateWord } from "../jobview.js";
import { onSnapshot } from "../snapshot.js";

const ENDINGS = new Set(["created", "updated", "deleted"]);

/** Every event with a title, newest first. Inbox items have a place of their own. */
class HubActivity extends HTMLElement {
  #offs = [];

  connectedCallback() {
    this.#offs = [
      hub.on("event", (event) => {
        const { title, url } = event.data;
        if (event.type === "announcement.deleted") this.#forget(event.topic, event.data.id);
        else if (title && isActivity(event.type))
          this.#add(
            { ...event, title: String(title), url, about: announcementOf(event) },
            { isNew: true },
          );
      }),
      onSnapshot(({ activity }) => {
        this.querySelector("ol").replaceChildren();
        for (const item of [...activity].reverse()) this.#add(item);
        this.#showEmpty();
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
    if (item.about) Object.assign(row.dataset, { topic: item.topic, about: item.about });
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
    this.#showEmpty();
  }

  /** A removed announcement is not to be read on here. One that moved stays where it is now. */
  #forget(topic, id) {
    for (const row of [...this.querySelector("ol").children])
      if (row.dataset.topic === topic && row.dataset.about === String(id)) row.remove();
    this.#showEmpty();
  }

  #showEmpty() {
    this.querySelector(".empty").hidden = this.querySelector("ol").childElementCount > 0;
  }
}

/** Inbox items and jobs under way, which fill the own topic, have their own tiles. */
const isActivity = (type) =>
  !type.startsWith("notification.") && type !== "job.queued" && type !== "job.started";

const announcementOf = ({ type, data }) => (type.startsWith("announcement.") ? data.id : undefined);

/** `orders.order.created` is an "order", "created", by its name in the person's language; other types stand for themselves. */
function inWords(type) {
  const parts = type.split(".");
  const last = parts.at(-1);
  if (parts[0] === "job") return [stateWord(last), ""];
  if (!ENDINGS.has(last)) return [type, ""];
  const subjects = JSON.parse(document.querySelector("#subjects").textContent);
  const subject = subjects[parts.slice(0, -1).join(".")] ?? parts.at(-2).replaceAll("_", " ");
  return [subject, document.querySelector("#verb-words").dataset[last]];
}

customElements.define("hub-activity", HubActivity);
