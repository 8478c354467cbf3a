import assert from "node:assert/strict";
import { test } from "node:test";

const { RoomCount, UNSURE } = await import("../../web/static/hub/roomcount.js");

const ME = 1;
const BOB = 2;
const COUNTED = 1_000_000; // ms

const message = (id, more = {}) => ({ id, author: { id: BOB }, mentions: [], ...more });

function counted(unread = 3, mentions = 1, more = {}) {
  const count = new RoomCount(ME);
  count.recount({ unread, mentions, read_up_to: 10, last_message: 20, ...more }, COUNTED);
  return count;
}

const shown = ({ unread, mentions }) => [unread, mentions];

test("what others say after the count is new, once each", () => {
  const count = counted();
  assert.equal(count.created(message(21)), true);
  assert.equal(count.created(message(21)), false);
  assert.equal(count.created(message(22, { mentions: [ME, BOB] })), true);
  assert.deepEqual(shown(count), [5, 2]);
});

test("what the count knows already is not counted again", () => {
  const count = counted();
  assert.equal(count.created(message(20)), false);
  assert.deepEqual(shown(count), [3, 1]);
});

test("what I say myself is never new to me", () => {
  const count = counted();
  assert.equal(count.created(message(21, { author: { id: ME }, mentions: [ME] })), false);
  assert.deepEqual(shown(count), [3, 1]);
});

test("a count keeps what came after it, whichever of the two was heard of first", () => {
  const count = counted();
  for (const id of [21, 22, 23]) count.created(message(id));
  count.recount({ unread: 0, mentions: 0, read_up_to: 22, last_message: 22 }, COUNTED + 10);
  assert.deepEqual(shown(count), [1, 0]);
  count.created(message(22));
  assert.deepEqual(shown(count), [1, 0]);
});

test("a count that comes late changes nothing", () => {
  const count = counted(0, 0, { read_up_to: 20 });
  count.recount({ unread: 3, mentions: 1, read_up_to: 10, last_message: 20 }, COUNTED + 10);
  assert.deepEqual(shown(count), [0, 0]);
  count.recount({ unread: 9, mentions: 1, read_up_to: 20, last_message: 19 }, COUNTED + 10);
  assert.deepEqual(shown(count), [0, 0]);
});

test("what is deleted after it came is no longer new", () => {
  const count = counted(0, 0);
  count.created(message(21, { mentions: [ME] }));
  assert.equal(count.changed(message(21, { deleted: true }), COUNTED), true);
  assert.deepEqual(shown(count), [0, 0]);
});

test("an edit may name me, and take it back", () => {
  const count = counted(0, 0);
  count.created(message(21));
  count.changed(message(21, { mentions: [ME], mentioned_before: [] }), COUNTED + 1);
  assert.deepEqual(shown(count), [1, 1]);
  count.changed(message(21, { mentions: [], mentioned_before: [ME] }), COUNTED + 2);
  assert.deepEqual(shown(count), [1, 0]);
});

test("what was counted and is deleted long after leaves the count", () => {
  const count = counted();
  const gone = message(15, { deleted: true, mentioned_before: [ME] });
  assert.equal(count.changed(gone, COUNTED + UNSURE + 1), true);
  assert.deepEqual(shown(count), [2, 0]);
});

test("what was deleted long before the count is not taken off it", () => {
  const count = counted();
  const gone = message(15, { deleted: true, mentioned_before: [ME] });
  assert.equal(count.changed(gone, COUNTED - UNSURE - 1), true);
  assert.deepEqual(shown(count), [3, 1]);
});

test("what was deleted about when the count was taken only the hub can tell", () => {
  const count = counted();
  for (const at of [COUNTED - 10, COUNTED + 10])
    assert.equal(count.changed(message(15, { deleted: true }), at), false);
  assert.deepEqual(shown(count), [3, 1]);
});

test("edits that name nobody else, of what is read, or of mine ask for nothing", () => {
  const count = counted();
  const same = { mentions: [ME], mentioned_before: [ME] };
  assert.equal(count.changed(message(15, same), COUNTED), true);
  assert.equal(count.changed(message(9, { deleted: true }), COUNTED), true);
  assert.equal(count.changed(message(15, { deleted: true, author: { id: ME } }), COUNTED), true);
  assert.deepEqual(shown(count), [3, 1]);
});

/** The hub's way to count, for the comparison below. */
function recounted(messages, readUpTo) {
  const news = messages.filter(({ id, author, deleted }) => {
    return id > readUpTo && author.id !== ME && !deleted;
  });
  const mentions = news.filter((each) => each.mentions.includes(ME)).length;
  return { unread: news.length, mentions };
}

