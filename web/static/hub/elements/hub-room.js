import { ApiError, get, send } from "../api.js";
import { hub } from "../client.js";
import { parseCursor } from "../cursor.js";
import { setText, slot } from "../dom.js";
import { RoomActs } from "../roomacts.js";
import { RoomBook } from "../roombook.js";
import { matchingEmoji } from "../roomcomplete.js";
import { RoomComposer } from "../roomcomposer.js";
import { arrange, keyOf } from "../roomgroups.js";
import { RoomList } from "../roomlist.js";
import { Outbox } from "../roomoutbox.js";
import { Typing, typingWords } from "../roomtyping.js";
import { RoomView } from "../roomview.js";
import { setNews, setTitle } from "../title.js";
import { hubNow } from "../when.js";
import { fillIn, gettext, ngettext } from "../words.js";
import { sayError } from "./hub-toasts.js";
import "./hub-room-people.js";

const PAGE = 50;
const MOST = 300; // messages in the page; beyond, the far end is let go of
const AGAIN = 2000; // ms before a fetch is tried once more, doubled up to LONGEST
const LONGEST = 30_000;
const READ_EVERY = 1000; // ms from one mark to the next
const MIDNIGHT = 60_000; // ms between looks at whether "Today" still is

const REFUSALS = {
  conflict: () => gettext("The room is archived."),
  forbidden: () => gettext("You may not write here any more."),
  not_found: () => gettext("You may not write here any more."),
  invalid: () => gettext("This was not accepted. Shorten it and send it again."),
  too_large: () => gettext("This is too long."),
};
const unsentWhy = (code) => REFUSALS[code]?.() ?? gettext("Not sent: the hub didn’t answer.");

/** One room: its messages, live; what is written here, at once. */
class HubRoom extends HTMLElement {
  #id;
  #topic;
  #me;
  #room;
  #data;
  #book;
  #leftAt;
  #list;
  #acts;
  #composer;
  #outbox;
  #typing = new Typing();
  #typingTimer;
  #unsent = new Map(); // the items of what waits, so that a row is made once
  #unseen = new Set(); // ids that came while one reads further up
  #news = 0; // that came while nobody looked
  #isGone = false;
  #loading = false;
  #generation = 0; // of the window: an answer that was asked for before the last reset is none
  #isDrawn = false;
  #readAt = 0;
  #readTimer;
  #emoji;
  #offs = [];
  #timers = [];

