import { get, send } from "../api.js";
import { hub } from "../client.js";
import { copy, glow, safeLink, setLevel, setText, setTime, slot } from "../dom.js";
import { isJobEvent } from "../jobview.js";
import { worded } from "../mentions.js";
import { onSnapshot } from "../snapshot.js";
import { sayError } from "./hub-toasts.js";

const TROUBLE = new Set(["job.failed", "job.lost"]); // stand before all others, and lead to the job
const PAUSE = 300; // ms between two fetches of what moves up

/** The newest unread notifications, jobs that went wrong first; the rest is a link away. */
class HubNeeds extends HTMLElement {
  #unread = 0;
  #news = 0; // events so far: an answer older than one of them is fetched again
  #refilling = false;
  #offs = [];

  connectedCallback() {
    this.#unread = Number(document.body.dataset.unread);
    this.#offs = [
      hub.on("event", ({ topic, type, data }) => {
        if (type.startsWith("notification.")) this.#happened(type, data);
        else if (isJobEvent(type) && topic === `user.${document.body.dataset.user}`)
          this.#goneOn(data);
      }),
      onSnapshot(({ needs_me, unread }) => this.#showAll(needs_me, unread)),
    ];
    this.addEventListener("submit", this.#markRead);
  }

  disconnectedCallback() {
    for (const off of this.#offs) off();
    this.removeEventListener("submit", this.#markRead);
  }

  #markRead = async (event) => {
    event.preventDefault();
    const row = event.target.closest("li");
    const next = (row.nextElementSibling ?? row.previousElementSibling)?.querySelector("a");
    const hadFocus = row.contains(document.activeElement);
    try {
      await send("PATCH", `/inbox/${row.dataset.id}`, { read: true });
      if (hadFocus) (next?.isConnected ? next : this).focus();
    } catch (error) {
      sayError(error.message);
    }
  };

  #happened(type, data) {
    this.#news += 1;
    this.#unread = data.unread ?? this.#unread;
    if (type === "notification.created") this.#add(worded(data), { isNew: true });
    else if (data.up_to !== undefined) this.#drop((id) => id <= data.up_to);
    else if (type === "notification.removed" || data.read) {
      const gone = data.ids ?? [data.id];
      this.#drop((id) => gone.includes(id));
    }
    this.#showRest();
    if (this.#rows().length < Math.min(this.#most(), this.#unread)) this.#refill();
  }

  /** The job was tried again: how it went before is no trouble any more. Its end brings a notification of its own. */
  #goneOn({ url }) {
    this.#news += 1;
    for (const row of this.#rows())
      if (TROUBLE.has(row.dataset.kind) && slot(row, "link").getAttribute("href") === url)
        row.remove();
    this.#showRest();
  }

  /** One at a time, however many are read at once. */
  async #refill() {
    if (this.#refilling) return;
    this.#refilling = true;
    try {
      for (let isShown = false; !isShown && this.isConnected; ) {
        await new Promise((resolve) => setTimeout(resolve, PAUSE));
        const news = this.#news;
        const { needs_me, unread } = await get("/dashboard");
        isShown = news === this.#news;
        if (isShown) this.#showAll(needs_me, unread);
      }
    } catch {
      // The next event, or the snapshot after a reset, tries again.
    }
    this.#refilling = false;
  }

  #most() {
    return Number(this.dataset.most);
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
    row.dataset.kind = item.kind;
    const href = TROUBLE.has(item.kind) && safeLink(item.url);
    slot(row, "link").href = href || `/inbox/${item.id}/`;
    row.querySelector("form").action = `/inbox/${item.id}/mark/`;
    setText(row, "title", item.title);
    setText(row, "body", item.body);
    setLevel(row, item.level);
    setTime(row.querySelector(".need-time"), item.at);
    const after = this.#rows().find((other) => isBefore(item, other.dataset));
    this.querySelector("ol").insertBefore(row, after ?? null);
    if (isNew) glow(row);
    for (const extra of this.#rows().slice(this.#most())) extra.remove();
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

function isBefore(item, { id, kind }) {
  const isTrouble = TROUBLE.has(item.kind);
  return isTrouble === TROUBLE.has(kind) ? item.id > Number(id) : isTrouble;
}

customElements.define("hub-needs", HubNeeds);