function dice(seed) {
  let state = seed;
  return (sides) => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    return Math.floor((state / 2_147_483_648) * sides);
  };
}

test("whatever happens in whatever order, the count is what a recount would say", () => {
  for (let seed = 1; seed <= 300; seed += 1) {
    const roll = dice(seed);
    const messages = [];
    let readUpTo = 0;
    let now = COUNTED;
    const count = new RoomCount(ME);
    const total = () => ({
      ...recounted(messages, readUpTo),
      read_up_to: readUpTo,
      last_message: messages.at(-1)?.id ?? 0,
    });
    count.recount(total(), now);
    // Events of the room and of the person come in order each, and not between the two.
    const room = [];
    const own = [];
    for (let step = 0; step < 40; step += 1) {
      now += UNSURE + 1;
      const act = roll(5);
      const names = roll(3) === 0 ? [ME] : [];
      if (act <= 1) {
        const author = { id: roll(4) ? BOB : ME };
        const made = { id: messages.length + 1, author, deleted: false };
        messages.push({ ...made, mentions: author.id === ME ? [] : names });
        room.push(["created", { ...messages.at(-1) }, now]);
      } else if (act === 2 && messages.length) {
        const at = roll(messages.length);
        const before = messages[at];
        if (before.deleted || before.author.id === ME) continue;
        const deleted = roll(2) === 0;
        messages[at] = { ...before, deleted, mentions: deleted ? [] : names };
        room.push(["changed", { ...messages[at], mentioned_before: before.mentions }, now]);
      } else if (act === 3 && messages.length) {
        readUpTo = Math.max(readUpTo, roll(messages.length) + 1);
        own.push([total(), now]);
      } else {
        while (room.length || own.length) {
          if (own.length && (!room.length || roll(2))) count.recount(...own.shift());
          else {
            const [name, item, at] = room.shift();
            count[name](item, at);
          }
        }
        const { unread, mentions } = total();
        assert.deepEqual(shown(count), [unread, mentions], `seed ${seed}, step ${step}`);
      }
    }
  }
});

test("a room that is heard once another is left is counted anew", async () => {
  const rooms = Array.from({ length: 62 }, (_, n) => ({
    ...{ id: n + 1, kind: "closed", title: `room ${n + 1}`, topic_line: "", archived: false },
    ...{ involvement: "mentions", read_up_to: 0, last_message: 0, unread: 0, mentions: 0 },
    active_at: `2026-01-01T00:00:${String(99 - n).padStart(2, "0")}Z`,
  }));
  const asked = [];
  const body = { dataset: { user: String(ME), now: "2026-01-01T01:00:00Z", topics: "" } };
  Object.assign(globalThis, {
    document: {
      ...{ body, hidden: false, title: "", addEventListener() {} },
      querySelector: (what) =>
        what === "#my-rooms" ? { textContent: JSON.stringify(rooms) } : null,
    },
    localStorage: { getItem: () => null, setItem() {}, removeItem() {} },
    location: { origin: "http://hub.test", pathname: "/", search: "", hash: "" },
    setInterval: () => 0,
    fetch: (address) => {
      asked.push(String(address));
      const item = rooms.find(({ id }) => address.endsWith(`/rooms/${id}`));
      const isMine = item.id !== 2;
      const answer = { ...item, name: item.title, members: [], joined: true };
      return Promise.resolve(new Response(JSON.stringify(answer), { status: isMine ? 200 : 404 }));
    },
  });
  const { hub } = await import("../../web/static/hub/client.js");
  const heard = {};
  const subscribed = [];
  hub.subscribe = (topic) => subscribed.push(topic);
  hub.unsubscribe = () => {};
  hub.on = (name, listener) => {
    heard[name] = listener;
    return () => {};
  };
  await import("../../web/static/hub/rooms.js");
  assert.equal(subscribed.length, 60);
  heard.event({
    ...{ topic: `user.${ME}`, type: "room.removed", data: { id: 1 } },
    at: "2026-01-01T01:00:10Z",
  });
  assert.equal(subscribed.at(-1), "room.61");
  const isAsked = async (id) => {
    for (let turn = 0; turn < 100; turn += 1) {
      if (asked.some((address) => address.endsWith(`/rooms/${id}`))) return true;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    return false;
  };
  assert.ok(await isAsked(61), asked.join(", "));
  heard.revoked({ topic: "room.2" }); // before the event that says so
  assert.ok(await isAsked(62), asked.join(", "));
  assert.equal(subscribed.at(-1), "room.62");
});
