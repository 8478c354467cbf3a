/*
 * A reset means "your position can't be continued": the topic's events are held, the page fetches what it shows
 * anew, and goes on from the cursor that the snapshot was taken at. Several resets at once cost one fetch.
 */

import { get } from "./api.js";
import { hub } from "./client.js";

const GATHER = 30; // ms: an epoch's change resets every topic at once
const PAUSE = 2000; // ms before another try, doubled up to LONGEST
const LONGEST = 30_000;

const refreshers = new Set();
const held = new Set();
let asked = 0; // how often a fresh snapshot was asked for
let running = false;

/** `refresh(snapshot)` shows a fresh `GET /api/v1/dashboard`; it may fetch more and return a promise. */
export function onSnapshot(refresh) {
  refreshers.add(refresh);
  return () => refreshers.delete(refresh);
}

/** Fetch and show everything anew, without a reset: what one may read has changed. */
export function refreshAll() {
  asked += 1;
  if (running) return;
  running = true;
  setTimeout(run, GATHER);
}

const isOurs = (topic) =>
  topic.startsWith("team.") || document.body.dataset.topics.split(",").includes(topic);

hub.on("reset", ({ topic }) => {
  if (!isOurs(topic)) return;
  if (!held.has(topic)) hub.hold(topic);
  held.add(topic);
  refreshAll();
});

hub.on("revoked", ({ topic }) => {
  if (!isOurs(topic)) return;
  held.delete(topic);
  refreshAll();
});

async function run() {
  let pause = PAUSE;
  let shown = -1;
  let snapshot;
  while (shown !== asked) {
    const now = asked; // a reset that comes during the fetch makes what it brings too old
    try {
      snapshot = await get("/dashboard");
      await Promise.all([...refreshers].map((refresh) => refresh(snapshot)));
      shown = now;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, pause));
      pause = Math.min(2 * pause, LONGEST);
    }
  }
  running = false;
  for (const topic of [...held]) {
    held.delete(topic);
    hub.release(topic, snapshot.cursor);
  }
}
