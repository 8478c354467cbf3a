/*
 * A reset means "your position can't be continued": the page fetches what it shows anew, and goes on from the cursor
 * that the snapshot was taken at. A snapshot replaces whole lists, which show several topics each: while it is under
 * way the events of all of them are held, not only of the one that was reset. Several resets at once cost one fetch.
 */

import { get } from "./api.js";
import { hub } from "./client.js";

const GATHER = 30; // ms: an epoch's change resets every topic at once
const SPACING = 500; // ms from one snapshot to the next
const SPREAD = 5000; // ms over which the pages of an office ask that have the same reason at the same moment
const PAUSE = 2000; // ms before another try, doubled up to LONGEST
const LONGEST = 30_000;

const refreshers = new Set();
const resets = new Set(); // topics that wait for a snapshot, however long it takes
const held = new Set(); // these, and during a fetch every other topic of the page
let asked = 0; // how often a fresh snapshot was asked for
let running = false;
let timer;
let due = Number.POSITIVE_INFINITY; // when the next snapshot is fetched, while none is
let fetching = false;
let shownAt = Number.NEGATIVE_INFINITY;

/** `refresh(snapshot)` shows a fresh `GET /api/v1/dashboard`; it may fetch more and return a promise. */
export function onSnapshot(refresh) {
  refreshers.add(refresh);
  return () => refreshers.delete(refresh);
}

/** Fetch and show everything anew, without a reset: what one may read has changed, or a list has a gap. */
export function refreshAll() {
  refreshBy(0);
}

/** The same for what happens to every page at once: each at a moment of its own, seconds later. */
export function refreshSoon() {
  refreshBy(Math.random() * SPREAD);
}

function refreshBy(delay) {
  asked += 1;
  if (running) return;
  const now = Date.now();
  const at = Math.max(now + GATHER, shownAt + SPACING) + delay;
  if (at >= due) return;
  due = at;
  clearTimeout(timer);
  timer = setTimeout(run, at - now);
}

const { topics = "" } = document.body.dataset;
const named = topics.split(",").filter(Boolean);

/** Whether `GET /api/v1/dashboard` shows the topic: those of rooms and jobs have snapshots of their own. */
export const isOurs = (topic) => topic.startsWith("team.") || named.includes(topic);

hub.on("reset", ({ topic, reason }) => {
  if (!isOurs(topic)) return;
  hub.hold(topic); // whatever held it before was let go by the reset
  held.add(topic);
  resets.add(topic);
  if (reason === "epoch") refreshSoon();
  else refreshAll();
});

hub.on("revoked", ({ topic }) => {
  if (!isOurs(topic)) return;
  held.delete(topic);
  resets.delete(topic);
  refreshAll();
});

// A topic that was new to us during the fetch: the snapshot may lack what it just said.
hub.on("event", ({ topic }) => {
  if (fetching && isOurs(topic)) asked += 1;
});

function holdAll() {
  for (const topic of new Set([...named, ...hub.topics.filter(isOurs)])) {
    if (held.has(topic)) continue;
    held.add(topic);
    hub.hold(topic);
  }
}

function release(list, cursor) {
  for (const topic of list) {
    held.delete(topic);
    hub.release(topic, cursor);
  }
}

async function run() {
  running = true;
  due = Number.POSITIVE_INFINITY;
  let pause = PAUSE;
  let shown = -1;
  let snapshot;
  while (shown !== asked) {
    const now = asked; // a reset that comes during the fetch makes what it brings too old
    holdAll();
    fetching = true;
    try {
      snapshot = await get("/dashboard");
      await Promise.all([...refreshers].map((refresh) => refresh(snapshot)));
      shown = now;
    } catch {
      fetching = false;
      const others = [...held].filter((topic) => !resets.has(topic));
      release(others, null); // they need not wait
      await new Promise((resolve) => setTimeout(resolve, pause));
      pause = Math.min(2 * pause, LONGEST);
    }
  }
  fetching = false;
  running = false;
  shownAt = Date.now();
  resets.clear();
  release([...held], snapshot.cursor);
}
