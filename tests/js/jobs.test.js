import assert from "node:assert/strict";
import { test } from "node:test";

globalThis.document = { body: { dataset: { language: "en", timeZone: "UTC" } } };

const { Day } = await import("../../web/static/hub/day.js");
const { LogBook } = await import("../../web/static/hub/logbook.js");
const { Pace } = await import("../../web/static/hub/pace.js");
const { duration, left, number, rate, size } = await import("../../web/static/hub/when.js");

// Rate and time left.

function watched(...steps) {
  const pace = new Pace();
  for (const [at, done] of steps) pace.see(done, at);
  return pace;
}

const steadily = (seconds, perSecond) =>
  Array.from({ length: seconds * 5 + 1 }, (_, i) => [i / 5, (i / 5) * perSecond]);

test("nothing is said before a run has been watched for a while", () => {
  const pace = watched(...steadily(4, 100));
  assert.equal(pace.rate(4), null);
  assert.equal(pace.left(1000, 4), null);
});

test("a steady run says its rate and the time left", () => {
  const pace = watched(...steadily(20, 100));
  assert.ok(Math.abs(pace.rate(20) - 100) < 1);
  assert.ok(Math.abs(pace.left(10_000, 20) - 80) < 1);
  assert.ok(Math.abs(pace.left(10_000, 22) - 78) < 1);
});

test("without a total there is a rate and no time left", () => {
  const pace = watched(...steadily(20, 100));
  assert.ok(pace.rate(20) > 0);
  assert.equal(pace.left(null, 20), null);
});

test("what the page saw at once counts from the start of the run", () => {
  const pace = watched([0, 0], [60, 600]);
  assert.ok(Math.abs(pace.left(1200, 60) - 60) < 1);
});

test("a run that changes its pace gives no time left until it is steady again", () => {
  const pace = watched(...steadily(60, 100));
  let done = 6000;
  for (let at = 61; at <= 70; at += 1) {
    done += 1;
    pace.see(done, at);
  }
  assert.equal(pace.left(7000, 70), null);
  for (let at = 71; at <= 400; at += 1) {
    done += 1;
    pace.see(done, at);
  }
  assert.ok(Math.abs(pace.left(7000, 400) - (7000 - done)) < 60);
});

test("a run that stands still is not said to go on", () => {
  const pace = watched(...steadily(20, 100));
  assert.equal(pace.rate(45), null);
  assert.equal(pace.left(10_000, 45), null);
});

test("slow steps count with the pauses between them", () => {
  const pace = watched([0, 0], [30, 1], [60, 2], [90, 3]);
  assert.ok(Math.abs(pace.rate(100) - 1 / 30) < 0.001);
  assert.ok(Math.abs(pace.left(13, 90) - 300) < 5);
});

test("the same number again is no step", () => {
  const pace = watched(...steadily(20, 100), [21, 2000], [22, 2000], [23, 2300]);
  assert.ok(Math.abs(pace.rate(23) - 100) < 2);
});

test("times and rates read as people say them", () => {
  assert.equal(duration(400), "under a second");
  assert.equal(duration(59_900), "59 s");
  assert.equal(duration(60_000), "1 min");
  assert.equal(duration(192_000), "3 min 12 s");
  assert.equal(duration(7_200_000), "2 h");
  assert.equal(duration(93_600_000), "1 d 2 h");
  assert.equal(left(3), "a few seconds left");
  assert.equal(left(41), "about 50 s left");
  assert.equal(left(61), "about 2 min left");
  assert.equal(left(3700), "about 1 h 10 min left");
  assert.equal(rate(1240.4), "1,240/s");
  assert.equal(rate(0.2), "12/min");
  assert.equal(rate(2 / 3600), "2/h");
  assert.equal(number(100_000), "100,000");
  assert.equal(size(999), "999 B");
  assert.equal(size(4_230_000), "4.2 MB");
});

// The log.

const line = (n, attempt = 1) => ({ n, attempt, at: "", text: `line ${n}` });
const lines = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => line(from + i));
const said = (from, to, next = to + 1) => ({
  attempt: 1,
  n: from,
  lines: lines(from, to).map(({ text }) => text),
  next,
});
const numbers = (shown) => shown.map(({ n }) => n);
/** What the API answers: the lines of a log that has `head` of them. */
const answer = ({ from, limit }, head) => lines(from, Math.min(head, from + limit - 1));

