import { get } from "../api.js";
import { hub } from "../client.js";
import { copy, glow, setLevel, setText, setTime, slot } from "../dom.js";
import { onSnapshot } from "../snapshot.js";

const MOST = 8;
const PAUSE = 300; // ms between two fetches of what moves up

/** The newest unread notifications; the rest is a link away. */
class HubNeeds extends HTMLElement {
  #unread = 0;
  #news = 0; // events so far: an answer older than one of them is fetched again
  #refilling = false;
  #offs = [];

  connectedCallback() {
    this.#unread = Number(document.body.dataset.unread);
    this.#offs = [
      hub.on("event", ({ type, data }) => {
        if (type.startsWith("notification.")) this.#happened(type, data);
      }),
      onSnapshot(({ needs_me, unread }) => this.#showAll(needs_me, unread)),
    ];
  }

  disconnectedCallback() {
    for (const off of this.#offs) off();
  }

  #happened(type, data) {
    this.#news += 1;
    this.#unread = data.unread ?? this.#unread;
    if (type === "notification.created") this.#add(data, { isNew: true });
    else if (data.up_to !== undefined) this.#drop((id) => id <= data.up_to);
    else if (type === "notification.removed" || data.read) {
      const gone = data.ids ?? [data.id];
      this.#drop((id) => gone.includes(id));
    }
    this.#showRest();
    if (this.#rows().length < Math.min(MOST, this.#unread)) this.#refill();
  }

  /** One at a time, however many are read at once. */
  async #refill() {
    if (this.#refilling) return;
    this.#refilling = true;
    try {
      for (let isShown = false; !isShown && this.isConnected; ) {
        await new Promise((resolve) => setTimeout(resolve, PAUSE));
        const news = this.#news;
        const { items, unread } = await get(`/inbox?state=unread&limit=${MOST}`);
        isShown = news === this.#news;
        if (isShown) this.#showAll(items, unread);
      }
    } catch {
      // The next event, or the snapshot after a reset, tries again.
    }
    this.#refilling = false;
  }

  #rows() {
    return [...this.querySelectorAll("li")];
  }

  #showAll(items, unread) {
    this.#news += 1;
    this.#unread = unread;
    this.querySelector("ol").replaceChildren();
    for (const item of items) this.#add(item);
    this.#showRest();
  }

  #add(item, { isNew = false } = {}) {
    this.#drop((id) => id === item.id);
    if (item.read) return;
    const row = copy(this.querySelector("template"));
    row.dataset.id = item.id;
    slot(row, "link").href = `/inbox/${item.id}/`;
    setText(row, "title", item.title);
    setText(row, "body", item.body);
    setLevel(row, item.level);
    setTime(row.querySelector(".need-time"), item.at);
    const older = this.#rows().find((other) => Number(other.dataset.id) < item.id);
    this.querySelector("ol").insertBefore(row, older ?? null);
    if (isNew) glow(row);
    for (const extra of this.#rows().slice(MOST)) extra.remove();
  }

  #drop(is) {
    for (const row of this.#rows()) if (is(Number(row.dataset.id))) row.remove();
  }

  #showRest() {
    const shown = this.#rows().length;
    this.querySelector(".empty").hidden = shown > 0;
    this.querySelector(".tile-more").hidden = this.#unread <= shown;
    this.closest("section").querySelector("[data-needs-count]").textContent = this.#unread;
  }
}

customElements.define("hub-needs", HubNeeds);
