/* What every place that shows a job has in common; `templatetags/jobs.py` does the same on the server. */

import { hub } from "./client.js";
import { setText, slot } from "./dom.js";
import { duration, number } from "./when.js";
import { fillIn, gettext } from "./words.js";

export const isLive = (state) => state === "queued" || state === "started";
export const isJobEvent = (type) => type.startsWith("job.");

/** Somebody looks at a page whose transport brings events, but no whispers. */
export const isUnheard = () => hub.transport === "poll" && hub.state === "live" && !document.hidden;

export const stateWord = (state) => document.querySelector("#state-words").dataset[state] ?? "";

/** Dot and word. The word changes only with the state: it is read aloud. */
export function setState(root, state) {
  root.dataset.state = state;
  const mark = slot(root, "state");
  if (mark) mark.dataset.state = state;
  const word = slot(root, "state-word");
  if (word && word.textContent !== stateWord(state)) word.textContent = stateWord(state);
}

/** Without a total it runs to and fro. */
export function setBar(root, { done, total }) {
  const bar = slot(root, "bar");
  if (total === null) bar.removeAttribute("value");
  else {
    bar.max = total || 1;
    bar.value = total ? done : 1;
  }
}

/** Rounded down: nothing is at a hundred before it is done. */
export function percent({ done, total }) {
  if (total === null) return null;
  return total > 0 ? Math.min(100, Math.floor((100 * done) / total)) : 100;
}

export const percentText = (job) => (job.total ? `${percent(job)} %` : "");

/** "12,408 of 100,000 · 12 %", or "12,408" where nobody knows the total; nothing of nothing. */
export function figures(job) {
  const { done, total } = job;
  if (!total) return done ? number(done) : "";
  return fillIn(gettext("%(done)s of %(total)s · %(percent)s %"), {
    done: number(done),
    total: number(total),
    percent: percent(job),
  });
}

/** How long it ran; nothing when it never began or has not ended. */
export function took({ started_at, finished_at }) {
  if (!started_at || !finished_at) return "";
  return duration(Date.parse(finished_at) - Date.parse(started_at));
}

export const lastLine = (text) => text.trimEnd().split("\n").at(-1);

/** Text of a slot, touched only when it changes. */
export function say(root, name, text) {
  const place = slot(root, name);
  if (place && place.textContent !== text) setText(root, name, text);
}

export function show(root, name, isShown) {
  const place = slot(root, name);
  if (place) place.hidden = !isShown;
}