test("lines that are whispered in order are shown as they come", () => {
  const log = new LogBook();
  assert.deepEqual(numbers(log.hear(said(1, 3), true)), [1, 2, 3]);
  assert.deepEqual(numbers(log.hear(said(4, 4), true)), [4]);
  assert.equal(log.missing(), null);
});

test("lines that are said twice are shown once", () => {
  const log = new LogBook(lines(1, 10), 10);
  assert.deepEqual(numbers(log.hear(said(8, 12), true)), [11, 12]);
  assert.deepEqual(numbers(log.hear(said(8, 12), true)), []);
  assert.equal(log.missing(), null);
});

test("a lost whisper leaves a gap that is fetched", () => {
  const log = new LogBook(lines(1, 10), 10);
  assert.deepEqual(log.hear(said(15, 20), true), []);
  const gap = log.missing();
  assert.equal(gap.from, 11);
  assert.deepEqual(numbers(log.take(gap, answer(gap, 20))), numbers(lines(11, 20)));
  assert.equal(log.missing(), null);
});

test("what was too long to be whispered is fetched", () => {
  const log = new LogBook(lines(1, 10), 10);
  assert.deepEqual(numbers(log.hear(said(11, 12, 41), true)), [11, 12]);
  assert.equal(log.missing().from, 13);
  assert.deepEqual(log.hear({ attempt: 1, n: 41, next: 50 }, true), []);
  assert.equal(log.head, 49);
});

test("what is heard during a fetch is not lost", () => {
  const log = new LogBook(lines(1, 10), 10);
  log.hear(said(15, 20), true);
  const gap = log.missing();
  assert.deepEqual(log.hear(said(21, 25), true), []);
  log.take(gap, answer(gap, 20));
  const rest = log.missing();
  assert.equal(rest.from, 21);
  log.take(rest, answer(rest, 25));
  assert.equal(log.last, 25);
  assert.equal(log.missing(), null);
});

test("a log that ends before it was said to is not asked for again and again", () => {
  const log = new LogBook(lines(1, 10), 10);
  log.learn(20);
  const gap = log.missing();
  log.take(gap, answer(gap, 15));
  assert.equal(log.missing(), null);
  assert.equal(log.last, 15);
});

test("somebody far behind gets the newest lines, not all of those between", () => {
  const log = new LogBook(lines(1, 10), 10);
  log.learn(100_000);
  const far = log.missing();
  assert.equal(far.how, "replace");
  log.take(far, answer(far, 100_000));
  assert.equal(log.last, 100_000);
  assert.equal(log.missing(), null);
  const older = log.older();
  assert.equal(older.from + older.limit, log.first);
  log.take(older, answer(older, 100_000));
  assert.deepEqual(numbers(log.lines), numbers(lines(log.first, 100_000)));
});

test("however much comes, the window stays small and whole", () => {
  const log = new LogBook();
  for (let n = 1; n <= 100_000; n += 100) {
    log.hear(said(n, n + 99), true);
    log.trim("top");
  }
  assert.equal(log.lines.length, 2000);
  assert.deepEqual(numbers(log.lines), numbers(lines(98_001, 100_000)));
});

test("while somebody reads further up, their lines stay and the new ones are counted", () => {
  const log = new LogBook(lines(1, 2000), 2000);
  assert.deepEqual(log.hear(said(2001, 2005), false), []);
  assert.equal(log.below, 5);
  assert.equal(log.trim("top"), 0);
  const newer = log.newer();
  assert.equal(newer.from, 2001);
  log.take(newer, answer(newer, 2005));
  assert.equal(log.trim("top"), 5);
  assert.equal(log.first, 6);
});

test("reading up to the beginning lets go of the end", () => {
  const log = new LogBook(lines(2001, 4000), 4000);
  for (let plan = log.older(); plan; plan = log.older()) {
    log.take(plan, answer(plan, 4000));
    log.trim("bottom");
  }
  assert.deepEqual(numbers(log.lines), numbers(lines(1, 2000)));
  assert.equal(log.below, 2000);
});

