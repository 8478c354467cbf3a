import { get, send } from "../api.js";
import { hub } from "../client.js";
import { copy, glow, safeLink, setLevel, setLinked, setText, setTime, slot } from "../dom.js";
import { worded } from "../mentions.js";
import { onSnapshot, refreshAll } from "../snapshot.js";
import { setTitle } from "../title.js";
import { dayLabel, dayOf } from "../when.js";
import { fillIn, gettext, ngettext } from "../words.js";
import { sayError } from "./hub-toasts.js";

const PAGE = 50;
const MOST = 100; // rows that come by themselves; beyond them the oldest are for "Older" to bring back
const MIDNIGHT = 60_000; // ms between looks at whether "Today" still is

/** The list at the left and the chosen notification at the right, both live, both by keyboard. */
class HubInbox extends HTMLElement {
  #marking = Promise.resolve();
  #items = new Map();
  #chosen = null; // id
  #state;
  #next;
  #most = MOST;
  #offs = [];
  #timer;

  connectedCallback() {
    this.#state = this.dataset.state;
    this.#next = Number(this.dataset.next) || null;
    for (const item of JSON.parse(this.querySelector("#inbox-items").textContent))
      this.#items.set(item.id, item);
    const open = this.querySelector(".inbox-detail .note");
    this.#chosen = open ? Number(open.dataset.id) : null;
    this.addEventListener("click", this.#click);
    this.addEventListener("submit", this.#submit);
    this.addEventListener("change", this.#selected);
    document.addEventListener("hub-key", this.#key);
    document.addEventListener("hub-unread", this.#counted);
    window.addEventListener("popstate", this.#travelled);
    this.#offs = [
      hub.on("event", (event) => this.#happened(event)),
      onSnapshot(() => this.#reload()),
    ];
    this.#timer = setInterval(() => this.#nameDays(), MIDNIGHT);
    this.#moveDays();
  }

  disconnectedCallback() {
    this.removeEventListener("click", this.#click);
    this.removeEventListener("submit", this.#submit);
    this.removeEventListener("change", this.#selected);
    document.removeEventListener("hub-key", this.#key);
    document.removeEventListener("hub-unread", this.#counted);
    window.removeEventListener("popstate", this.#travelled);
    for (const off of this.#offs) off();
    clearInterval(this.#timer);
  }

  // What the hub says.

  #happened({ type, data }) {
    if (type === "notification.created") this.#add(worded(data), { isNew: true });
    else if (type === "notification.changed") {
      if (data.up_to === undefined) this.#setRead(data.id, data.read);
      else
        for (const id of [...this.#items.keys()])
          if (id <= data.up_to) this.#setRead(id, data.read);
    } else if (type === "notification.removed")
      for (const id of data.ids ?? [data.id]) this.#remove(id);
  }

  async #reload() {
    const { items, next } = await get(`/inbox?state=${this.#state}&limit=${PAGE}`);
    this.#items.clear();
    this.querySelector(".inbox-days").replaceChildren();
    this.#showOlder(next);
    for (const item of items) this.#add(item);
    this.#showEmpty();
    if (this.#chosen !== null && this.#items.has(this.#chosen)) this.#choose(this.#chosen);
  }

  #add(item, { isNew = false } = {}) {
    const known = this.#items.has(item.id);
    this.#items.set(item.id, item);
    if (known) this.#row(item.id)?.remove();
    if (this.#state === "unread" && item.read && item.id !== this.#chosen) return;
    const row = this.#build(item);
    this.#place(row, item);
    if (isNew && !known) glow(row);
    if (isNew) this.#trim();
    this.#showEmpty();
  }

  /** A page that is open for days keeps what one asked for and what one is at, not all that ever came. */
  #trim() {
    const rows = this.#rows();
    if (rows.length > this.#most) {
      const picked = this.#picked();
      for (const row of rows.slice(this.#most))
        if (Number(row.dataset.id) !== this.#chosen && !picked.includes(row)) this.#drop(row);
      this.#showOlder(Number(rows[this.#most - 1].dataset.id));
    }
    const kept = new Set([this.#chosen, ...this.#rows().map((row) => Number(row.dataset.id))]);
    for (const id of this.#items.keys()) if (!kept.has(id)) this.#items.delete(id);
  }

  #setRead(id, read) {
    const item = this.#items.get(id);
    if (!item) {
      if (!read && this.#state === "unread") refreshAll();
      return;
    }
    item.read = read;
    const row = this.#row(id);
    if (row && read && this.#state === "unread" && id !== this.#chosen) this.#drop(row);
    else if (row) this.#showRead(row, item);
    else if (!read) this.#add(item);
    if (id === this.#chosen) this.#showMark(item);
  }

  #remove(id) {
    this.#items.delete(id);
    const row = this.#row(id);
    if (row) this.#drop(row);
    if (id === this.#chosen) this.#close();
  }

  // Rows.

  #rows() {
    return [...this.querySelectorAll(".inbox-days .inbox-row")];
  }

  #row(id) {
    return this.querySelector(`.inbox-days .inbox-row[data-id="${id}"]`);
  }

  #suffix() {
    return this.#state === "unread" ? "?state=unread" : "";
  }

  #build(item) {
    const row = copy(this.querySelector("#inbox-row"));
    row.dataset.id = item.id;
    row.dataset.level = item.level;
    row.querySelector(".inbox-link").href = `/inbox/${item.id}/${this.#suffix()}`;
    setText(row, "title", item.title);
    const from = item.actor ? `${item.actor.name} · ` : "";
    setText(row, "sub", from + (item.body || item.kind));
    setLevel(row, item.level);
    setTime(row.querySelector(".inbox-time"), item.at);
    this.#showRead(row, item);
    if (item.id === this.#chosen) this.#markChosen(row, true);
    return row;
  }

  #showRead(row, item) {
    row.toggleAttribute("data-unread", !item.read);
    setText(row, "state", item.read ? "" : gettext("Unread"));
  }

  #place(row, item) {
    const day = dayOf(new Date(item.at));
    const list = this.#day(day).querySelector("ol");
    const after = [...list.children].find((other) => Number(other.dataset.id) < item.id);
    list.insertBefore(row, after ?? null);
  }

  #day(day) {
    const days = this.querySelector(".inbox-days");
    const found = days.querySelector(`[data-day="${day}"]`);
    if (found) return found;
    const section = document.createElement("section");
    section.className = "inbox-day";
    section.dataset.day = day;
    const heading = document.createElement("h2");
    heading.className = "day";
    heading.textContent = dayLabel(day);
    section.append(heading, document.createElement("ol"));
    const older = [...days.children].find((other) => other.dataset.day < day);
    days.insertBefore(section, older ?? null);
    return section;
  }

  /** The server grouped by the zone it knows of; without one chosen in settings, the device's counts. */
  #moveDays() {
    for (const row of this.#rows()) {
      const item = this.#items.get(Number(row.dataset.id));
      const section = row.closest(".inbox-day");
      if (!item || section.dataset.day === dayOf(new Date(item.at))) continue;
      this.#place(row, item);
      if (!section.querySelector("li")) section.remove();
    }
    this.#nameDays();
  }

  #nameDays() {
    for (const section of this.querySelectorAll(".inbox-day"))
      section.querySelector("h2").textContent = dayLabel(section.dataset.day);
  }

  #drop(row) {
    const section = row.closest(".inbox-day");
    row.remove();
    if (!section.querySelector("li")) section.remove();
    this.#showEmpty();
    this.#selected();
  }

  #showEmpty() {
    this.querySelector(".inbox-empty").hidden = this.#rows().length > 0 || this.#next !== null;
  }

  #showOlder(next) {
    this.#next = next;
    const more = this.querySelector(".inbox-more");
    more.hidden = !next;
    more.querySelector("a").href = `?state=${this.#state}&before=${next ?? ""}`;
  }

  // The chosen one.

  #choose(id, { focus = false, travel = false } = {}) {
    const item = this.#items.get(id);
    if (!item) return;
    const former = this.#chosen;
    this.#chosen = id;
    for (const row of this.#rows()) this.#markChosen(row, Number(row.dataset.id) === id);
    this.#leaveUnread(former);
    this.#show(item);
    const row = this.#row(id);
    if (focus) row?.querySelector(".inbox-link").focus();
    row?.scrollIntoView({ block: "nearest" });
    if (travel) {
      const toList = former === null ? 1 : history.state?.toList && history.state.toList + 1;
      if (id !== former) history.pushState({ toList }, "", `/inbox/${id}/${this.#suffix()}`);
    }
  }

  /** In the unread list, what was read goes when one moves on. */
  #leaveUnread(id) {
    const row = id === null || id === this.#chosen ? null : this.#row(id);
    if (row && this.#state === "unread" && this.#items.get(id)?.read) this.#drop(row);
  }

  #markChosen(row, isChosen) {
    row.toggleAttribute("data-chosen", isChosen);
    const link = row.querySelector(".inbox-link");
    if (isChosen) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }

  #show(item) {
    const note = copy(this.querySelector("#inbox-detail"));
    note.dataset.id = item.id;
    note.querySelector(".note-back").href = `/inbox/${this.#suffix()}`;
    setText(note, "title", item.title);
    setText(note, "kind", item.kind);
    setLinked(note, "body", item.body);
    setText(note, "actor", item.actor?.name);
    setLevel(note, item.level);
    setTime(note.querySelector(".note-time"), item.at);
    const link = slot(note, "url");
    link.href = safeLink(item.url);
    link.hidden = !safeLink(item.url);
    slot(note, "mark").action = `/inbox/${item.id}/mark/${this.#suffix()}`;
    const pane = this.querySelector(".inbox-detail");
    pane.replaceChildren(note);
    pane.scrollTop = 0;
    this.classList.add("inbox-open");
    setTitle(item.title);
    this.#showMark(item);
  }

  #showMark(item) {
    const form = slot(this.querySelector(".inbox-detail"), "mark");
    if (!form) return;
    form.querySelector("button").value = item.read ? "0" : "1";
    setText(form, "mark-word", item.read ? gettext("Mark unread") : gettext("Mark read"));
  }

  #close() {
    const former = this.#chosen;
    this.#chosen = null;
    for (const row of this.#rows()) this.#markChosen(row, false);
    this.#leaveUnread(former);
    this.classList.remove("inbox-open");
    setTitle(gettext("Inbox"));
    const none = document.createElement("p");
    none.className = "inbox-none quiet";
    none.textContent = gettext("Choose a notification to read it here.");
    this.querySelector(".inbox-detail").replaceChildren(none);
  }

  // What the person does.

  #click = (event) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const act = event.target.closest("[data-act]")?.dataset.act;
    if (act) {
      this.#actOnSelected(act);
      return;
    }
    const row = event.target.closest(".inbox-link")?.closest(".inbox-row");
    if (row) {
      event.preventDefault();
      const id = Number(row.dataset.id);
      this.#choose(id, { travel: true });
      this.#mark([id], true);
      if (getComputedStyle(this.querySelector(".inbox-list")).display === "none")
        this.querySelector(".inbox-detail").focus();
    } else if (event.target.closest(".note-back")) {
      event.preventDefault();
      const id = this.#chosen;
      if (history.state?.toList) history.go(-history.state.toList);
      else history.replaceState(null, "", `/inbox/${this.#suffix()}`);
      this.#close();
      this.#row(id)?.querySelector(".inbox-link").focus();
    } else if (event.target.closest(".inbox-more a")) {
      event.preventDefault();
      this.#older();
    }
  };

  #submit = (event) => {
    if (event.target.matches(".inbox-all")) {
      event.preventDefault();
      this.#markAll();
    } else if (event.target.matches('[data-slot="mark"]') && this.#chosen !== null) {
      event.preventDefault();
      this.#mark([this.#chosen], event.submitter.value !== "0");
    }
  };

  #travelled = () => {
    const id = Number(/^\/inbox\/(\d+)\//.exec(location.pathname)?.[1]);
    if (id && this.#items.has(id)) this.#choose(id);
    else if (!id) this.#close();
    else location.reload();
  };

  #key = (event) => {
    const acts = {
      next: () => this.#step(1),
      previous: () => this.#step(-1),
      read: () => this.#mark(this.#meant(), true),
      unread: () => this.#mark(this.#meant(), false),
      select: () => this.#select(),
      "read-all": () => this.#markAll(),
    };
    if (!acts[event.detail]) return;
    event.preventDefault();
    acts[event.detail]();
  };

  #step(by) {
    const rows = this.#rows();
    if (!rows.length) return;
    const here = rows.findIndex((row) => Number(row.dataset.id) === this.#chosen);
    const at = here < 0 ? 0 : Math.min(Math.max(here + by, 0), rows.length - 1);
    this.#choose(Number(rows[at].dataset.id), { focus: true, travel: true });
    if (at === rows.length - 1 && this.#next) this.#older();
  }

  #select() {
    const box = this.#row(this.#chosen)?.querySelector(".inbox-pick");
    if (!box) return;
    box.checked = !box.checked;
    this.#selected();
  }

  #picked() {
    return this.#rows().filter((row) => row.querySelector(".inbox-pick").checked);
  }

  /** What `e` and `u` are about: the selected ones, else the chosen one. */
  #meant() {
    const picked = this.#picked().map((row) => Number(row.dataset.id));
    if (picked.length) return picked;
    return this.#chosen === null ? [] : [this.#chosen];
  }

  #selected = () => {
    const count = this.#picked().length;
    const bar = this.querySelector(".inbox-selected");
    bar.hidden = count === 0;
    setText(
      bar,
      "selected",
      fillIn(ngettext("%(count)d selected", "%(count)d selected", count), { count }),
    );
  };

  #actOnSelected(act) {
    const rows = this.#picked();
    if (act !== "none")
      this.#mark(
        rows.map((row) => Number(row.dataset.id)),
        act === "read",
      );
    for (const row of rows) row.querySelector(".inbox-pick").checked = false;
    this.#selected();
  }

  /** Shown at once, taken back when the hub refuses; the events that follow say the same again. */
  async #mark(ids, read) {
    const changing = ids.filter((id) => this.#items.has(id));
    for (const id of changing) this.#setRead(id, read);
    const before = this.#marking;
    this.#marking = this.#send(before, changing, read);
    await this.#marking;
  }

  /** One after the other: of two that overtake each other the hub would keep the wrong one. */
  async #send(before, changing, read) {
    await before;
    for (const id of changing) {
      try {
        await send("PATCH", `/inbox/${id}`, { read });
      } catch (error) {
        this.#setRead(id, !read);
        sayError(error.message);
      }
    }
  }

  async #markAll() {
    const upTo = Math.max(0, ...this.#items.keys());
    if (!upTo) return;
    try {
      await send("POST", "/inbox/read", { up_to: upTo });
    } catch (error) {
      sayError(error.message);
    }
  }

  async #older() {
    if (!this.#next) return;
    const before = this.#next;
    this.#next = null;
    try {
      const { items, next } = await get(
        `/inbox?state=${this.#state}&before=${before}&limit=${PAGE}`,
      );
      this.#most += items.length;
      for (const item of items) this.#add(item);
      this.#showOlder(next);
    } catch (error) {
      this.#next = before;
      sayError(error.message);
    }
  }

  #counted = ({ detail: unread }) => {
    setText(this, "unread", unread);
    this.querySelector(".inbox-all").hidden = unread === 0;
  };
}

customElements.define("hub-inbox", HubInbox);
