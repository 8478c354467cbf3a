/*
 * The page's one store of the rooms one is in: what is new in each, from what came with the page and the events after
 * it. What only the hub can tell is asked of it; what happens meanwhile is done once more on its answer. A reset of a
 * room, whose events this store takes by their messages' ids, so needs no holding.
 */

import { ApiError, get } from "./api.js";
import { hub } from "./client.js";
import { RoomCount, UNSURE } from "./roomcount.js";
import { onSnapshot } from "./snapshot.js";
import { setDirect } from "./title.js";
import { hubNow } from "./when.js";
import { gettext } from "./words.js";

const MOST_HEARD = 60; // rooms; `my_rooms.py` says the same
const PAGE = 100;
const GATHER = 30; // ms: an epoch's change resets every room at once
const PAUSE = 2000; // ms before another try, doubled up to LONGEST
const LONGEST = 30_000;
const AGAIN = 60_000; // ms between looks at rooms whose events are not heard

const me = Number(document.body.dataset.user);
const own = `user.${me}`;
const data = document.querySelector("#my-rooms");

const rooms = new Map(); // by id
const subscribed = new Set(); // topics
const listeners = { rooms: new Set(), message: new Set() };

const wanted = new Set(); // ids to ask for
const wantedLater = new Set();
let wantsAll = false;
let asking = false;
let heard = null; // events since the hub was asked
let isTelling = false;

/** `listener()` is called when anything in the rooms has changed, once for all that changes at a moment. */
export const onRooms = (listener) => listen("rooms", listener);

/** `listener(room, message)`: somebody else has just said something in a room that is not muted. */
export const onMessage = (listener) => listen("message", listener);

/** With the newest news first. */
export const myRooms = () => [...rooms.values()].sort(byNews);

export const roomOf = (id) => rooms.get(id);

/** Rooms with news, those first that say something to me; as `my_rooms.with_news` of the server. */
export function roomsWithNews() {
  const news = myRooms().filter((room) => room.count.unread > 0 && !isMuted(room));
  return [...news.filter(isToMe), ...news.filter((room) => !isToMe(room))];
}

export const isMuted = (room) => room.involvement === "nothing";

export const isToMe = (room) => room.count.mentions > 0 || room.kind === "direct";

/** The room that this page shows to somebody who looks at it. */
export function isLookedAt(id) {
  return !document.hidden && isOnScreen(id);
}

/** What a room is called: its name, or the people of a direct one. */
export function titleOf({ kind, name, members }) {
  if (kind !== "direct") return name;
  const others = members.filter((person) => person.id !== me).map((person) => person.name);
  return others.join(", ") || gettext("You alone");
}

/** Ask the hub for everything anew. */
export function refreshRooms() {
  wantsAll = true;
  return ask();
}

function isOnScreen(id) {
  return document.querySelector("hub-room")?.dataset.id === String(id);
}

function listen(name, listener) {
  listeners[name].add(listener);
  return () => listeners[name].delete(listener);
}

const byNews = (one, other) =>
  one.active_at === other.active_at ? other.id - one.id : one.active_at < other.active_at ? 1 : -1;

if (data) {
  const at = Date.parse(document.body.dataset.now);
  for (const room of JSON.parse(data.textContent)) put(room, at, at);
  subscribe();
  changed();
  hub.on("event", (event) => {
    heard?.push(event);
    const message = take(event);
    if (message) tellMessage(message);
  });
  hub.on("reset", ({ topic }) => {
    if (subscribed.has(topic)) refreshRooms();
  });
  hub.on("revoked", ({ topic }) => {
    if (subscribed.delete(topic) && rooms.has(idOf(topic))) want(idOf(topic));
  });
  onSnapshot(refreshRooms);
  document.addEventListener("visibilitychange", () => {
    changed();
    refreshUnheard();
  });
  setInterval(refreshUnheard, AGAIN);
}

function refreshUnheard() {
  if (!document.hidden && rooms.size > subscribed.size) refreshRooms();
}

const idOf = (topic) => Number(topic.slice("room.".length));

/** It was counted between `from` and `to`. */
function put({ unread, mentions, read_up_to, last_message, ...room }, from, to = hubNow()) {
  const count = new RoomCount(me);
  count.recount({ unread, mentions, read_up_to, last_message }, from, to);
  rooms.set(room.id, { ...room, count });
}

// What the hub says.

/** @returns the room and the message when somebody has said something new */
function take({ topic, type, data, at }) {
  if (topic === own) aboutMe(type, data, Date.parse(at));
  else if (topic.startsWith("room.")) return inRoom(rooms.get(idOf(topic)), type, data, at);
}

