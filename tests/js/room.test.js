import assert from "node:assert/strict";
import { beforeEach, mock, test } from "node:test";

globalThis.document = { body: { dataset: { language: "en", timeZone: "UTC" } } };
globalThis.location = { origin: "http://hub.test", pathname: "/", search: "", hash: "" };

const { RoomBook } = await import("../../web/static/hub/roombook.js");
const { arrange, keyOf } = await import("../../web/static/hub/roomgroups.js");
const { Outbox } = await import("../../web/static/hub/roomoutbox.js");
const { Drafts } = await import("../../web/static/hub/drafts.js");
const { ReadMarks } = await import("../../web/static/hub/roommarks.js");
const { RoomPresence } = await import("../../web/static/hub/roompresence.js");
const { isComposing } = await import("../../web/static/hub/dom.js");
const { Typing, typingWords } = await import("../../web/static/hub/roomtyping.js");
const { completed, matchingEmoji, wordAt } = await import("../../web/static/hub/roomcomplete.js");

class Storage {
  #kept = new Map();
  get length() {
    return this.#kept.size;
  }
  key(at) {
    return [...this.#kept.keys()][at];
  }
  getItem(key) {
    return this.#kept.get(key) ?? null;
  }
  setItem(key, value) {
    this.#kept.set(key, String(value));
  }
  removeItem(key) {
    this.#kept.delete(key);
  }
}

const refusing = {
  get length() {
    throw new Error("no");
  },
  getItem() {
    throw new Error("no");
  },
  setItem() {
    throw new Error("full");
  },
  removeItem() {
    throw new Error("no");
  },
};

const message = (id, more = {}) => ({
  id,
  client_id: `c${id}`,
  author: { id: 1, name: "Alice" },
  at: "2026-11-22T10:00:00Z",
  body: `m${id}`,
  edited_at: null,
  deleted: false,
  ...more,
});
const span = (first, last) =>
  Array.from({ length: last - first + 1 }, (_, at) => message(first + at));
const down = (first, last) => span(first, last).reverse();
const ids = (book) => book.items.map(({ id }) => id);

// The window.

test("a new message stands at the end, once", () => {
  const book = new RoomBook({ items: span(1, 3) });
  assert.equal(book.created(message(4)), true);
  assert.equal(book.created(message(4)), false);
  assert.deepEqual(ids(book), [1, 2, 3, 4]);
});

test("one's own answer before the events of others takes its place in order", () => {
  const book = new RoomBook({ items: span(1, 3) });
  book.answered(message(6));
  book.created(message(4));
  book.created(message(5));
  book.created(message(6));
  assert.deepEqual(ids(book), [1, 2, 3, 4, 5, 6]);
});

test("what stands below the window is not shown until one comes there", () => {
  const book = new RoomBook({ items: span(1, 3), newer: 3 });
  assert.equal(book.created(message(9)), false);
  assert.deepEqual(ids(book), [1, 2, 3]);
  book.take(book.plan("newer"), { items: down(4, 9), next: 4, newer: null });
  assert.deepEqual(ids(book), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
  assert.equal(book.isAtEnd, true);
});

test("what comes while the last page is under way is not lost, and not doubled", () => {
  const book = new RoomBook({ items: span(1, 3), newer: 3 });
  const plan = book.plan("newer");
  book.created(message(5));
  book.created(message(6));
  book.take(plan, { items: down(4, 5), next: 4, newer: null });
  assert.deepEqual(ids(book), [1, 2, 3, 4, 5, 6]);
});

test("what is changed while its page is under way is shown as changed", () => {
  const book = new RoomBook({ items: span(11, 12), older: 11 });
  const plan = book.plan("older");
  book.changed(message(9, { body: "", deleted: true }));
  book.take(plan, { items: down(8, 10), next: null });
  assert.deepEqual(ids(book), [8, 9, 10, 11, 12]);
  assert.equal(book.get(9).deleted, true);
  assert.equal(book.older, null);
});

test("a changed message above the window does not come into it", () => {
  const book = new RoomBook({ items: span(11, 12), older: 11 });
  book.changed(message(5, { body: "x" }));
  book.answered(message(5, { body: "x" }));
  assert.deepEqual(ids(book), [11, 12]);
});

test("an answer that comes after a later event changes nothing", () => {
  const book = new RoomBook({ items: span(1, 1) });
  book.changed(message(1, { body: "", deleted: true }));
  book.answered(message(1, { body: "edited", edited_at: "2026-11-22T10:01:00Z" }));
  assert.equal(book.get(1).deleted, true);
});

test("an answer that says what its event has said changes nothing, one that is later does", () => {
  const book = new RoomBook({ items: span(1, 1) });
  const known = message(2);
  book.created(known);
  book.answered(message(2));
  assert.equal(book.get(2), known);
  book.answered(message(2, { body: "edited", edited_at: "2026-11-22T10:01:00Z" }));
  assert.equal(book.get(2).body, "edited");
  book.answered(message(2, { body: "", deleted: true }));
  assert.equal(book.get(2).deleted, true);
});

test("a long window is cut at the far end and can be made long again", () => {
  const book = new RoomBook({ items: span(1, 10) });
  book.trim("top", 4);
  assert.deepEqual(ids(book), [7, 8, 9, 10]);
  assert.equal(book.older, 7);
  book.take(book.plan("older"), { items: down(3, 6), next: 3 });
  book.trim("bottom", 4);
  assert.deepEqual(ids(book), [3, 4, 5, 6]);
  assert.equal(book.newer, 6);
  assert.equal(book.created(message(11)), false);
});

test("a page that would leave a hole, for its neighbours were let go of meanwhile, is not taken", () => {
  const book = new RoomBook({ items: span(11, 20), older: 11 });
  const plan = book.plan("older");
  book.trim("top", 4);
  book.take(plan, { items: down(1, 10), next: null });
  assert.deepEqual(ids(book), [17, 18, 19, 20]);
  assert.equal(book.older, 17);
});

test("taken anew, only the page is shown, with what came since it was asked for", () => {
  const book = new RoomBook({ items: span(1, 3) });
  const plan = book.plan("newest");
  book.created(message(63));
  book.take(plan, { items: down(13, 62), next: 13 });
  assert.equal(book.items[0].id, 13);
  assert.equal(book.last, 63);
});

// Groups, days and the unread line.

const by = (author, id, at) => message(id, { author: author && { id: author, name: "x" }, at });
const lines = (items, more = { me: 1 }) =>
  arrange(items, more).map(({ day, line, item, isFirst }) =>
    day ? `day ${day}` : line ? "new" : `${isFirst ? "" : "+"}${item.id || item.client_id}`,
  );

test("what one person says within a minute stands under one name", () => {
  const items = [
    by(1, 1, "2026-11-22T10:00:00Z"),
    by(1, 2, "2026-11-22T10:00:59Z"),
    by(1, 3, "2026-11-22T10:01:00Z"),
    by(1, 4, "2026-11-22T10:14:58Z"),
    by(2, 5, "2026-11-22T10:14:59Z"),
    by(null, 6, "2026-11-22T10:15:01Z"),
    by(null, 7, "2026-11-22T10:15:02Z"),
  ];
  assert.deepEqual(lines(items), ["day 2026-11-22", "1", "+2", "3", "4", "5", "6", "+7"]);
});

test("a day begins a group, however close the messages are", () => {
  const items = [by(1, 1, "2026-11-22T23:59:59Z"), by(1, 2, "2026-11-23T00:00:01Z")];
  assert.deepEqual(lines(items), ["day 2026-11-22", "1", "day 2026-11-23", "2"]);
});

test("what waits since yesterday stands below today's without a second yesterday", () => {
  const waiting = { ...by(1, 0, "2026-11-22T10:00:00Z"), client_id: "c" };
  const items = [by(1, 1, "2026-11-22T09:00:00Z"), by(1, 2, "2026-11-23T09:00:00Z"), waiting];
  assert.deepEqual(lines(items), ["day 2026-11-22", "1", "day 2026-11-23", "2", "c"]);
});

test("a message keeps its place in the page when it is stored", () => {
  const waiting = { ...by(1, 0, "2026-11-22T10:00:00Z"), client_id: "c" };
  assert.equal(keyOf({ ...waiting, id: 7 }), keyOf(waiting));
  assert.notEqual(keyOf({ ...waiting, author: { id: 2 } }), keyOf(waiting));
  assert.notEqual(keyOf(by(null, 1)), keyOf(by(null, 2)));
});

test("the unread line stands above the first message of somebody else", () => {
  const items = [1, 1, 2, 2].map((author, at) => by(author, at + 1, "2026-11-22T10:00:00Z"));
  const at = (unreadFrom) => lines(items, { me: 1, unreadFrom });
  assert.deepEqual(at(0), ["day 2026-11-22", "1", "+2", "new", "3", "+4"]);
  assert.deepEqual(at(2), ["day 2026-11-22", "1", "+2", "new", "3", "+4"]);
  assert.deepEqual(at(4), ["day 2026-11-22", "1", "+2", "3", "new", "+4"]);
  assert.deepEqual(at(5), ["day 2026-11-22", "1", "+2", "3", "+4"]);
  assert.deepEqual(at(null), at(5));
});

test("there is no unread line while what is unread begins above the window", () => {
  const items = [5, 6, 7].map((id) => by(2, id, "2026-11-22T10:00:00Z"));
  const at = (unreadFrom, isFromStart = false) =>
    lines(items, { me: 1, unreadFrom, isFromStart }).indexOf("new");
  assert.equal(at(3), -1);
  assert.equal(at(3, true), 1);
  assert.equal(at(5), 1);
  assert.equal(at(6), 2);
  assert.equal(at(null), -1);
  assert.equal(lines([], { me: 1, unreadFrom: 3, isFromStart: false }).length, 0);
});

test("what is not stored yet stands under one's own name", () => {
  const waiting = { ...by(1, 0, "2026-11-22T10:00:30Z"), client_id: "c" };
  assert.deepEqual(lines([by(1, 1, "2026-11-22T10:00:00Z"), waiting]), [
    "day 2026-11-22",
    "1",
    "+c",
  ]);
});

// What is sent.

let storage;
let sent;
let answers;

beforeEach(() => {
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout"] });
  storage = new Storage();
  sent = [];
  answers = [];
});

const settle = async () => {
  for (let at = 0; at < 10; at += 1) await new Promise((done) => setImmediate(done));
};

function outbox(kept = storage) {
  return new Outbox({
    storage: kept,
    prefix: "p.",
    post: ({ client_id, body }) => {
      sent.push(`${client_id} ${body}`);
      const answer = answers.shift();
      return answer ? Promise.reject(Object.assign(new Error(answer), { code: answer })) : null;
    },
    told: () => {},
  });
}

const states = (box) => box.entries.map(({ client_id, state }) => `${client_id} ${state}`);
const add = (box, id) =>
  box.add({ client_id: id, body: `body ${id}`, at: `2026-01-01T00:00:0${id}Z` });

test("messages go out one after the other and are forgotten when they are stored", async () => {
  const box = outbox();
  add(box, "1");
  add(box, "2");
  await settle();
  assert.deepEqual(sent, ["1 body 1", "2 body 2"]);
  assert.deepEqual(box.entries, []);
  assert.equal(storage.length, 0);
});

test("without a connection they wait, and go out with the same ids when there is one", async () => {
  answers = ["offline"];
  const box = outbox();
  add(box, "1");
  add(box, "2");
  await settle();
  assert.deepEqual(sent, ["1 body 1"]);
  assert.deepEqual(states(box), ["1 waiting", "2 waiting"]);
  box.wake();
  await settle();
  assert.deepEqual(sent, ["1 body 1", "1 body 1", "2 body 2"]);
});

test("a reload sends what was not known to be stored, in order and with the same ids", async () => {
  answers = ["offline"];
  const before = outbox();
  add(before, "2");
  add(before, "1");
  await settle();
  before.stop();
  sent = [];
  const after = outbox();
  assert.deepEqual(states(after), ["1 waiting", "2 waiting"]);
  after.wake();
  await settle();
  assert.deepEqual(sent, ["1 body 1", "2 body 2"]);
});

test("what the hub refuses is shown as failed and holds nothing else up", async () => {
  answers = ["conflict"];
  const box = outbox();
  add(box, "1");
  add(box, "2");
  await settle();
  assert.deepEqual(states(box), ["1 failed"]);
  box.wake();
  await settle();
  assert.deepEqual(states(box), ["1 failed"]);
  box.retry("1");
  await settle();
  assert.deepEqual(box.entries, []);
});

test("what the hub has refused is not sent again by a reload or another tab, unless somebody wants it", async () => {
  answers = ["conflict"];
  const before = outbox();
  const other = outbox();
  add(before, "1");
  other.reread();
  await settle();
  other.reread();
  before.stop();
  const after = outbox();
  assert.equal(after.entries[0].why, "conflict");
  for (const box of [other, after]) {
    assert.deepEqual(states(box), ["1 failed"]);
    box.wake();
  }
  await settle();
  assert.equal(sent.length, 1);
  answers = ["offline"];
  after.retry("1");
  await settle();
  assert.deepEqual(states(outbox()), ["1 waiting"]);
});

test("what fails for the moment is tried again by itself, then left to the person", async () => {
  answers = ["timeout", "unavailable", "timeout", "timeout", "timeout"];
  const box = outbox();
  add(box, "1");
  for (const pause of [1000, 3000, 8000]) {
    await settle();
    assert.deepEqual(states(box), ["1 waiting"]);
    mock.timers.tick(pause);
  }
  await settle();
  assert.deepEqual(states(box), ["1 failed"]);
  box.wake();
  await settle();
  assert.equal(sent.length, 5);
});

test("what an event says is stored is not sent again", async () => {
  answers = ["timeout"];
  const box = outbox();
  add(box, "1");
  await settle();
  assert.equal(box.stored("1"), true);
  mock.timers.tick(10_000);
  await settle();
  assert.equal(sent.length, 1);
});

test("what another tab has discarded is gone here, what it has sent is seen here", async () => {
  answers = ["offline", "offline"];
  const here = outbox();
  add(here, "1");
  await settle();
  const there = outbox();
  there.discard("1");
  add(there, "2");
  await settle();
  here.reread();
  assert.deepEqual(states(here), ["2 waiting"]);
});

test("what another tab was closed with is sent from here", async () => {
  answers = ["offline"];
  const here = outbox();
  const there = outbox();
  add(there, "1");
  await settle();
  here.reread();
  there.stop();
  mock.timers.tick(8000);
  await settle();
  assert.deepEqual(sent, ["1 body 1", "1 body 1"]);
  assert.deepEqual(states(here), []);
});

test("what can not be kept is not lost to another tab's news", async () => {
  answers = ["offline"];
  const box = outbox(refusing);
  add(box, "1");
  await settle();
  box.reread();
  assert.deepEqual(states(box), ["1 waiting"]);
});

test("what is given up is handed back as it was written", async () => {
  answers = ["offline"];
  const box = outbox();
  add(box, "1");
  add(box, "2");
  await settle();
  assert.deepEqual(box.withdraw(), ["body 1", "body 2"]);
  assert.equal(storage.length, 0);
  box.wake();
  await settle();
  assert.equal(sent.length, 1);
});

test("a browser that keeps nothing still sends", async () => {
  const box = outbox(refusing);
  add(box, "1");
  await settle();
  assert.deepEqual(sent, ["1 body 1"]);
});

// Read marks.

function reading({ readUpTo = 1, answers = [] } = {}) {
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout", "Date"], now: 10_000 });
  const place = { seen: readUpTo, told: [], answers };
  const tell = async (upTo) => {
    place.told.push(upTo);
    const answer = answers.shift() ?? upTo;
    if (answer === "offline") throw new Error(answer);
    return { read_up_to: answer };
  };
  const room = { id: 1, joined: true, read_up_to: readUpTo };
  place.marks = new ReadMarks(room, () => place.seen, tell);
  place.room = room;
  place.after = async (ms) => {
    mock.timers.tick(ms);
    await settle();
  };
  return place;
}

test.afterEach(() => {
  document.hidden = false;
});

test("what is seen is told at once, then at most once a second, and each message once", async () => {
  const place = reading();
  for (const id of [2, 3, 4]) {
    place.seen = id;
    place.marks.look();
    await place.after(0);
  }
  assert.deepEqual(place.told, [2]);
  await place.after(1000);
  assert.deepEqual(place.told, [2, 4]);
  place.marks.look();
  await place.after(5000);
  assert.deepEqual(place.told, [2, 4]);
});

test("what comes after one has turned away is not read, though a mark was due", async () => {
  const place = reading();
  place.seen = 2;
  place.marks.look();
  await place.after(0);
  place.seen = 3;
  place.marks.look();
  document.hidden = true;
  place.seen = 4;
  await place.after(1000);
  assert.deepEqual(place.told, [2]);
  document.hidden = false;
  place.marks.look();
  await place.after(0);
  assert.deepEqual(place.told, [2, 4]);
});

test("what the hub does not know as read yet is told again", async () => {
  const place = reading({ answers: [1, 2] });
  place.seen = 3;
  place.marks.look();
  await place.after(0);
  await place.after(1000);
  await place.after(1000);
  await place.after(5000);
  assert.deepEqual(place.told, [3, 3, 3]);
});

test("a mark that fails is tried again when there is reason to", async () => {
  const place = reading({ answers: ["offline"] });
  place.seen = 2;
  place.marks.look();
  await place.after(5000);
  assert.deepEqual(place.told, [2]);
  place.marks.look();
  await place.after(1000);
  assert.deepEqual(place.told, [2, 2]);
});

test("who only looks in, and what another tab has told, needs no mark", async () => {
  const place = reading();
  place.seen = 5;
  place.room.joined = false;
  place.marks.look();
  await place.after(5000);
  place.room.joined = true;
  place.marks.learn(5);
  place.marks.look();
  await place.after(5000);
  assert.deepEqual(place.told, []);
});

// Drafts.

function visit(state = null) {
  return {
    state,
    replaceState(next) {
      this.state = next;
    },
  };
}

test("drafts are each person's and each room's own", () => {
  const alice = new Drafts(storage, 1, visit());
  const bob = new Drafts(storage, 2, visit());
  alice.write(7, "half a sen");
  assert.equal(alice.read(7), "half a sen");
  assert.equal(alice.read(8), "");
  assert.equal(bob.read(7), "");
  alice.write(7, "  ");
  assert.equal(storage.length, 0);
  assert.equal(new Drafts(null, 1, visit()).read(7), "");
});

test("a draft that can't be stored stays with the tab's history until it can", () => {
  const here = visit({ of: "another" });
  const refused = new Drafts(refusing, 1, here);
  assert.equal(refused.write(7, "half a sen"), false);
  assert.equal(refused.unstored(7), "half a sen");
  assert.equal(refused.unstored(8), undefined);
  assert.equal(new Drafts(storage, 2, here).unstored(7), undefined);
  const stored = new Drafts(storage, 1, here);
  assert.equal(stored.write(7, "half a sentence"), true);
  assert.equal(stored.unstored(7), undefined);
  assert.equal(stored.read(7), "half a sentence");
  assert.equal(here.state.of, "another");
});

// Who is here.

test("what is whispered while the list is fetched is later than the list", async () => {
  const presence = new RoomPresence();
  const joined = (id) => presence.hear({ type: "presence.joined", data: { id, name: "x" } });
  const here = () => presence.people.map(({ id, away }) => `${id}${away ? " away" : ""}`);
  joined(1);
  let answer;
  const fetch = presence.fetch(() => new Promise((resolve) => (answer = resolve)));
  assert.equal(presence.hear({ type: "presence.left", data: { id: 1 } }), true);
  joined(2);
  presence.hear({ type: "presence.changed", data: { id: 3, name: "x", away: true } });
  assert.equal(presence.hear({ type: "typing", data: { id: 4 } }), false);
  answer([1, 3].map((id) => ({ id, name: "x", away: false })));
  await fetch;
  assert.deepEqual(here(), ["3 away", "2"]);
  await assert.rejects(presence.fetch(() => Promise.reject(new Error("offline"))));
  assert.deepEqual(here(), ["3 away", "2"]);
});

test("a key that ends a composition is none of the page's", () => {
  assert.equal(isComposing({ isComposing: true, keyCode: 13 }), true);
  assert.equal(isComposing({ isComposing: false, keyCode: 229 }), true);
  assert.equal(isComposing({ isComposing: false, keyCode: 13 }), false);
});

// Typing.

test("typing is said once a second and believed for five", () => {
  const typing = new Typing();
  assert.deepEqual(
    [0, 500, 999, 1000, 1500].map((now) => typing.type(now)),
    [true, false, false, true, false],
  );
  typing.hear({ id: 1, name: "Alice" }, 0);
  typing.hear({ id: 2, name: "Bob" }, 1000);
  assert.deepEqual(typing.names(4999), ["Alice", "Bob"]);
  assert.equal(typing.next(4999), 1);
  assert.deepEqual(typing.names(5000), ["Bob"]);
  typing.stop(2);
  assert.equal(typing.next(5000), null);
});

test("typing is said in a sentence", () => {
  assert.equal(typingWords([]), "");
  assert.equal(typingWords(["Alice"]), "Alice is typing…");
  assert.equal(typingWords(["Alice", "Bob"]), "Alice and Bob are typing…");
  assert.equal(typingWords(["A", "B", "C", "D"]), "Several people are typing…");
});

// Completion.

test("a person is completed after @, an emoji after two letters", () => {
  const word = (text) => wordAt(text, text.length);
  assert.deepEqual(word("hi @al"), { sign: "@", query: "al", from: 3, to: 6 });
  assert.deepEqual(word("@"), { sign: "@", query: "", from: 0, to: 1 });
  assert.equal(word("@서연").query, "서연");
  assert.equal(word("me@example"), null);
  assert.equal(word("at 10:30"), null);
  assert.equal(word(":t"), null);
  assert.equal(word("yes :ta").query, "ta");
  assert.equal(word("http://x"), null);
  assert.equal(word("`@al"), null);
  assert.equal(word("```\n@al"), null);
  assert.equal(word("```\nx\n```\n@al").query, "al");
});

test("what is completed stands in place of the word, with one space behind", () => {
  assert.deepEqual(completed("hi @al", { from: 3, to: 6 }, "@alice"), {
    text: "hi @alice ",
    caret: 10,
  });
  assert.deepEqual(completed("hi @al there", { from: 3, to: 6 }, "@alice"), {
    text: "hi @alice there",
    caret: 10,
  });
});

test("the emoji whose name begins as typed comes first, each once", () => {
  const table = { tada: "🎉", satellite: "🛰", "+1": "👍", thumbsup: "👍", ta: "x" };
  assert.deepEqual(
    matchingEmoji(table, "ta").map(({ code }) => code),
    ["ta", "tada"],
  );
  assert.deepEqual(
    matchingEmoji(table, "at").map(({ code }) => code),
    ["satellite"],
  );
});
