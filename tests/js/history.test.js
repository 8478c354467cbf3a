import assert from "node:assert/strict";
import { beforeEach, mock, test } from "node:test";

globalThis.document = {
  body: { dataset: { language: "en", timeZone: "UTC" } },
  querySelector: () => null,
};
globalThis.location = { origin: "http://hub.test", pathname: "/", search: "", hash: "" };
let waiting; // for the API's answer: {address, answer(body), fail()}
globalThis.fetch = (address) =>
  new Promise((resolve, reject) => {
    waiting.push({
      address: address.replace("/api/v1/rooms/1", ""),
      answer: (body) => resolve(new Response(JSON.stringify(body))),
      fail: () => reject(new Error("offline")),
    });
  });

const { RoomHistory } = await import("../../web/static/hub/roomhistory.js");

const settle = async () => {
  for (let at = 0; at < 10; at += 1) await new Promise((done) => setImmediate(done));
};
const span = (first, last) =>
  Array.from({ length: last - first + 1 }, (_, at) => ({ id: first + at }));
const page = (first, last, more = {}) => ({
  items: span(first, last).reverse(),
  next: first,
  newer: null,
  cursor: null,
  ...more,
});
const ids = ({ book }) => book.items.map(({ id }) => id);

let said;
let history;

beforeEach(() => {
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout"] });
  waiting = [];
  said = [];
  history = new RoomHistory(
    1,
    { items: span(11, 13), older: 11, newer: 13 },
    {
      fetched: (how) => said.push(how),
      renewed: () => said.push("renewed"),
      failed: () => said.push("failed"),
      gone: () => said.push("gone"),
      seen: () => 12,
    },
  );
});

async function answer(part, body) {
  await settle();
  const at = waiting.findIndex(({ address }) => address.includes(part));
  assert.notEqual(at, -1, `${part} was not asked for`);
  waiting.splice(at, 1)[0].answer(body);
  await settle();
}

test("one page is asked for at a time", async () => {
  history.load("older");
  history.load("newer");
  assert.deepEqual(
    waiting.map(({ address }) => address),
    ["/messages?before=11&limit=50"],
  );
  await answer("before", page(8, 10));
  assert.deepEqual(ids(history), [8, 9, 10, 11, 12, 13]);
  assert.deepEqual(said, ["older"]);
});

test("the newest comes in place of a page that is under way", async () => {
  history.load("older");
  const newest = history.newest();
  await answer("/messages?limit", page(51, 53));
  assert.equal(await newest, true);
  await answer("before", page(8, 10));
  assert.deepEqual(ids(history), [51, 52, 53]);
  assert.deepEqual(said, ["newest"]);
});

test("the newest waits for no page that failed", async () => {
  history.load("newer");
  await settle();
  waiting.pop().fail();
  await settle();
  history.load("newer");
  assert.equal(waiting.length, 0);
  const newest = history.newest();
  await answer("/messages?limit", page(51, 53));
  assert.equal(await newest, true);
  assert.equal(history.book.isAtEnd, true);
});

test("the newest is asked for once, however often it is wished for", async () => {
  const both = [history.newest(), history.newest()];
  await settle();
  assert.equal(waiting.length, 1);
  await answer("/messages?limit", page(51, 53));
  assert.deepEqual(await Promise.all(both), [true, true]);
});

test("a newest that fails is said to have failed, and can be asked for again at once", async () => {
  const newest = history.newest();
  await settle();
  waiting.pop().fail();
  assert.equal(await newest, false);
  assert.deepEqual(said, ["failed"]);
  const again = history.newest();
  await answer("/messages?limit", page(51, 53));
  assert.equal(await again, true);
});

test("the newest waits for a renewal, also for one that comes meanwhile", async () => {
  const newest = history.newest();
  history.renew();
  await answer("/messages?limit", page(51, 53)); // asked for before the reset
  await answer("", { cursor: null });
  await answer("around=12", page(11, 13, { newer: 13 }));
  assert.deepEqual(ids(history), [11, 12, 13]);
  await answer("/messages?limit", page(52, 54));
  assert.equal(await newest, true);
  assert.deepEqual(ids(history), [52, 53, 54]);
  assert.deepEqual(said, ["renewed", "newest"]);
});

test("when it is over nothing is asked for", async () => {
  history.stop();
  history.load("older");
  assert.equal(await history.newest(), false);
  assert.equal(waiting.length, 0);
});
