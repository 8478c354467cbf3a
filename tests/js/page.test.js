import assert from "node:assert/strict";
import { test } from "node:test";

// A page of plain objects: one socket driven by hand, answers of the API given when the test says so.
const page = new EventTarget();
page.body = {
  dataset: {
    user: "1",
    topics: "user.1,group.dashboard,group.announcements",
    language: "en",
    timeZone: "Pacific/Auckland",
    unread: "100",
  },
};
page.visibilityState = "visible";
page.querySelector = () => null;
globalThis.document = page;
globalThis.location = { origin: "http://hub.test", pathname: "/", search: "", hash: "" };
const view = new EventTarget();
for (const name of ["addEventListener", "removeEventListener", "dispatchEvent"])
  globalThis[name] = view[name].bind(view);
globalThis.reportError = (error) => assert.fail(error);
let socket;
globalThis.WebSocket = class {
  constructor() {
    socket = this;
  }
  send() {}
  close() {}
  says(frame) {
    this.onmessage({ data: JSON.stringify(frame) });
  }
};
const waiting = [];
globalThis.fetch = (address) => new Promise((resolve) => waiting.push({ address, resolve }));

const { hub } = await import("../../web/static/hub/client.js");
const { onSnapshot, refreshAll, refreshSoon } = await import("../../web/static/hub/snapshot.js");
const { dayLabel, dayOf } = await import("../../web/static/hub/when.js");
const { worded } = await import("../../web/static/hub/mentions.js");
const { get } = await import("../../web/static/hub/api.js");

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

async function asked() {
  for (let i = 0; i < 200 && !waiting.length; i += 1) await sleep(10);
  assert.equal(waiting.length, 1);
}

async function answer(body, status = 200) {
  await asked();
  waiting.pop().resolve(new Response(JSON.stringify(body), { status }));
  await sleep(20);
}

let list = [];
onSnapshot(({ items }) => {
  list = [...items];
});
hub.on("event", ({ topic, offset }) => list.push(`${topic}:${offset}`));

const says = (topic, offset) =>
  socket.says({ op: "event", topic, offset, type: "test.event", data: {}, at: "" });

const AT = { "user.1": 5, "group.announcements": 5, "group.dashboard": 5 };
const cursorOf = (offsets) =>
  ["e1", ...Object.entries(offsets).map(([topic, offset]) => `${topic}:${offset}`)].join("~");

hub.start({ cursor: cursorOf(AT), user: "1" });
socket.says({
  op: "welcome",
  protocol: 1,
  user: { id: 1, name: "Alice" },
  connection: "c",
  epoch: "e1",
  cursor: cursorOf(AT),
  offsets: AT,
  heartbeat: 25,
});

test("a snapshot loses no event of the topics that were not reset", async () => {
  socket.says({ op: "reset", topic: "group.announcements", offset: 9, reason: "expired" });
  await asked();
  says("user.1", 6);
  says("group.announcements", 10);
  assert.deepEqual(list, []);
  await answer({ cursor: cursorOf({ ...AT, "group.announcements": 9 }), items: ["shown"] });
  assert.deepEqual(list.sort(), ["group.announcements:10", "shown", "user.1:6"]);
  says("user.1", 7);
  assert.equal(list.at(-1), "user.1:7");
});

test("a reset during the fetch is heeded, and its events are kept as well", async () => {
  refreshAll();
  await asked();
  socket.says({ op: "reset", topic: "user.1", offset: 20, reason: "expired" });
  says("user.1", 21);
  await answer({ cursor: cursorOf({ "user.1": 7 }), items: ["old"] });
  assert.deepEqual(list, ["old"]);
  await answer({ cursor: cursorOf({ "user.1": 20 }), items: ["new"] });
  assert.deepEqual(list, ["new", "user.1:21"]);
});

test("what a team that was new to us says during the fetch is fetched again", async () => {
  refreshAll();
  await asked();
  says("team.3", 4);
  await answer({ cursor: cursorOf({ "user.1": 21 }), items: ["without"] });
  await answer({ cursor: cursorOf({ "user.1": 21, "team.3": 4 }), items: ["with"] });
  assert.deepEqual(list, ["with"]);
  says("team.3", 5);
  assert.deepEqual(list, ["with", "team.3:5"]);
});

test("while no snapshot can be had, what was not reset goes on", async () => {
  refreshAll();
  await asked();
  says("user.1", 22);
  assert.equal(list.at(-1), "team.3:5");
  await answer({ error: { code: "unavailable", detail: "x" } }, 503);
  assert.equal(list.at(-1), "user.1:22");
  says("user.1", 23);
  assert.equal(list.at(-1), "user.1:23");
  await answer({ cursor: cursorOf({ "user.1": 23 }), items: ["at last"] });
  assert.deepEqual(list, ["at last"]);
});

test("many wishes for a refresh cost few fetches", async () => {
  let fetches = 0;
  const serve = setInterval(() => {
    for (const { resolve } of waiting.splice(0)) {
      fetches += 1;
      resolve(new Response(JSON.stringify({ cursor: cursorOf({ "user.1": 23 }), items: [] })));
    }
  }, 5);
  for (let i = 0; i < 40; i += 1) {
    refreshAll();
    await sleep(10);
  }
  await sleep(600);
  clearInterval(serve);
  assert.ok(fetches <= 6, `${fetches} fetches`);
});

