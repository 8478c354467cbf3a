import { send } from "../api.js";
import { hub } from "../client.js";
import { setText, slot } from "../dom.js";
import { RoomActs } from "../roomacts.js";
import { RoomComposer } from "../roomcomposer.js";
import { arrange, keyOf, reaches } from "../roomgroups.js";
import { RoomHead } from "../roomhead.js";
import { RoomHistory } from "../roomhistory.js";
import { RoomList } from "../roomlist.js";
import { ReadMarks } from "../roommarks.js";
import { Sending } from "../roomsending.js";
import { sourcesOf } from "../roomsources.js";
import { TypingLine } from "../roomtyping.js";
import { RoomView } from "../roomview.js";
import { setNews } from "../title.js";
import { fillIn, gettext, ngettext } from "../words.js";
import { sayError } from "./hub-toasts.js";
import "./hub-room-people.js";

const MOST = 300; // messages in the page; beyond, the far end is let go of
const MIDNIGHT = 60_000; // ms between looks at whether "Today" still is

/** One room: its messages, live; what is written here, at once. */
class HubRoom extends HTMLElement {
  #room;
  #topic;
  #me;
  #target;
  #isSuperuser;
  #unreadFrom; // the unread line stands above what others say from this id on; null for none
  #isUnreadAbove; // it would stand above what the page has
  #history;
  #list;
  #acts;
  #composer;
  #sending;
  #isNewestOwed = false;
  #head;
  #marks;
  #typing;
  #unseen = new Set(); // ids that came while one reads further up
  #news = 0; // that came while nobody looked
  #isGone = false;
  #isDue = false; // drawn with what else changes at this moment
  #offs = [];
  #timer;