test("lines that are kept no more are not asked for again and again", () => {
  const log = new LogBook(lines(501, 600), 600);
  log.take(log.older(), []);
  assert.equal(log.older(), null);
});

test("lines that come while somebody reads further up are counted, shown or not", () => {
  const log = new LogBook(lines(1, 10), 10);
  log.hear(said(11, 15), false);
  assert.equal(log.unseen, 5);
  assert.equal(log.below, 0);
  log.hear({ attempt: 1, n: 16, next: 23 }, false);
  assert.equal(log.unseen, 12);
  const gap = log.missing();
  log.take(gap, answer(gap, 22));
  assert.equal(log.unseen, 12);
  log.see();
  assert.equal(log.unseen, 0);
});

// The log's element, on a page of plain objects.

const place = () => {
  const element = new EventTarget();
  element.children = [];
  element.append = (...more) => element.children.push(...more);
  element.replaceChildren = (...all) => {
    element.children = all;
  };
  element.querySelectorAll = () => element.children;
  element.dataset = {};
  return element;
};

async function logElement() {
  let made;
  globalThis.HTMLElement ??= class extends EventTarget {};
  globalThis.customElements ??= {
    define: (_, element) => {
      made = element;
    },
  };
  globalThis.document.createElement = place;
  await import("../../web/static/hub/elements/hub-log.js");
  return made;
}

test("a fetch that fails is tried again by the clock, and never where the log is gone", async (t) => {
  const Log = await logElement();
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const statuses = [503, 503, 404];
  let asked = 0;
  t.mock.method(globalThis, "fetch", async () => {
    asked += 1;
    return new Response("{}", { status: statuses[asked - 1] ?? 500 });
  });
  const places = {
    ".log": place(),
    '[data-slot="jump"]': place(),
    '[data-slot="jump-word"]': place(),
  };
  const log = new Log();
  log.dataset = { id: "x", head: "0" };
  log.isConnected = true;
  log.querySelector = (selector) => places[selector];
  log.connectedCallback();
  const settle = () => new Promise((done) => setImmediate(done));
  log.learn(5);
  await settle();
  assert.equal(asked, 1);
  log.learn(6);
  log.hear({ attempt: 1, n: 7, next: 9 });
  await settle();
  assert.equal(asked, 1);
  for (const expected of [2, 3, 3, 3]) {
    t.mock.timers.tick(2000);
    await settle();
    assert.equal(asked, expected);
  }
  log.learn(20);
  await settle();
  assert.equal(asked, 3);
});

// The hours of a day.

function dayOf(first, length) {
  const begin = Date.parse(first);
  const at = (place) => new Date(begin + place * 3_600_000).toISOString();
  return new Day(Array.from({ length }, (_, place) => ({ at: at(place), failed: 0, lost: 0 })));
}

for (const [first, length, last] of [
  ["2026-03-28T23:00:00Z", 23, "2026-03-29T21:59:59Z"],
  ["2026-10-24T22:00:00Z", 25, "2026-10-25T22:59:59Z"],
  ["2026-11-21T15:00:00Z", 24, "2026-11-22T14:59:59Z"],
]) {
  test(`a day of ${length} hours counts all of them and nothing of the next day`, () => {
    const day = dayOf(first, length);
    const end = Date.parse(last);
    day.at(end).failed += 1;
    assert.equal(day.hours[length - 1].failed, 1);
    assert.equal(day.at(Date.parse(first) - 1), undefined);
    assert.equal(day.at(end + 1000), undefined);
    assert.equal(day.turn(end), false);
    assert.equal(day.turn(end + 1000), true);
    assert.equal(day.begins(0), end + 1000);
    assert.deepEqual(day.hours, Array(24).fill({ failed: 0, lost: 0 }));
  });
}

test("who slept over days wakes up in the right one", () => {
  const day = dayOf("2026-11-21T15:00:00Z", 24);
  assert.equal(day.turn(Date.parse("2026-11-25T03:00:00Z")), true);
  assert.equal(day.begins(0), Date.parse("2026-11-24T15:00:00Z"));
});