  connectedCallback() {
    this.#data = JSON.parse(this.querySelector("#room-data").textContent);
    this.#room = this.#data.room;
    this.#id = this.#room.id;
    this.#topic = `room.${this.#id}`;
    this.#me = Number(document.body.dataset.user);
    this.#leftAt = this.#data.left_at;
    this.#book = new RoomBook(this.#data);
    this.#build();
    this.#listen();
    this.#showRoom();
    this.#draw();
    this.#begin();
    hub.subscribe(this.#topic, this.dataset.cursor, { present: true });
  }

  disconnectedCallback() {
    for (const off of this.#offs) off();
    for (const timer of this.#timers) clearInterval(timer);
    clearTimeout(this.#typingTimer);
    clearTimeout(this.#readTimer);
    this.#composer.stop();
    this.#outbox.stop();
    this.#list.stop();
    hub.unsubscribe(this.#topic);
  }

  #build() {
    const sources = {
      people: (query) => this.#people(query),
      emoji: (query) => this.#emojis(query),
    };
    const view = new RoomView(this, { room: this.#id, me: this.#me, target: this.#data.target });
    const talk = slot(this, "talk");
    this.#list = new RoomList({
      log: slot(this, "log"),
      talk,
      view,
      on: {
        top: () => this.#book.older !== null && this.#load("older"),
        bottom: () => this.#book.isAtEnd || this.#load("newer"),
        moved: () => this.#moved(),
        isAtEnd: () => this.#book.isAtEnd,
      },
    });
    this.#acts = new RoomActs(this, talk, {
      sources,
      item: (id) => this.#book.get(id),
      mayEdit: (item) => item.author?.id === this.#me && !this.#room.archived,
      mayDelete: (item) => item.author?.id === this.#me || this.#manages,
      edit: (item, body) => this.#edit(item, body),
      delete: (item) => this.#delete(item),
      touched: (item) => {
        this.#list.pinned = item && keyOf(item);
        if (!item) this.#drawSoon();
      },
      kept: (text) => this.#composer.keep(text),
      back: () => this.#composer.focus(),
    });
    this.#composer = new RoomComposer(slot(this, "composer"), {
      room: this.#id,
      user: this.#me,
      sources,
      on: {
        send: (body) => this.#say(body),
        typed: () => this.#typed(),
        up: () => this.#editLast(),
      },
    });
    this.#outbox = new Outbox({
      storage: globalThis.localStorage,
      prefix: `hub.outbox.${this.#me}.${this.#id}.`,
      post: (message) => this.#post(message),
      told: () => this.#drawSoon(),
    });
  }

  #listen() {
    const listen = (target, name, then) => {
      target.addEventListener(name, then);
      this.#offs.push(() => target.removeEventListener(name, then));
    };
    this.#offs.push(
      hub.on("event", (event) => this.#happened(event)),
      hub.on("whisper", (whisper) => this.#heard(whisper)),
      hub.on("reset", ({ topic }) => topic === this.#topic && this.#refetch()),
      hub.on("revoked", ({ topic }) => topic === this.#topic && this.#revoked()),
      hub.on("welcome", () => this.#markRead()),
      hub.on("state", ({ state }) => {
        if (state === "live" || state === "stopped") this.#outbox.wake();
      }),
    );
    listen(this, "click", this.#click);
    listen(this, "change", this.#chosen);
    listen(slot(this, "join"), "submit", this.#join);
    listen(slot(this, "log"), "keydown", this.#press);
    listen(document, "hub-key", this.#key);
    listen(document, "visibilitychange", this.#looked);
    listen(document, "pointerdown", this.#elsewhere);
    listen(window, "storage", ({ key }) => {
      if (key?.startsWith(`hub.outbox.${this.#me}.${this.#id}.`)) this.#outbox.reread();
    });
    this.#timers.push(setInterval(() => this.#drawSoon(), MIDNIGHT));
  }

  /** Where one begins to read: at the message asked for, where one left off, else at the end. */
  #begin() {
    for (const choice of this.querySelectorAll(".room-choice input")) choice.disabled = false;
    const { target } = this.#data;
    if (target && this.#list.reveal(`m-${target}`)) return;
    if (!this.#book.isAtEnd) {
      slot(this, "log").scrollTop = new URLSearchParams(location.search).has("after") ? 0 : 2 ** 24;
      this.#moved();
      return;
    }
    this.#list.toEnd();
    const line = this.#list.node("line");
    const { top } = slot(this, "log").getBoundingClientRect();
    if (line && line.getBoundingClientRect().top < top) this.#list.reveal("line");
    if (matchMedia("(hover: hover)").matches) this.#composer.focus();
    this.#moved();
  }

  get #manages() {
    return this.#data.superuser || this.#room.owner?.id === this.#me;
  }

  // What the hub says.

  #happened({ topic, type, data }) {
    if (topic === this.#topic) this.#inRoom(type, data);
    else if (data.id !== this.#id) return;
    else if (type === "room.read")
      this.#room.read_up_to = Math.max(this.#room.read_up_to, data.read_up_to);
    else if (type === "room.involved") {
      this.#room.involvement = data.involvement;
      this.#showRoom();
    }
  }

  #inRoom(type, data) {
    if (type === "message.created") this.#created(data);
    else if (type === "message.updated" || type === "message.deleted") {
      this.#book.changed(data);
      if (data.deleted) this.#acts.deleted(data.id);
      this.#drawSoon();
    } else if (type === "room.updated") {
      Object.assign(this.#room, data);
      this.#showRoom();
    } else if (type === "room.deleted") this.#leave(gettext("This room was deleted."));
    else if (type === "member.joined" || type === "member.left")
      this.#member(data.user, type === "member.joined");
  }

  #created(item) {
    const isMine = item.author?.id === this.#me;
    if (isMine) this.#outbox.stored(item.client_id);
    else {
      this.#typing.stop(item.author?.id);
      this.#showTyping();
      if (!this.#list.isFollowing) this.#unseen.add(item.id);
      if (document.hidden) setNews(++this.#news);
    }
    this.#book.created(item);
    this.#room.last_message = Math.max(this.#room.last_message, item.id);
    this.#drawSoon();
  }

  #member(person, isIn) {
    const members = this.#room.members.filter(({ id }) => id !== person.id);
    this.#room.members = isIn ? [...members, person] : members;
    if (person.id === this.#me) {
      this.#room.joined = isIn;
      this.#room.involvement ??= "mentions";
    }
    this.#showRoom();
  }

  #heard({ topic, type, data }) {
    if (topic !== this.#topic || data.id === this.#me) return;
    if (type === "typing") this.#typing.hear(data, Date.now());
    else if (type === "presence.left") this.#typing.stop(data.id);
    else return;
    this.#showTyping();
  }

  #showTyping() {
    clearTimeout(this.#typingTimer);
    const now = Date.now();
    setText(this, "typing", typingWords(this.#typing.names(now)));
    const next = this.#typing.next(now);
    if (next !== null) this.#typingTimer = setTimeout(() => this.#showTyping(), next + 1);
  }

  #revoked() {
    this.#leave(gettext("You can no longer read this room."));
  }

  /** Nothing of the room stays on the page but what one was writing. */
  #leave(why) {
    if (this.#isGone) return;
    this.#isGone = true;
    this.#generation += 1;
    hub.unsubscribe(this.#topic);
    this.#acts.cancel();
    this.#composer.close();
    this.#book = new RoomBook({});
    this.#draw();
    for (const name of [
      "older",
      "newer",
      "start",
      "pill",
      "join",
      "archived",
      "side",
      "involve",
      "above",
    ])
      slot(this, name).hidden = true;
    this.querySelector(".room-tools").hidden = true;
    setText(this, "line", "");
    setText(this, "typing", "");
    setText(this, "gone-why", why);
    slot(this, "gone-draft").hidden = !this.#composer.text;
    slot(this, "gone").hidden = false;
  }

  // The window of messages.

  /** A reset: what happened meanwhile is in the snapshot, what happens from now on is held until it is shown. */
  async #refetch() {
    if (this.#isGone) return;
    const generation = ++this.#generation;
    this.#loading = true;
    hub.hold(this.#topic); // for the room
    hub.hold(this.#topic); // for its messages
    const seen = this.#list.isFollowing ? null : this.#list.firstSeen;
    for (let pause = AGAIN; ; pause = Math.min(2 * pause, LONGEST)) {
      const plan = this.#book.plan("newest");
      try {
        const room = await get(`/rooms/${this.#id}`);
        const page = await this.#around(seen);
        if (generation !== this.#generation) return;
        Object.assign(this.#room, room);
        this.#book.take(plan, page);
        this.#loading = false;
        this.#showRoom();
        this.#draw({ isNews: false });
        for (const { client_id } of this.#book.items) this.#outbox.stored(client_id);
        hub.release(this.#topic, room.cursor ?? null);
        hub.release(this.#topic, page.cursor);
        this.#markRead();
        return;
      } catch (error) {
        if (generation !== this.#generation) return;
        if (error.status === 404) this.#revoked();
        if (this.#isGone) return;
      }
      await new Promise((resolve) => setTimeout(resolve, pause));
      if (generation !== this.#generation) return;
    }
  }

  async #around(id) {
    if (id !== null) {
      try {
        return await get(`/rooms/${this.#id}/messages?around=${id}&limit=${PAGE}`);
      } catch (error) {
        if (error.status !== 404) throw error; // it is gone meanwhile
      }
    }
    return get(`/rooms/${this.#id}/messages?limit=${PAGE}`);
  }

  /** "older", "newer" or "newest"; one at a time. */
  async #load(how) {
    if (this.#loading || this.#isGone) return false;
    this.#loading = true;
    const generation = this.#generation;
    const plan = this.#book.plan(how);
    const from = { older: `before=${plan.before}&`, newer: `after=${plan.after}&`, newest: "" }[
      how
    ];
    try {
      const page = await get(`/rooms/${this.#id}/messages?${from}limit=${PAGE}`);
      if (generation !== this.#generation) return false;
      this.#book.take(plan, page);
      if (how !== "newest") this.#book.trim(how === "older" ? "bottom" : "top", MOST);
    } catch (error) {
      if (generation !== this.#generation) return false;
      this.#book.drop();
      setTimeout(() => {
        this.#loading = false;
        this.#list.look();
      }, AGAIN);
      if (how === "newest") sayError(error.message);
      return false;
    }
    this.#loading = false;
    this.#draw({ isNews: false });
    return true;
  }

  async #toNewest() {
    if (!this.#book.isAtEnd && !(await this.#load("newest"))) return;
    this.#list.toEnd();
    this.#moved();
    if (location.pathname !== `/rooms/${this.#id}/` || location.search)
      history.replaceState(null, "", `/rooms/${this.#id}/`);
  }

  /** Several changes at once are drawn together. */
  #drawSoon() {
    if (this.#isDrawn) return;
    this.#isDrawn = true;
    queueMicrotask(() => {
      if (this.#isDrawn && this.isConnected) this.#draw();
    });
  }

  #draw({ isNews = true } = {}) {
    this.#isDrawn = false;
    if (this.#book.items.length > MOST)
      if (this.#list.isFollowing) this.#book.trim("top", MOST);
      else if (this.#book.items.length > 2 * MOST) this.#book.trim("bottom", 2 * MOST);
    const waiting = this.#book.isAtEnd && !this.#isGone ? this.#waiting() : [];
    const rows = arrange([...this.#book.items, ...waiting], { me: this.#me, leftAt: this.#leftAt });
    slot(this, "older").hidden = this.#book.older === null;
    slot(this, "newer").hidden = this.#book.isAtEnd;
    slot(this, "start").hidden = this.#book.older !== null;
    slot(this, "empty").hidden = rows.length > 0;
    slot(this, "above").hidden ||=
      rows.some(({ line }) => line) && this.#book.get(this.#leftAt) !== undefined;
    this.#list.show(rows, { isNews });
    this.#moved();
  }

  /** What is not stored yet, as items that stay the same while nothing about them changes. */
  #waiting() {
    const author = { id: this.#me, name: document.body.dataset.name };
    const items = new Map();
    for (const { client_id, body, at, state, why } of this.#outbox.entries) {
      const key = `${client_id} ${state}`;
      const made = { id: 0, client_id, author, body, at, state, why: unsentWhy(why) };
      items.set(key, this.#unsent.get(key) ?? made);
    }
    this.#unsent = items;
    return [...items.values()];
  }

  #moved() {
    if (this.#isGone) return;
    if (this.#list.isFollowing) this.#unseen.clear();
    const count = this.#unseen.size;
    slot(this, "pill").hidden =
      !(count || this.#list.isFarUp || !this.#book.isAtEnd) || this.#list.isFollowing;
    const words = count
      ? fillIn(ngettext("%(count)s new", "%(count)s new", count), { count })
      : gettext("Jump to the newest");
    if (slot(this, "pill-word").textContent !== words) setText(this, "pill-word", words);
    slot(this, "pill").toggleAttribute("data-new", count > 0);
    this.#markRead();
  }

  // How far one has read.

  #looked = () => {
    if (!document.hidden) {
      this.#news = 0;
      setNews(0);
      this.#markRead();
    } else if (this.#book.isAtEnd && this.#list.isFollowing) {
      this.#leftAt = this.#book.last; // what comes now stands below a line when one is back
      this.#drawSoon();
    }
  };

  #markRead() {
    const isSeen = !document.hidden && this.#book.isAtEnd && this.#list.isFollowing;
    if (!isSeen || this.#isGone || !this.#room.joined || this.#loading) return;
    if (this.#book.last <= this.#room.read_up_to || this.#readTimer) return;
    const wait = Math.max(0, this.#readAt + READ_EVERY - Date.now());
    this.#readTimer = setTimeout(() => this.#sendRead(), wait);
  }

  async #sendRead() {
    this.#readAt = Date.now();
    const upTo = this.#book.last;
    const offset = parseCursor(hub.cursor)?.offsets.get(this.#topic);
    try {
      if (isBySocket() && offset !== undefined)
        await hub.request({ op: "read", topic: this.#topic, offset });
      else await send("POST", `/rooms/${this.#id}/read`, { up_to: upTo });
      this.#room.read_up_to = Math.max(this.#room.read_up_to, upTo);
    } catch {
      // The next message, look or connection tries again.
    }
    this.#readTimer = undefined;
    if (this.#book.last > upTo) this.#markRead();
  }

  // What one writes.

  #say(body) {
    this.#outbox.add({ client_id: newId(), body, at: new Date(hubNow()).toISOString() });
    this.#toNewest();
  }

  async #post({ client_id, body }) {
    let item;
    if (isBySocket()) item = await hub.request({ op: "post", topic: this.#topic, client_id, body });
    else if (hub.state === "live" || hub.state === "stopped")
      item = await send("POST", `/rooms/${this.#id}/messages`, { client_id, body });
    else throw new ApiError(0, { code: "offline" });
    this.#book.answered(item);
  }

  #typed() {
    if (!this.#isGone && this.#typing.type(Date.now()))
      hub.say({ op: "typing", topic: this.#topic });
  }

  async #edit({ id }, body) {
    this.#book.answered(await send("PATCH", `/rooms/${this.#id}/messages/${id}`, { body }));
    this.#drawSoon();
  }

  async #delete({ id }) {
    const item = await send("DELETE", `/rooms/${this.#id}/messages/${id}`);
    if (item.id) this.#book.answered(item);
    this.#drawSoon();
  }

  #editLast() {
    const mine = this.#book.items.findLast((item) => item.author?.id === this.#me && !item.deleted);
    const row = mine && this.#list.node(keyOf(mine));
    if (row && !this.#room.archived) this.#acts.edit(mine, row);
  }

  async #people(query) {
    const { items } = await get(`/people?q=${encodeURIComponent(query)}&room=${this.#id}&limit=8`);
    return items.map(({ name, username }) => ({
      insert: `@${username}`,
      label: name,
      hint: `@${username}`,
    }));
  }

  async #emojis(query) {
    this.#emoji ??= await fetch(this.dataset.emoji).then((answer) => answer.json());
    return matchingEmoji(this.#emoji, query).map(({ code, sign }) => ({
      insert: sign,
      label: `${sign} :${code}:`,
      hint: "",
    }));
  }

  // What one does.

  #click = (event) => {
    const act = event.target.closest("[data-act]")?.dataset.act;
    const row = event.target.closest("[data-client-id]");
    if (act === "retry") this.#outbox.retry(row.dataset.clientId);
    else if (act === "discard") {
      this.#outbox.discard(row.dataset.clientId);
      this.#composer.focus();
    } else if (event.target.closest('[data-slot="pill"]')) {
      this.#toNewest();
      if (matchMedia("(hover: hover)").matches) this.#composer.focus();
    } else if (event.target.closest('[data-slot="older"] a')) {
      event.preventDefault();
      this.#load("older");
    } else if (event.target.closest('[data-slot="newer"] a')) {
      event.preventDefault();
      this.#load("newer");
    } else if (event.target.closest('[data-slot="people-button"]')) {
      event.preventDefault();
      this.#fold(!this.hasAttribute("data-side"));
    } else if (event.target.closest('[data-slot="side-close"]')) this.#fold(false);
  };

  #fold(isOpen) {
    this.toggleAttribute("data-side", isOpen);
    slot(this, isOpen ? "side-close" : "people-button").focus();
  }

  #elsewhere = ({ target }) => {
    const menu = slot(this, "involve");
    if (menu.open && !menu.contains(target)) menu.open = false;
  };

  /** Up and down from message to message; Tab then leads to what can be done with it. */
  #press = (event) => {
    if (event.key === "Escape" && this.hasAttribute("data-side")) this.#fold(false);
    const isPlain = !event.ctrlKey && !event.metaKey && !event.altKey && !event.shiftKey;
    if (!isPlain || event.defaultPrevented || !event.target.matches(".room-log, .message")) return;
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (by && this.#step(by)) event.preventDefault();
  };

  #key = (event) => {
    const by = { next: 1, previous: -1 }[event.detail];
    if (by && this.#step(by)) event.preventDefault();
  };

  #step(by) {
    const rows = [...slot(this, "talk").querySelectorAll(".message[data-id]")];
    if (!rows.length) return false;
    const here = rows.indexOf(document.activeElement.closest(".message"));
    const at = here < 0 ? (by < 0 ? rows.length - 1 : -1) : here + by;
    if (at < 0) return false;
    if (at >= rows.length) this.#composer.focus();
    else {
      rows[at].focus({ preventScroll: true });
      rows[at].scrollIntoView({ block: "nearest" });
    }
    return true;
  }

  #chosen = async ({ target }) => {
    if (target.name !== "involvement") return;
    const before = this.#room.involvement;
    this.#room.involvement = target.value;
    this.#showRoom();
    try {
      await send("PUT", `/rooms/${this.#id}/involvement`, { value: target.value });
    } catch (error) {
      this.#room.involvement = before;
      this.#showRoom();
      sayError(error.message);
    }
  };

  #join = async (event) => {
    event.preventDefault();
    try {
      await send("PUT", `/rooms/${this.#id}/members/${encodeURIComponent(this.#data.username)}`);
    } catch (error) {
      sayError(error.message);
    }
  };

  #showRoom() {
    if (this.#isGone) return;
    const { name, topic_line, archived, joined, involvement, members } = this.#room;
    const others = members.filter(({ id }) => id !== this.#me).map((person) => person.name);
    const title = name || others.join(", ") || gettext("You alone");
    for (const place of ["name", "start-name"])
      if (slot(this, place).textContent !== title) setText(this, place, title);
    setTitle(title);
    setText(this, "line", topic_line);
    slot(this, "line").title = topic_line;
    setText(this, "members-count", members.length);
    slot(this, "archived").hidden = !archived;
    slot(this, "composer").hidden = archived;
    slot(this, "join").hidden = joined || archived;
    slot(this, "involve").hidden = !joined;
    for (const choice of this.querySelectorAll(".room-choice input")) {
      choice.checked = choice.value === involvement;
      if (choice.checked) setText(this, "involvement", choice.dataset.word);
    }
    this.querySelector("hub-room-people").show(members);
  }
}

const isBySocket = () => hub.state === "live" && hub.transport === "websocket";

/** A random UUID; over plain http browsers do not make one themselves. */
function newId() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

customElements.define("hub-room", HubRoom);
