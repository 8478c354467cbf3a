import { topicOf } from "../announced.js";
import { get, send } from "../api.js";
import { hub } from "../client.js";
import { parseCursor } from "../cursor.js";
import { copy, glow, setLevel, setLinked, setText, setTime, slot } from "../dom.js";
import { onSnapshot, refreshSoon } from "../snapshot.js";
import { sayError } from "./hub-toasts.js";

const PAGE = 30;
const MOST = 60; // posts; the older ones have pages of their own
// In sessionStorage: survives signing in again, and is nobody else's.
const DRAFT = `hub.announcement.${document.body.dataset.user}`;

/**
 * The live blog. On the dashboard the newest few, in brief; on its page also written, edited and removed.
 *
 * A post is one of its topic: what moves is deleted on one topic and created on another, in whichever order they come.
 */
class HubAnnouncements extends HTMLElement {
  #offs = [];
  #foreign = new Set(); // topics of teams that a superuser is not in

  connectedCallback() {
    this.#listen(this.dataset.cursor);
    this.#offs = [
      hub.on("event", (event) => this.#happened(event)),
      onSnapshot((snapshot) => this.#reload(snapshot)),
    ];
    this.addEventListener("click", this.#click);
    this.addEventListener("submit", this.#submit);
    this.addEventListener("input", this.#keepDraft);
    this.#restoreDraft();
  }

  disconnectedCallback() {
    for (const off of this.#offs) off();
    for (const topic of this.#foreign) hub.unsubscribe(topic);
    this.#foreign.clear();
    this.removeEventListener("click", this.#click);
    this.removeEventListener("submit", this.#submit);
    this.removeEventListener("input", this.#keepDraft);
  }

  #most() {
    return Number(this.dataset.most) || MOST;
  }

  #happened({ topic, type, data }) {
    if (type === "announcement.created" && !("older" in this.dataset))
      this.#show(data, { isNew: true });
    else if (type === "announcement.updated" && this.#post(topic, data.id))
      this.#show(data, { isNew: true });
    else if (type === "announcement.deleted") this.#drop(this.#post(topic, data.id));
  }

  async #reload(snapshot) {
    if ("older" in this.dataset) return;
    const { items, cursor, next } = this.dataset.most
      ? { items: snapshot.announcements }
      : await get(`/announcements?limit=${PAGE}`);
    this.#posts().replaceChildren();
    for (const item of items) this.#show(item);
    this.#showOlder(next);
    this.#showEmpty();
    this.#listen(cursor);
  }

  /** The topics of what is shown that the page does not hear of anyway. */
  #listen(cursor) {
    const heard = document.body.dataset.topics.split(",");
    for (const topic of parseCursor(cursor)?.offsets.keys() ?? []) {
      if (heard.includes(topic) || this.#foreign.has(topic)) continue;
      this.#foreign.add(topic);
      hub.subscribe(topic, cursor);
    }
  }

  #posts() {
    return this.querySelector(".posts");
  }

  #post(topic, id) {
    const posts = [...this.#posts().children];
    return posts.find((post) => post.dataset.topic === topic && post.dataset.id === String(id));
  }

  #show(item, { isNew = false } = {}) {
    const topic = topicOf(item);
    const post = copy(this.querySelector("template"));
    post.dataset.id = item.id;
    post.dataset.topic = topic;
    post.dataset.level = item.level;
    setText(post, "title", item.title);
    setLinked(post, "body", item.body);
    setText(post, "author", item.author?.name);
    setLevel(post, item.level);
    setTime(post.querySelector(".post-time"), item.at);
    slot(post, "edited").hidden = !item.edited_at;
    slot(post, "team").hidden = !item.team;
    setText(post, "team-name", item.team?.name);
    for (const act of ["edit", "delete"]) {
      const link = slot(post, act);
      if (link) link.href = `/announcements/${item.id}/${act}/`;
    }
    const former = this.#post(topic, item.id);
    if (former) former.replaceWith(post);
    else {
      const posts = [...this.#posts().children];
      const older = posts.find((other) => Number(other.dataset.id) < item.id);
      this.#posts().insertBefore(post, older ?? null);
    }
    this.#trim();
    if (isNew) glow(post);
    this.#showEmpty();
  }

  #trim() {
    const surplus = [...this.#posts().children].slice(this.#most());
    if (!surplus.length) return;
    for (const post of surplus) post.remove();
    this.#showOlder(this.#posts().lastElementChild.dataset.id);
  }

  #showOlder(next) {
    const place = slot(this, "older");
    if (!place) return; // the dashboard leads to the page
    place.hidden = !next;
    place.querySelector("a").href = `?before=${next ?? ""}`;
  }

  #drop(post) {
    if (!post) return;
    post.remove();
    this.#showEmpty();
    if (this.dataset.most) refreshSoon(); // the next older one moves up
  }

  #showEmpty() {
    this.querySelector(".empty").hidden = this.#posts().childElementCount > 0;
  }

  // Writing and removing.

  #click = (event) => {
    const link = event.target.closest('[data-slot="delete"]');
    if (!link || event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    this.#askToRemove(link.closest(".post"));
  };

  #askToRemove(post) {
    const dialog = this.querySelector("dialog.remove");
    setText(dialog, "title", slot(post, "title").textContent);
    dialog.returnValue = "";
    dialog.addEventListener(
      "close",
      async () => {
        if (dialog.returnValue !== "remove") return;
        try {
          await send("DELETE", `/announcements/${post.dataset.id}`);
          this.#drop(this.#post(post.dataset.topic, post.dataset.id));
        } catch (error) {
          sayError(error.message);
        }
      },
      { once: true },
    );
    dialog.showModal();
  }

  #submit = async (event) => {
    const form = event.target;
    if (!form.matches(".compose form")) return;
    event.preventDefault();
    const problem = form.querySelector(".problem");
    const button = form.querySelector("[type=submit]");
    problem.hidden = true;
    button.disabled = true;
    const { title, body, level, team } = Object.fromEntries(new FormData(form));
    form.dataset.key ??= crypto.randomUUID?.() ?? String(Math.random());
    try {
      const item = await send("POST", "/announcements", {
        title,
        body,
        level,
        team: team ? Number(team) : null,
        key: form.dataset.key,
      });
      this.#show(item);
      form.reset();
      delete form.dataset.key;
      sessionStorage.removeItem(DRAFT);
      form.closest("details").open = false;
    } catch (error) {
      const fields = Object.values(error.fields ?? {});
      problem.textContent = fields.length ? fields.join(" ") : error.message;
      problem.hidden = false;
    }
    button.disabled = false;
  };

  #keepDraft = ({ target }) => {
    const form = target.closest(".compose form");
    if (!form) return;
    delete form.dataset.key; // another text is another announcement
    const { title, body } = Object.fromEntries(new FormData(form));
    sessionStorage.setItem(DRAFT, JSON.stringify({ title, body }));
  };

  #restoreDraft() {
    const form = this.querySelector(".compose form");
    const draft = JSON.parse(sessionStorage.getItem(DRAFT) ?? "null");
    if (!form || !draft || !(draft.title || draft.body)) return;
    if (!form.elements.title.value) form.elements.title.value = draft.title;
    if (!form.elements.body.value) form.elements.body.value = draft.body;
    form.closest("details").open = true;
  }
}

customElements.define("hub-announcements", HubAnnouncements);