/** How long after this, in ms, the snapshot is asked for that `Math.random` has put at this part of the spread. */
async function delayOf(part, act) {
  await sleep(600);
  const { random } = Math;
  Math.random = () => part;
  const began = Date.now();
  act();
  Math.random = random;
  await asked();
  const delay = Date.now() - began;
  await answer({ cursor: cursorOf({ "user.1": 23 }), items: [] });
  return delay;
}

test("what happens to all pages at once is asked for by each at its own moment", async () => {
  const epoch = () => socket.says({ op: "reset", topic: "user.1", offset: 23, reason: "epoch" });
  const expired = () =>
    socket.says({ op: "reset", topic: "user.1", offset: 23, reason: "expired" });
  for (const act of [epoch, refreshSoon]) {
    assert.ok((await delayOf(0.2, act)) > 900);
    assert.ok((await delayOf(0, act)) < 500);
  }
  assert.ok((await delayOf(0.9, expired)) < 500);
});

test("who is asked for something now does not wait for its moment", async () => {
  const hurried = await delayOf(0.9, () => {
    refreshSoon();
    refreshAll();
  });
  assert.ok(hurried < 500);
});

test("a day is named as it is, wherever its reader lives", () => {
  const at = new Date("2026-11-18T01:00:00Z");
  const now = new Date("2026-11-22T01:00:00Z");
  assert.equal(dayOf(at), "2026-11-18");
  assert.equal(dayLabel("2026-11-18", now), "Wednesday 18 November");
  assert.equal(dayLabel("2026-11-22", now), "Today");
  assert.equal(dayLabel("2026-11-21", now), "Yesterday");
  assert.equal(dayLabel("2025-11-21", now), "21 November 2025");
});

test("the day before a change of clocks is yesterday too", () => {
  const lateOnTheLongDay = new Date("2026-04-05T11:30:00Z"); // 23:30 there, after 25 hours
  assert.equal(dayOf(lateOnTheLongDay), "2026-04-05");
  assert.equal(dayLabel("2026-04-04", lateOnTheLongDay), "Yesterday");
});

test("a refusal is said in the reader's language, an unknown one in the hub's own words", async () => {
  globalThis.gettext = (text) => `(${text})`;
  for (const [status, error, said] of [
    [403, { code: "forbidden", detail: "You may not" }, /^\(You may not do this/],
    [404, { code: "not_found", detail: "gone" }, /^\(/],
    [429, { code: "too_many_requests", detail: "x" }, /^\(/],
    [500, undefined, /^\(/],
    [418, { code: "teapot", detail: "I am one" }, /^I am one$/],
  ]) {
    const call = assert.rejects(get("/x"), ({ message, code }) => {
      assert.match(message, said);
      assert.equal(code, error?.code ?? "");
      return true;
    });
    await answer({ error }, status);
    await call;
  }
  delete globalThis.gettext;
});

test("a mention's title is in the language of the page, whatever the event says", () => {
  const korean = {
    "%(who)s mentioned you in %(room)s": "%(who)s님이 %(room)s에서 나를 언급했어요",
    "%(who)s mentioned you": "%(who)s님이 나를 언급했어요",
  };
  globalThis.gettext = (text) => korean[text] ?? text;
  for (const [kind, title, shown] of [
    [
      "room.mention",
      "Bob B mentioned you in Night shift",
      "Bob B님이 Night shift에서 나를 언급했어요",
    ],
    ["room.mention", "Bob mentioned you", "Bob님이 나를 언급했어요"],
    ["room.mention", "Bob님이 나를 언급했어요", "Bob님이 나를 언급했어요"],
    ["orders.late", "Bob mentioned you", "Bob mentioned you"],
  ])
    assert.deepEqual(worded({ id: 7, kind, title }), { id: 7, kind, title: shown });
  delete globalThis.gettext;
});

test("a call that is not answered ends, and does not pass for one that is", async (t) => {
  const asked = [];
  const { timeout } = AbortSignal;
  t.mock.method(AbortSignal, "timeout", (ms) => {
    asked.push(ms);
    return timeout.call(AbortSignal, 10);
  });
  const late = (signal) =>
    new Promise((_, reject) => (signal.onabort = () => reject(signal.reason)));
  const cut = (signal) => Object.assign(new Response(), { json: () => late(signal) });
  const answers = [
    late,
    cut,
    async () => new Response("<html>", { status: 200 }),
    async () => new Response("<html>", { status: 502 }),
    async () => new Response(null, { status: 204 }),
  ];
  t.mock.method(globalThis, "fetch", async (_address, { signal }) => answers.shift()(signal));
  const codes = [];
  for (let at = 0; at < 5; at += 1)
    codes.push(await get("/x").then(Object.keys, ({ status, code }) => `${status} ${code}`));
  assert.deepEqual(codes, ["0 timeout", "0 timeout", "0 timeout", "502 ", []]);
  assert.deepEqual(new Set(asked), new Set([30_000]));
});

test.after(() => {
  hub.stop();
});