  connectedCallback() {
    const data = JSON.parse(this.querySelector("#room-data").textContent);
    this.#room = data.room;
    this.#topic = `room.${data.room.id}`;
    this.#me = Number(document.body.dataset.user);
    this.#target = data.target;
    this.#isSuperuser = data.superuser;
    this.#unreadFrom = data.unread_from;
    this.#isUnreadAbove = !slot(this, "above").hidden;
    this.#build(data);
    this.#listen();
    this.#head.show();
    this.#draw();
    this.#begin();
    hub.subscribe(this.#topic, this.dataset.cursor, { present: true });
  }

  disconnectedCallback() {
    for (const off of this.#offs) off();
    clearInterval(this.#timer);
    for (const part of [this.#history, this.#list, this.#composer, this.#sending, this.#head])
      part.stop();
    this.#marks.stop();
    this.#typing.clear();
    hub.unsubscribe(this.#topic);
  }

  #build(data) {
    const { id } = this.#room;
    const me = this.#me;
    const sources = sourcesOf(id, this.dataset.emoji);
    const talk = slot(this, "talk");
    this.#typing = new TypingLine(slot(this, "typing"));
    this.#head = new RoomHead(this, { room: this.#room, me, username: data.username });
    this.#marks = new ReadMarks(this.#room, () => (this.#isAtEnd ? this.#book.last : 0));
    this.#history = new RoomHistory(id, data, {
      fetched: (how) => this.#fetched(how),
      renewed: (room) => this.#renewed(room),
      failed: () => sayError(gettext("The messages could not be fetched. Try again in a moment.")),
      gone: () => this.#leave(gettext("You can no longer read this room.")),
      seen: () => (this.#list.isFollowing ? null : this.#list.firstSeen),
    });
    this.#list = new RoomList({
      log: slot(this, "log"),
      talk,
      view: new RoomView(this, { room: id, me, target: this.#target }),
      on: {
        top: () => this.#book.older !== null && this.#history.load("older"),
        bottom: () => this.#book.isAtEnd || this.#history.load("newer"),
        moved: () => this.#moved(),
        isAtEnd: () => this.#book.isAtEnd,
      },
    });
    this.#acts = new RoomActs(this, talk, {
      sources,
      item: (of) => this.#book.get(of),
      mayEdit: (item) => item.author?.id === me && !this.#room.archived,
      mayDelete: (item) => item.author?.id === me || this.#manages,
      edit: (item, body) => this.#change("PATCH", item, { body }),
      delete: (item) => this.#change("DELETE", item),
      touched: (item) => this.#touched(item),
      kept: (text) => this.#composer.keep(text),
      back: () => this.#composer.focus(),
    });
    this.#composer = new RoomComposer(slot(this, "composer"), {
      room: id,
      user: me,
      sources,
      on: {
        send: (body) => this.#say(body),
        typed: () => this.#typed(),
        up: () => this.#editLast(),
      },
    });
    this.#sending = new Sending(id, {
      author: { id: me, name: document.body.dataset.name },
      on: { changed: () => this.#drawSoon(), stored: (item) => this.#answered(item) },
    });
  }

  #listen() {
    const listen = (target, name, then) => {
      target.addEventListener(name, then);
      this.#offs.push(() => target.removeEventListener(name, then));
    };
    const ours = (then) => (frame) => frame.topic === this.#topic && !this.#isGone && then(frame);
    this.#offs.push(
      hub.on("event", (event) => this.#happened(event)),
      hub.on(
        "whisper",
        ours((whisper) => this.#heard(whisper)),
      ),
      hub.on(
        "reset",
        ours(() => this.#history.renew()),
      ),
      hub.on(
        "revoked",
        ours(() => this.#leave(gettext("You can no longer read this room."))),
      ),
      hub.on("welcome", () => this.#marks.look()),
      hub.on("state", ({ state }) => {
        if (state === "live" || state === "stopped") this.#sending.wake();
      }),
    );
    listen(this, "click", this.#click);
    listen(slot(this, "log"), "keydown", this.#press);
    listen(document, "hub-key", this.#key);
    listen(document, "visibilitychange", this.#looked);
    this.#timer = setInterval(() => this.#drawSoon(), MIDNIGHT);
  }

  /** Where one begins to read: at the message asked for, where one left off, else at the end. */
  #begin() {
    const log = slot(this, "log");
    const target = this.#book.get(this.#target);
    if (target && this.#list.reveal(keyOf(target))) return;
    if (!this.#book.isAtEnd) {
      const isDown = new URLSearchParams(location.search).has("after");
      log.scrollTop = isDown ? 0 : log.scrollHeight;
      return;
    }
    this.#list.toEnd();
    const line = this.#list.node("line");
    const { top } = log.getBoundingClientRect();
    if (line && line.getBoundingClientRect().top < top) this.#list.reveal("line");
    this.#moved();
    if (hasKeyboard()) this.#composer.focus();
  }

  get #book() {
    return this.#history.book;
  }

  get #isAtEnd() {
    return !this.#isGone && this.#book.isAtEnd && this.#list.isFollowing;
  }

  get #unread() {
    return { unreadFrom: this.#unreadFrom, isFromStart: this.#book.older === null };
  }

  get #manages() {
    return this.#isSuperuser || this.#room.owner?.id === this.#me;
  }

  // What the hub says.

  #happened({ topic, type, data }) {
    if (this.#isGone) return;
    if (topic === this.#topic) this.#inRoom(type, data);
    else if (data.id !== this.#room.id) return;
    else if (type === "room.read") this.#marks.learn(data.read_up_to);
    else if (type === "room.involved") this.#changed({ involvement: data.involvement });
  }

  #inRoom(type, data) {
    if (type === "message.created") this.#created(data);
    else if (type === "message.updated" || type === "message.deleted") {
      if (data.deleted) {
        this.#acts.deleted(data.id);
        this.#unseen.delete(data.id);
      }
      this.#book.changed(data);
      this.#drawSoon();
    } else if (type === "room.updated") this.#changed(data);
    else if (type === "room.deleted") this.#leave(gettext("This room was deleted."));
    else if (type === "member.joined" || type === "member.left")
      this.#member(data.user, type === "member.joined");
  }

  #created(item) {
    this.#stored(item);
    if (item.author?.id !== this.#me) {
      this.#typing.stop(item.author?.id);
      if (!this.#list.isFollowing) this.#unseen.add(item.id);
      if (document.hidden) setNews(++this.#news);
    }
    this.#book.created(item);
    this.#drawSoon();
  }

  #answered(item) {
    this.#stored(item);
    this.#book.answered(item);
  }

  /** The event or the answer says so, whichever comes first; the other may be lost. */
  #stored(item) {
    if (this.#sending.stored(item) && this.#isNewestOwed) queueMicrotask(() => this.#toSaid());
  }

  #changed(room) {
    Object.assign(this.#room, room);
    this.#head.show();
  }

  #member(person, isIn) {
    const others = this.#room.members.filter(({ id }) => id !== person.id);
    this.#changed({ members: isIn ? [...others, person] : others });
    if (person.id !== this.#me) return;
    this.#changed({ joined: isIn, involvement: this.#room.involvement ?? "mentions" });
    this.#marks.look();
  }

  #heard({ type, data }) {
    if (type === "typing" && data.id !== this.#me) this.#typing.hear(data);
    else if (type === "presence.left") this.#typing.stop(data.id);
  }

  #leave(why) {
    this.#isGone = true;
    hub.unsubscribe(this.#topic);
    this.#acts.close();
    for (const body of this.#sending.withdraw()) this.#composer.keep(body);
    this.#history.stop();
    this.#history.book.clear();
    this.querySelector("#room-data").remove();
    this.#draw();
    this.#composer.close();
    this.#head.leave(why, this.#composer.text);
  }

  // What is shown.

  #fetched(how) {
    if (how === "older") this.#book.trim("bottom", MOST);
    else if (how === "newer") this.#book.trim("top", MOST);
    this.#draw({ isNews: false });
  }

  #renewed(room) {
    this.#changed(room);
    this.#marks.learn(room.read_up_to);
    this.#lookAbove(room);
    this.#draw({ isNews: false });
  }

  /** Of what came meanwhile the page has the end alone. */
  #lookAbove({ unread, read_up_to }) {
    const isUnread = ({ id, author, deleted }) =>
      id > read_up_to && author?.id !== this.#me && !deleted;
    if (!this.#book.isAtEnd || unread <= this.#book.items.filter(isUnread).length) return;
    this.#unreadFrom = read_up_to + 1;
    this.#isUnreadAbove = true;
  }

  #touched(item) {
    this.#list.pinned = item && keyOf(item);
    if (!item) this.#drawSoon();
  }

  #drawSoon() {
    if (this.#isDue || this.#isGone) return;
    this.#isDue = true;
    queueMicrotask(() => {
      if (this.#isDue && this.isConnected) this.#draw();
    });
  }

  #draw({ isNews = true } = {}) {
    this.#isDue = false;
    const book = this.#book;
    const had = document.hidden && reaches(book.items, this.#unread);
    if (this.#list.isFollowing) book.trim("top", MOST);
    else book.trim("bottom", 2 * MOST); // nobody is moved for what comes while they read
    for (const item of book.items) this.#stored(item);
    const waiting = this.#isGone ? [] : this.#sending.items;
    const rows = arrange([...book.items, ...waiting], { me: this.#me, ...this.#unread });
    slot(this, "older").hidden = book.older === null;
    slot(this, "start").hidden = book.older !== null;
    slot(this, "newer").hidden = book.isAtEnd;
    slot(this, "empty").hidden = rows.length > 0;
    if (reaches(book.items, this.#unread)) this.#isUnreadAbove = false;
    else if (had) this.#isUnreadAbove = true; // let go of before anybody saw it
    slot(this, "above").hidden = !this.#isUnreadAbove || this.#isGone;
    this.#list.show(rows, { isNews });
    this.#acts.drawn();
    this.#moved();
  }

  #moved() {
    if (this.#isGone) return;
    const { isFollowing, isFarUp } = this.#list;
    if (isFollowing) this.#unseen.clear();
    const count = this.#unseen.size;
    const pill = slot(this, "pill");
    pill.hidden = isFollowing || !(count || isFarUp || !this.#book.isAtEnd);
    pill.toggleAttribute("data-new", count > 0);
    const words = count
      ? fillIn(ngettext("%(count)s new", "%(count)s new", count), { count })
      : gettext("Jump to the newest");
    if (slot(this, "pill-word").textContent !== words) setText(this, "pill-word", words);
    this.#marks.look();
  }

  /** @returns whether it is shown */
  async #toNewest() {
    if (!this.#book.isAtEnd && !(await this.#history.newest())) return false;
    this.#isNewestOwed = false;
    this.#list.toEnd();
    this.#moved();
    const address = `/rooms/${this.#room.id}/`;
    if (location.pathname + location.search !== address)
      history.replaceState(history.state, "", address);
    return true;
  }

  async #toUnread() {
    if (!(await this.#history.around(this.#unreadFrom))) return;
    const [first] = this.#book.items;
    if (first?.id > this.#unreadFrom) {
      this.#unreadFrom = first.id; // nothing has the id itself
      this.#draw({ isNews: false });
    }
    this.#list.reveal("line");
    this.#list.node("line")?.nextElementSibling.focus({ preventScroll: true }); // the link is gone
  }

  #looked = () => {
    if (document.hidden) {
      if (!this.#isAtEnd || this.#isUnreadAbove) return; // what was unread before is still to be found
      this.#unreadFrom = this.#book.last + 1; // the line stands above what comes now
      this.#drawSoon();
      return;
    }
    this.#news = 0;
    setNews(0);
    this.#marks.look();
  };

  // What one does.

  #say(body) {
    this.#sending.add(body);
    this.#draw();
    this.#list.toEnd();
    this.#toSaid();
  }

  /** To what was just said here; where the end of the room can't be fetched now, once it is stored. */
  #toSaid() {
    this.#isNewestOwed = true;
    this.#toNewest();
  }

  #typed() {
    if (!this.#isGone && this.#typing.type()) hub.say({ op: "typing", topic: this.#topic });
  }

  async #change(method, { id }, body) {
    const item = await send(method, `/rooms/${this.#room.id}/messages/${id}`, body);
    if (item.id) this.#book.answered(item);
    this.#drawSoon();
  }

  /** The window at the end of the room has it, or has none: further up is another one. */
  async #editLast() {
    if (this.#room.archived || !(await this.#toNewest())) return;
    const mine = this.#book.items.findLast((item) => item.author?.id === this.#me && !item.deleted);
    const row = mine && this.#list.node(keyOf(mine));
    if (row) this.#acts.edit(mine, row);
  }

  #click = (event) => {
    const at = (what) => event.target.closest(what);
    const id = at("[data-client-id]")?.dataset.clientId;
    if (at("[data-act=retry]")) this.#sending.retry(id);
    else if (at("[data-act=discard]")) {
      this.#sending.discard(id);
      this.#composer.focus();
    } else if (at("[data-slot=pill]")) {
      this.#toNewest();
      if (hasKeyboard()) this.#composer.focus();
    } else if (at("[data-slot=above] a")) {
      event.preventDefault(); // by its address it would be read by now, and have no line
      this.#toUnread();
    } else if (at("[data-slot=older] a, [data-slot=newer] a")) {
      event.preventDefault();
      this.#history.load(at("[data-slot=older]") ? "older" : "newer");
    }
  };

  /** Up and down from message to message; Tab then leads to what can be done with it. */
  #press = (event) => {
    const isPlain = !event.ctrlKey && !event.metaKey && !event.altKey && !event.shiftKey;
    if (!isPlain || event.defaultPrevented || !event.target.matches(".room-log, .message")) return;
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (by) this.#step(by, event);
  };

  #key = (event) => {
    const by = { next: 1, previous: -1 }[event.detail];
    if (by) this.#step(by, event);
  };

  #step(by, event) {
    const step = this.#list.step(by);
    if (step === "below") this.#composer.focus();
    if (step) event.preventDefault();
  }
}

const hasKeyboard = () => matchMedia("(hover: hover)").matches;

customElements.define("hub-room", HubRoom);
