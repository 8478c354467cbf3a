/*
 * Browser notifications: only after a click that asked for them, only while no tab of the hub is looked at, and
 * from one tab alone, however many are open.
 */

import { hub } from "./client.js";
import { safeLink } from "./dom.js";

const SWITCH = "hub.browser-notifications"; // in localStorage: "on" or "off", for this browser
const LOOKED_AT = "hub-looked-at"; // a lock that every visible tab shares
const HOLD = 5000; // ms: slower tabs have seen the event by then

export const isPossible = () => "Notification" in globalThis && "locks" in navigator;

export const isOn = () =>
  localStorage.getItem(SWITCH) !== "off" && Notification.permission === "granted";

export const turn = (on) => localStorage.setItem(SWITCH, on ? "on" : "off");

let letGo = null; // of the lock, while visible

if (isPossible()) {
  holdWhileVisible();
  document.addEventListener("visibilitychange", holdWhileVisible);
  hub.on("event", ({ type, data }) => {
    if (type === "notification.created" && document.hidden && isOn()) offer(data);
  });
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

async function offer(item) {
  const { held } = await navigator.locks.query();
  if (held.some(({ name }) => name === LOOKED_AT)) return;
  await navigator.locks.request(`hub-notify-${item.id}`, { ifAvailable: true }, async (lock) => {
    if (!lock) return;
    show(item);
    await new Promise((resolve) => setTimeout(resolve, HOLD));
  });
}

function show(item) {
  const shown = new Notification(item.title, { body: item.body, tag: `hub-${item.id}` });
  shown.addEventListener("click", () => {
    window.focus();
    location.assign(safeLink(item.url) || `/inbox/${item.id}/`);
    shown.close();
  });
}