function aboutMe(type, data, at) {
  const room = rooms.get(data.id);
  if (type === "room.added" && !room) want(data.id);
  else if (type === "room.removed") drop(data.id);
  else if (room && type === "room.involved") room.involvement = data.involvement;
  else if (room && type === "room.read" && !room.count.recount(data, at)) wantLater(room.id);
  else if (type !== "room.read") return;
  changed();
}

function inRoom(room, type, data, at) {
  if (!room) return;
  let isNew = false;
  if (type === "message.created") {
    isNew = room.count.created(data);
    if (data.at > room.active_at) room.active_at = data.at;
  } else if (type === "message.updated" || type === "message.deleted") {
    if (!room.count.changed(data, Date.parse(at))) wantLater(room.id);
  } else if (type === "room.updated") {
    const { kind, name, topic_line, archived } = data;
    Object.assign(room, { kind, topic_line, archived, title: name });
  } else if (type === "room.deleted") drop(room.id);
  else return;
  changed();
  if (isNew) return { room, message: data };
}

function drop(id) {
  rooms.delete(id);
  for (const topic of subscribe()) want(idOf(topic)); // what it said unheard is not counted yet
}

function tellMessage({ room, message }) {
  if (isMuted(room)) return;
  for (const listener of listeners.message) listener(room, message);
}

function changed() {
  if (isTelling) return;
  isTelling = true;
  queueMicrotask(() => {
    isTelling = false;
    const direct = roomsWithNews().filter(({ id, kind }) => kind === "direct" && !isOnScreen(id));
    // Mentions are in the inbox, which the title counts.
    setDirect(direct.reduce((sum, { count }) => sum + count.unread - count.mentions, 0));
    for (const listener of listeners.rooms) listener();
  });
}

// Whose news are heard.

/** @returns {string[]} the topics that are heard from now on */
function subscribe(cursor = null) {
  const heard = myRooms()
    .slice(0, MOST_HEARD)
    .map(({ id }) => `room.${id}`);
  for (const topic of subscribed) {
    if (heard.includes(topic)) continue;
    subscribed.delete(topic);
    hub.unsubscribe(topic, { present: false });
  }
  const added = heard.filter((topic) => !subscribed.has(topic));
  for (const topic of added) {
    subscribed.add(topic);
    hub.subscribe(topic, cursor, { present: false });
  }
  return added;
}

// What only the hub can tell.

function want(id) {
  wanted.add(id);
  ask();
}

/** What happened is then long enough ago for the hub's count to have it. */
function wantLater(id) {
  if (wantedLater.has(id)) return;
  wantedLater.add(id);
  setTimeout(
    () => {
      wantedLater.delete(id);
      want(id);
    },
    UNSURE * (2 + Math.random()),
  );
}

async function ask() {
  if (asking) return;
  asking = true;
  let pause = GATHER;
  while (wantsAll || wanted.size) {
    await new Promise((resolve) => setTimeout(resolve, pause));
    const isAll = wantsAll;
    const ids = [...wanted];
    wantsAll = false;
    wanted.clear();
    heard = [];
    const asked = hubNow();
    try {
      if (isAll) showAll(await fetchAll(), asked);
      else for (const id of ids) show(id, await fetchOne(id), asked);
      pause = GATHER;
    } catch {
      wantsAll ||= isAll;
      for (const id of ids) wanted.add(id);
      pause = Math.min(Math.max(PAUSE, 2 * pause), LONGEST);
    }
    heard = null;
  }
  asking = false;
}

async function fetchAll() {
  const from = (before) => get(`/rooms?joined=true&limit=${PAGE}&before=${before}`);
  const pages = [await from("")];
  while (pages.at(-1).next) pages.push(await from(pages.at(-1).next));
  if (pages.length > 1) pages.push(await from("")); // whatever became active meanwhile stands there now
  const items = new Map(pages.flatMap((page) => page.items).map((item) => [item.id, item]));
  return { items: [...items.values()], cursor: pages[0].cursor };
}

async function fetchOne(id) {
  try {
    return await get(`/rooms/${id}`);
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return null;
    throw error;
  }
}

function showAll({ items, cursor }, asked) {
  rooms.clear();
  for (const item of items) put(fromApi(item), asked);
  shown(heard, cursor);
}

function show(id, item, asked) {
  if (item?.joined) put(fromApi(item), asked);
  else drop(id);
  const isOurs = ({ topic, data }) => topic === `room.${id}` || (topic === own && data.id === id);
  shown(heard.filter(isOurs), item?.cursor);
}

/** What the hub's answer may lack is what was heard while it was asked. */
function shown(meanwhile, cursor) {
  for (const event of meanwhile) take(event);
  subscribe(cursor);
  changed();
}

function fromApi({ members, name, owner: _owner, ...item }) {
  return { ...item, title: titleOf({ kind: item.kind, name, members }) };
}
