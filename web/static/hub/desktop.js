/*
 * Browser notifications: only after a click that asked for them, only while no tab of the hub is looked at, and
 * from one tab alone, however many are open.
 */

import { hub } from "./client.js";
import { safeLink } from "./dom.js";
import { worded } from "./mentions.js";
import { heading, isHeard, plain } from "./roomnews.js";
import { onMessage } from "./rooms.js";
import { fillIn, ngettext } from "./words.js";

const SWITCH = "hub.browser-notifications"; // in localStorage: "on" or "off", for this browser
const LOOKED_AT = "hub-looked-at"; // a lock that every visible tab shares
const UNSUPPORTED = "unsupported"; // in place of "on" where the browser has the name and not the thing
const HOLD = 5000; // ms: slower tabs have seen the event by then
const FRESH = 60_000; // ms; what is older comes after a sleep, with all the others of the night
const GATHER = 2000; // ms: until the night's are all here

export const isPossible = () =>
  "Notification" in globalThis &&
  "locks" in navigator &&
  localStorage.getItem(SWITCH) !== UNSUPPORTED;

export const isOn = () =>
  isPossible() && localStorage.getItem(SWITCH) !== "off" && Notification.permission === "granted";

export const turn = (on) => localStorage.setItem(SWITCH, on ? "on" : "off");

let letGo = null; // of the lock, while visible

/** What came with the night's others: one is shown as it is, several as a count. */
class Late {
  #items = [];
  #show;
  #name;

  /** `show(items)`; `name` tells this kind of news from others. */
  constructor(name, show) {
    this.#name = name;
    this.#show = show;
  }

  add(item) {
    if (!this.#items.length) setTimeout(() => this.#offer(), GATHER);
    this.#items.push(item);
  }

  #offer() {
    const items = this.#items;
    this.#items = [];
    if (document.hidden) offer(this.#name(items), () => this.#show(items));
  }
}

const lateNotes = new Late(
  (items) => (items.length === 1 ? `hub-${items[0].id}` : "hub-late"),
  (items) => (items.length === 1 ? show(items[0]) : showLate(items.length)),
);
const lateMessages = new Late(
  () => "hub-rooms-late",
  (items) => (items.length === 1 ? showMessage(...items[0]) : showLateMessages(items.length)),
);

if (isPossible()) {
  holdWhileVisible();
  document.addEventListener("visibilitychange", holdWhileVisible);
  hub.on("event", ({ type, data }) => {
    if (type === "notification.created" && !data.read && document.hidden && isOn())
      arrived(worded(data));
  });
  onMessage((room, message) => {
    if (document.hidden && isOn() && isHeard(room, message)) said(room, message);
  });
}

/** Chrome for Android has the constructor and throws when it is called. Before the permission, nothing is shown. */
export function turnOffIfUnsupported() {
  try {
    new Notification("Hub", { silent: true }).close();
  } catch {
    localStorage.setItem(SWITCH, UNSUPPORTED);
  }
}

const isFresh = ({ at }) => Date.now() - Date.parse(at) < FRESH;

function arrived(item) {
  if (isFresh(item)) offer(`hub-${item.id}`, () => show(item));
  else lateNotes.add(item);
}

function said(room, message) {
  if (isFresh(message)) offer(`hub-message-${message.id}`, () => showMessage(room, message));
  else lateMessages.add([room, message]);
}

function holdWhileVisible() {
  if (document.hidden) {
    letGo?.();
    letGo = null;
  } else if (!letGo) {
    const released = new Promise((resolve) => {
      letGo = resolve;
    });
    navigator.locks.request(LOOKED_AT, { mode: "shared" }, () => released);
  }
}

async function offer(name, showIt) {
  const { held } = await navigator.locks.query();
  if (held.some((lock) => lock.name === LOOKED_AT)) return;
  await navigator.locks.request(`notify-${name}`, { ifAvailable: true }, async (lock) => {
    if (!lock) return;
    showIt();
    await new Promise((resolve) => setTimeout(resolve, HOLD));
  });
}

function show({ id, title, body, url }) {
  put(title, { body, tag: `hub-${id}` }, safeLink(url) || `/inbox/${id}/`);
}

function showLate(count) {
  const title = fillIn(
    ngettext("%(count)d new notification", "%(count)d new notifications", count),
    {
      count,
    },
  );
  put(title, { tag: "hub-late" }, "/inbox/");
}

/** One for each room: what is said later takes its place. */
function showMessage(room, message) {
  const options = { body: plain(message), tag: `hub-room-${room.id}` };
  put(heading(room, message), options, `/rooms/${room.id}/at/${message.id}/`);
}

function showLateMessages(count) {
  const title = fillIn(ngettext("%(count)d new message", "%(count)d new messages", count), {
    count,
  });
  put(title, { tag: "hub-rooms-late" }, "/rooms/");
}

function put(title, options, address) {
  let shown;
  try {
    shown = new Notification(title, options);
  } catch {
    localStorage.setItem(SWITCH, UNSUPPORTED);
    return;
  }
  shown.addEventListener("click", () => {
    window.focus();
    location.assign(address);
    shown.close();
  });
}
