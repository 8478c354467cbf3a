import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { beforeEach, mock, test } from "node:test";
import { Hub } from "../../web/static/hub/client.js";

// A browser of plain objects: sockets are driven by hand, time by the mocked timers, fetch by a handler.
let world;
let sockets;
let answers;
let hub;
let seen;

class Socket {
  sent = [];
  closed = false;

  constructor(address) {
    this.address = new URL(address);
    sockets.push(this);
  }

  send(text) {
    this.sent.push(JSON.parse(text));
  }

  close() {
    this.closed = true;
  }

  says(...frames) {
    for (const frame of frames) this.onmessage({ data: JSON.stringify(frame) });
  }

  welcomes(offsets, epoch = "e1") {
    const user = { id: 7, name: "Alice" };
    this.says({
      op: "welcome",
      protocol: 1,
      user,
      connection: "c",
      epoch,
      cursor: epoch,
      offsets,
      heartbeat: 25,
    });
  }

  ends(code) {
    this.onclose({ code });
  }

  get asked() {
    return this.sent.filter(({ op }) => op !== "visible");
  }
}

function event(topic, offset) {
  return { op: "event", topic, offset, type: "test.event", data: {}, at: "2026-01-01T00:00:00Z" };
}

function answer(value, { status = 200, type = "application/json" } = {}) {
  const body = { events: [], resets: [], revoked: [], whispers: [], more: false, ...value };
  return new Response(JSON.stringify(body), { status, headers: { "Content-Type": type } });
}

function vectors(name) {
  return JSON.parse(readFileSync(new URL(`../vectors/${name}.json`, import.meta.url)));
}

async function settle() {
  for (let i = 0; i < 20; i += 1) await new Promise((done) => setImmediate(done));
}

async function pass(seconds) {
  mock.timers.tick(seconds * 1000);
  await settle();
}

function last() {
  return sockets.at(-1);
}

beforeEach(() => {
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout", "Date"], now: 1_000_000 });
  sockets = [];
  answers = () => Promise.reject(new TypeError("no network"));
  seen = { event: [], whisper: [], reset: [], revoked: [], state: [], welcome: [], errors: [] };
  world = {
    fetch: (address, options) => answers(new URL(address, "http://hub.test"), options),
    WebSocket: Socket,
    origin: "http://hub.test",
    page: new EventTarget(),
    view: new EventTarget(),
    hidden: () => false,
    dice: () => 1,
    report: (error) => seen.errors.push(error),
  };
  hub = new Hub(world);
  for (const name of ["event", "whisper", "reset", "revoked", "state", "welcome"]) {
    hub.on(name, (value) => seen[name].push(value));
  }
});

function offsets() {
  return seen.event.map(({ offset }) => offset);
}

function states() {
  return seen.state.map(({ state }) => state);
}

test("a network that is gone shows at once, whatever the socket believes", async () => {
  hub.start({ cursor: "e1~user.7:3" });
  last().welcomes({ "user.7": 3 });
  world.view.dispatchEvent(new Event("offline"));
  assert.equal(hub.state, "waiting");
  await pass(3);
  assert.equal(hub.stalled, true);
  last().welcomes({ "user.7": 3 });
  assert.equal(hub.state, "live");
});

test("opens one socket with the page's cursor and topics, and says that the tab is looked at", () => {
  hub.start({ cursor: "e1~user.7:3", topics: ["job.1"] });
  hub.start({ cursor: "e1~user.7:9" });
  assert.equal(sockets.length, 1);
  assert.equal(last().address.protocol, "ws:");
  assert.equal(last().address.pathname, "/ws/");
  assert.equal(last().address.searchParams.get("cursor"), "e1~user.7:3");
  assert.equal(last().address.searchParams.get("topics"), "job.1");
  assert.equal(hub.state, "connecting");
  last().welcomes({ "user.7": 3, "job.1": 0 });
  assert.equal(hub.state, "live");
  assert.equal(hub.transport, "websocket");
  assert.deepEqual(last().sent, [{ op: "visible", value: true }]);
});

test("takes single events and arrays, each once, and resumes from the last one", async () => {
  hub.start({ cursor: "e1~user.7:0" });
  last().welcomes({ "user.7": 0 });
  last().says(event("user.7", 1), [event("user.7", 2), event("user.7", 3)], event("user.7", 2));
  assert.deepEqual(offsets(), [1, 2, 3]);
  last().ends(1006);
  assert.equal(hub.state, "waiting");
  await pass(0.5);
  assert.equal(last().address.searchParams.get("cursor"), "e1~user.7:3");
  last().welcomes({ "user.7": 3 });
  last().says([event("user.7", 3), event("user.7", 4)]);
  assert.deepEqual(offsets(), [1, 2, 3, 4]);
  assert.deepEqual(states(), ["connecting", "live", "waiting", "connecting", "live"]);
});

test("comes back when events are missing, and takes nothing behind the hole", async () => {
  hub.start({ cursor: "e1~user.7:0" });
  last().welcomes({ "user.7": 0 });
  last().says([event("user.7", 1), event("user.7", 3), event("user.7", 4)]);
  assert.deepEqual(offsets(), [1]);
  assert.ok(sockets[0].closed);
  await pass(1);
  assert.equal(last().address.searchParams.get("cursor"), "e1~user.7:1");
});

test("comes back when the server's heartbeat covers more than came", async () => {
  hub.start({ cursor: "e1~user.7:0" });
  last().welcomes({ "user.7": 0 });
  last().says({ op: "heartbeat", cursor: "e1~user.7:0" });
  assert.equal(hub.state, "live");
  last().says({ op: "heartbeat", cursor: "e1~user.7:1" });
  assert.equal(hub.state, "waiting");
});

test("one listener's fault costs another nothing", () => {
  hub.start({ cursor: "e1~user.7:0" });
  const also = [];
  hub.on("event", () => {
    throw new Error("a broken element");
  });
  hub.on("event", ({ offset }) => also.push(offset));
  last().welcomes({ "user.7": 0 });
  last().says(event("user.7", 1), event("user.7", 2));
  assert.deepEqual(also, [1, 2]);
  assert.equal(seen.errors.length, 2);
});

test("waits twice as long each time, at most twenty seconds, and anew after thirty seconds live", async () => {
  hub.start({ cursor: "e1~user.7:0" });
  last().welcomes({ "user.7": 0 });
  const waits = [];
  for (let i = 0; i < 8; i += 1) {
    const before = sockets.length;
    let waited = 0;
    last().ends(1006);
    while (sockets.length === before) {
      await pass(0.5);
      waited += 0.5;
    }
    waits.push(waited);
    last().welcomes({ "user.7": 0 });
  }
  assert.deepEqual(waits, [0.5, 1, 2, 4, 8, 16, 20, 20]);
  await pass(31);
  last().ends(4012);
  const before = sockets.length;
  await pass(0.5);
  assert.equal(sockets.length, before + 1);
});

test("says that it is stalled after three seconds, and that it is over", async () => {
  hub.start({ cursor: "e1~user.7:0" });
  assert.equal(hub.stalled, false);
  await pass(2.9);
  assert.equal(hub.stalled, false);
  await pass(0.2);
  assert.equal(hub.stalled, true);
  assert.deepEqual(seen.state.at(-1), {
    state: "connecting",
    stalled: true,
    transport: "websocket",
    code: null,
  });
  last().welcomes({ "user.7": 0 });
  assert.equal(hub.stalled, false);
});

for (const code of [1009, 4000, 4400, 4403, 4409, 4413]) {
  test(`stops at ${code}`, async () => {
    hub.start({ cursor: "e1~user.7:0" });
    last().welcomes({ "user.7": 0 });
    last().ends(code);
    assert.equal(hub.state, "stopped");
    assert.equal(hub.code, code);
    await pass(120);
    world.view.dispatchEvent(new Event("online"));
    assert.equal(sockets.length, 1);
  });
}

test("retries a lost session once and at once, then says signed out", async () => {
  hub.start({ cursor: "e1~user.7:0" });
  last().welcomes({ "user.7": 0 });
  last().ends(4401);
  await settle();
  assert.equal(sockets.length, 2);
  last().ends(4401);
  assert.equal(hub.state, "signed-out");
  await pass(120);
  assert.equal(sockets.length, 2);
});

test("a session that was only rotated goes on, and the next loss is retried again", async () => {
  hub.start({ cursor: "e1~user.7:0" });
  last().ends(4401);
  await settle();
  last().welcomes({ "user.7": 0 });
  assert.equal(hub.state, "live");
  await pass(6);
  last().ends(4401);
  await settle();
  assert.equal(sockets.length, 3);
});

test("signed out, it tries again when somebody comes back to the tab", async () => {
  hub.start({ cursor: "e1~user.7:0" });
  last().ends(4401);
  await settle();
  last().ends(4401);
  assert.equal(hub.state, "signed-out");
  world.page.dispatchEvent(new Event("visibilitychange"));
  await settle();
  last().welcomes({ "user.7": 0 });
  assert.equal(hub.state, "live");
});

test("too fast waits at least five seconds", async () => {
  hub.start({ cursor: "e1~user.7:0" });
  last().welcomes({ "user.7": 0 });
  last().ends(4429);
  await pass(4.9);
  assert.equal(sockets.length, 1);
  await pass(1);
  assert.equal(sockets.length, 2);
});

test("comes back when nothing was heard for two heartbeats", async () => {
  hub.start({ cursor: "e1~user.7:0" });
  last().welcomes({ "user.7": 0 });
  await pass(40);
  last().says({ op: "heartbeat", cursor: "e1~user.7:0" });
  await pass(40);
  assert.equal(hub.state, "live");
  await pass(11);
  assert.equal(sockets[0].closed, true);
  await pass(1);
  assert.equal(sockets.length, 2);
});

test("comes back when no welcome follows the opening", async () => {
  hub.start({ cursor: "e1~user.7:0" });
  await pass(8);
  assert.ok(sockets[0].closed);
  assert.equal(hub.state, "waiting");
});

for (const [target, name] of [
  ["view", "online"],
  ["page", "visibilitychange"],
  ["page", "resume"],
]) {
  test(`${name} ends the waiting`, async () => {
    hub.start({ cursor: "e1~user.7:0" });
    last().welcomes({ "user.7": 0 });
    for (let i = 0; i < 5; i += 1) {
      last().ends(1006);
      await pass(20);
      last().welcomes({ "user.7": 0 });
    }
    last().ends(1006); // and the back-off is long by now
    const before = sockets.length;
    world[target].dispatchEvent(new Event(name));
    await pass(name === "online" ? 1 : 0); // a network comes back for many at once
    assert.equal(sockets.length, before + 1);
  });

  test(`${name} asks a live connection whether it still is`, async () => {
    hub.start({ cursor: "e1~user.7:0" });
    last().welcomes({ "user.7": 0 });
    await pass(1);
    world[target].dispatchEvent(new Event(name));
    const ping = last().asked.at(-1);
    assert.equal(ping.op, "ping");
    last().says({ op: "reply", ref: ping.ref, ok: true, data: { at: "…" } });
    await pass(6);
    assert.equal(hub.state, "live");
    await pass(1);
    world[target].dispatchEvent(new Event(name));
    await pass(5);
    assert.equal(hub.state, "waiting");
  });
}

test("a page put aside for the back button lets go and resumes", async () => {
  hub.start({ cursor: "e1~user.7:0" });
  last().welcomes({ "user.7": 0 });
  last().says(event("user.7", 1));
  world.view.dispatchEvent(Object.assign(new Event("pagehide"), { persisted: true }));
  assert.ok(sockets[0].closed);
  world.view.dispatchEvent(Object.assign(new Event("pageshow"), { persisted: true }));
  await settle();
  assert.equal(last().address.searchParams.get("cursor"), "e1~user.7:1");
  last().welcomes({ "user.7": 1 });
  assert.equal(hub.state, "live");
});

test("tells the server when the tab is hidden and shown", () => {
  hub.start({ cursor: "e1~user.7:0" });
  last().welcomes({ "user.7": 0 });
  world.hidden = () => true;
  world.page.dispatchEvent(new Event("visibilitychange"));
  world.hidden = () => false;
  world.page.dispatchEvent(new Event("visibilitychange"));
  const said = last().sent.filter(({ op }) => op === "visible");
  assert.deepEqual(
    said.map(({ value }) => value),
    [true, false, true],
  );
});

test("a request is answered by its ref, refused by its error, or times out", async () => {
  hub.start({ cursor: "e1~user.7:0" });
  await assert.rejects(hub.request({ op: "ping" }), { code: "offline" });
  last().welcomes({ "user.7": 0 });
  const first = hub.request({ op: "ping" });
  const second = hub.request({ op: "post", topic: "room.1", client_id: "x", body: "hi" });
  const [a, b] = last().asked;
  last().says(
    { op: "reply", ref: b.ref, ok: false, error: { code: "forbidden", detail: "no" } },
    { op: "reply", ref: a.ref, ok: true, data: { at: "now" } },
    { op: "reply", ref: 999, ok: true, data: {} },
  );
  assert.deepEqual(await first, { at: "now" });
  await assert.rejects(second, { code: "forbidden" });
  const third = assert.rejects(hub.request({ op: "ping" }), { code: "timeout" });
  await pass(10);
  await third;
  const fourth = assert.rejects(hub.request({ op: "ping" }), { code: "offline" });
  last().ends(1006);
  await fourth;
});

test("subscribes by frame, counts who asked, and asks again on the next connection", async () => {
  hub.start({ cursor: "e1~user.7:0" });
  last().welcomes({ "user.7": 0 });
  hub.subscribe("job.1");
  hub.subscribe("job.1");
  hub.subscribe("user.7");
  const [frame, ...more] = last().asked;
  assert.deepEqual(more, []);
  assert.deepEqual(frame, { op: "subscribe", topic: "job.1", ref: frame.ref });
  last().says({
    op: "reply",
    ref: frame.ref,
    ok: true,
    data: { topic: "job.1", offset: 4, epoch: "e1" },
  });
  last().says(event("job.1", 5));
  hub.unsubscribe("job.1");
  hub.unsubscribe("user.7");
  assert.equal(last().asked.length, 1);
  last().ends(1006);
  await pass(1);
  assert.equal(last().address.searchParams.get("topics"), "job.1,user.7".split(",")[0]);
  assert.equal(last().address.searchParams.get("cursor"), "e1~job.1:5~user.7:0");
  last().welcomes({ "user.7": 0, "job.1": 5 });
  hub.unsubscribe("job.1");
  assert.deepEqual(last().asked.at(-1).op, "unsubscribe");
  assert.equal(hub.cursor, "e1~user.7:0");
});

test("a page counts as absent from a topic only while everybody in it who asked says so", async () => {
  const said = () => last().asked.map(({ op, topic, present }) => ({ op, topic, present }));
  hub.subscribe("room.1", null, { present: false });
  hub.start({ cursor: "e1~user.7:0", topics: ["room.2"] });
  assert.equal(last().address.searchParams.get("topics"), "room.1,room.2");
  assert.equal(last().address.searchParams.get("absent"), "room.1");
  last().welcomes({ "user.7": 0, "room.1": 0, "room.2": 0 });
  hub.subscribe("room.1");
  hub.subscribe("room.1");
  assert.deepEqual(said(), [{ op: "subscribe", topic: "room.1", present: true }]);
  hub.unsubscribe("room.1");
  hub.subscribe("room.2", null, { present: false });
  assert.equal(last().asked.length, 1);
  hub.unsubscribe("room.1");
  assert.deepEqual(said()[1], { op: "subscribe", topic: "room.1", present: false });
  hub.unsubscribe("room.2");
  assert.deepEqual(said()[2], { op: "subscribe", topic: "room.2", present: false });
  hub.subscribe("room.3", null, { present: false });
  assert.deepEqual(said()[3], { op: "subscribe", topic: "room.3", present: false });
  last().ends(1006);
  hub.subscribe("room.3");
  await pass(1);
  assert.equal(last().address.searchParams.get("absent"), "room.1,room.2");
  hub.subscribe("room.1");
  last().welcomes({ "user.7": 0, "room.1": 0, "room.2": 0, "room.3": 0 });
  assert.deepEqual(said(), [{ op: "subscribe", topic: "room.1", present: true }]);
  hub.unsubscribe("room.2", { present: false });
  assert.deepEqual(last().asked[1].op, "unsubscribe");
});

test("turning to a room that is served already repeats nothing and asks for no position", () => {
  hub.start({ cursor: "e1~user.7:0" });
  last().welcomes({ "user.7": 0 });
  hub.subscribe("room.1", "e1~room.1:3", { present: false });
  hub.subscribe("room.1", "e1~room.1:5");
  const [first, second] = last().asked;
  assert.deepEqual(first, {
    op: "subscribe",
    topic: "room.1",
    cursor: 3,
    present: false,
    ref: first.ref,
  });
  assert.deepEqual(second, { op: "subscribe", topic: "room.1", present: true, ref: second.ref });
});

test("what matters only now is said while the socket is live, else not at all", async () => {
  hub.say({ op: "typing", topic: "room.1" });
  hub.start({ cursor: "e1~user.7:0" });
  hub.say({ op: "typing", topic: "room.1" });
  last().welcomes({ "user.7": 0 });
  assert.deepEqual(last().asked, []);
  hub.say({ op: "typing", topic: "room.1" });
  assert.deepEqual(last().asked, [{ op: "typing", topic: "room.1" }]);
  last().ends(4000);
  hub.say({ op: "typing", topic: "room.1" });
  assert.equal(last().asked.length, 1);
  assert.deepEqual([hub.state, hub.code], ["stopped", 4000]);
});

test("what is subscribed while a connection opens is asked for after its welcome", () => {
  hub.start({ cursor: "e1~user.7:0" });
  hub.subscribe("job.1", "e1~job.1:3");
  last().welcomes({ "user.7": 0 });
  const [frame] = last().asked;
  assert.deepEqual(frame, { op: "subscribe", topic: "job.1", cursor: 3, ref: frame.ref });
});

test("a topic that may not be read is reported and not asked for again", async () => {
  hub.start({ cursor: "e1~user.7:0", topics: ["team.9"] });
  last().welcomes({ "user.7": 0 });
  last().says({ op: "revoked", topic: "team.9" });
  hub.subscribe("job.1");
  const ref = last().asked.at(-1).ref;
  last().says({ op: "reply", ref, ok: false, error: { code: "forbidden", detail: "no" } });
  await settle();
  assert.deepEqual(seen.revoked, [{ topic: "team.9" }, { topic: "job.1" }]);
  last().ends(1006);
  await pass(1);
  assert.equal(last().address.searchParams.get("topics"), null);
});

test("between a reset and its snapshot events are kept, then those above the snapshot handed on", () => {
  hub.start({ cursor: "e1~user.7:3" });
  hub.on("reset", ({ topic }) => hub.hold(topic));
  last().welcomes({ "user.7": 40 });
  last().says({ op: "reset", topic: "user.7", offset: 40, reason: "expired" }, [
    event("user.7", 41),
    event("user.7", 42),
  ]);
  assert.deepEqual(offsets(), []);
  hub.release("user.7", "e1~user.7:41");
  last().says(event("user.7", 43));
  assert.deepEqual(offsets(), [42, 43]);
  assert.equal(seen.reset[0].reason, "expired");
});

test("a snapshot of a past epoch is asked for again", async () => {
  hub.start({ cursor: "e1~user.7:30" });
  last().welcomes({ "user.7": 2 }, "e2");
  last().says({ op: "reset", topic: "user.7", offset: 2, reason: "epoch" });
  hub.hold("user.7");
  hub.release("user.7", "e1~user.7:31");
  assert.equal(seen.reset.length, 1);
  await pass(1);
  assert.equal(seen.reset.length, 2);
});

test("whispers pass by, with or without a topic", () => {
  hub.start({ cursor: "e1~user.7:0" });
  last().welcomes({ "user.7": 0 });
  last().says({ op: "whisper", type: "hub.test", data: { a: 1 } });
  assert.equal(seen.whisper[0].data.a, 1);
  assert.equal(hub.cursor, "e1~user.7:0");
});

// Down the ladder.

function http({ stream = null, longPoll = null, poll = null } = {}) {
  const asked = [];
  answers = (address, options) => {
    asked.push(`${address.pathname}${address.search}`);
    const by = { "/events/stream": stream, "/events/long-poll": longPoll, "/events/poll": poll };
    const handler = by[address.pathname];
    return handler ? handler(address, options) : Promise.reject(new TypeError("no network"));
  };
  return asked;
}

function streaming() {
  let controller;
  const body = new ReadableStream({
    start: (c) => {
      controller = c;
    },
  });
  const bytes = new TextEncoder();
  return {
    handler: async () => new Response(body, { headers: { "Content-Type": "text/event-stream" } }),
    says: async (text) => {
      controller.enqueue(bytes.encode(text));
      await settle();
    },
    ends: async () => {
      controller.close();
      await settle();
    },
  };
}

async function blockTheSocket() {
  for (let i = 0; i < 2; i += 1) {
    last().ends(1006);
    await pass(2);
  }
}

test("two sockets that never got through lead to server-sent events", async () => {
  const stream = streaming();
  http({ stream: stream.handler, poll: async () => answer({ cursor: "e1~user.7:0" }) });
  hub.start({ cursor: "e1~user.7:0" });
  await blockTheSocket();
  assert.equal(hub.transport, "sse");
  await stream.says("retry: 2000\n\n");
  assert.equal(hub.state, "live");
  await stream.says(
    `event: event\ndata: ${JSON.stringify({ ...event("user.7", 1), op: undefined })}\n\nid: e1~user.7:1\n\n`,
  );
  assert.deepEqual(offsets(), [1]);
  assert.equal(hub.cursor, "e1~user.7:1");
  assert.equal(hub.state, "live");
});

test("a stream that begins with resets is gone on with", async () => {
  for (const { cursor, opening, resets, end } of vectors("opening")) {
    sockets = [];
    seen.reset = [];
    hub = new Hub(world);
    hub.on("reset", (value) => seen.reset.push(value));
    const stream = streaming();
    const asked = http({ stream: stream.handler, poll: async () => answer({ cursor }) });
    hub.start({ cursor });
    await blockTheSocket();
    await stream.says(opening);
    assert.deepEqual(
      seen.reset.map(({ topic, offset, reason }) => [topic, offset, reason]),
      resets,
    );
    assert.equal(hub.state, "live");
    assert.equal(hub.cursor, end);
    assert.equal(asked.filter((address) => address.startsWith("/events/stream")).length, 1);
    hub.stop();
  }
});

test("a server that is away is not taken for a blocked socket", async () => {
  http();
  hub.start({ cursor: "e1~user.7:0" });
  for (let i = 0; i < 12; i += 1) {
    if (!last().over) {
      last().over = true;
      last().ends(1006);
    }
    await pass(20);
  }
  assert.equal(hub.transport, "websocket");
});

test("server-sent events that a proxy gathers lead to long poll, which waits after its first answer", async () => {
  const silent = streaming();
  let release;
  const asked = http({
    stream: silent.handler,
    poll: async () => answer({ cursor: "e1~user.7:0" }),
    longPoll: (address) =>
      address.searchParams.get("wait") === "0"
        ? Promise.resolve(answer({ cursor: "e1~user.7:0" }))
        : new Promise((resolve) => {
            release = resolve;
          }),
  });
  hub.start({ cursor: "e1~user.7:0" });
  await blockTheSocket();
  for (let i = 0; i < 40 && hub.transport !== "long-poll"; i += 1) await pass(1);
  assert.equal(hub.transport, "long-poll");
  await pass(0.1);
  assert.equal(hub.state, "live");
  assert.match(asked.at(-1), /wait=25/);
  release(answer({ events: [event("user.7", 1)], cursor: "e1~user.7:1" }));
  await settle();
  assert.deepEqual(offsets(), [1]);
});

test("at last it polls, every two seconds and at once while there is more", async () => {
  let at = 0;
  const asked = http({
    stream: async () => new Response("", { status: 502 }),
    longPoll: async () => new Response("", { status: 502 }),
    poll: async (address) => {
      const from = Number(address.searchParams.get("cursor").split(":")[1]);
      if (from >= at) return answer({ cursor: `e1~user.7:${from}` });
      return answer({
        events: [event("user.7", from + 1)],
        more: from + 1 < at,
        cursor: `e1~user.7:${from + 1}`,
      });
    },
  });
  hub.start({ cursor: "e1~user.7:0" });
  await blockTheSocket();
  for (let i = 0; i < 60 && !(hub.transport === "poll" && hub.state === "live"); i += 1)
    await pass(1);
  assert.equal(hub.transport, "poll");
  at = 3;
  await pass(2);
  await pass(0);
  await pass(0);
  assert.deepEqual(offsets(), [1, 2, 3]);
  const before = asked.length;
  await pass(2);
  await pass(2);
  assert.equal(asked.length, before + 2);
});

test("tries the socket again now and then, and changes over without loss or repeat", async () => {
  const stream = streaming();
  http({ stream: stream.handler, poll: async () => answer({ cursor: "e1~user.7:0" }) });
  hub.start({ cursor: "e1~user.7:0" });
  await blockTheSocket();
  await stream.says("retry: 2000\n\n");
  const tried = sockets.length;
  for (let i = 0; i < 4; i += 1) {
    await pass(20);
    await stream.says(": still here\n\n");
  }
  assert.equal(sockets.length, tried + 1);
  assert.equal(hub.transport, "sse");
  const late = last();
  await stream.says(`event: event\ndata: ${JSON.stringify(event("user.7", 1))}\n\n`);
  late.welcomes({ "user.7": 0 });
  assert.equal(hub.transport, "websocket");
  assert.equal(hub.state, "live");
  late.says([event("user.7", 1), event("user.7", 2)]);
  assert.deepEqual(offsets(), [1, 2]);
});

test("over HTTP, 401 is a lost session and 429 waits for what the server asks", async () => {
  let status = 429;
  const asked = http({
    poll: async () => new Response("", { status, headers: { "Retry-After": "30" } }),
  });
  hub.start({ cursor: "e1~user.7:0" });
  await blockTheSocket();
  const before = asked.length;
  await pass(29);
  assert.equal(asked.length, before);
  status = 401;
  for (let i = 0; i < 20 && hub.state !== "signed-out"; i += 1) {
    if (!last().over) last().ends(1006);
    last().over = true;
    await pass(10);
  }
  assert.equal(hub.state, "signed-out");
});

test("over HTTP, subscribing opens the stream anew with the topic and its position", async () => {
  const asked = http({
    stream: async () =>
      new Response(new ReadableStream(), { headers: { "Content-Type": "text/event-stream" } }),
    longPoll: async () => answer({ cursor: "e1~user.7:0" }),
    poll: async (address) =>
      answer({
        cursor: address.searchParams.get("topics") ? "e1~job.1:9~user.7:0" : "e1~user.7:0",
      }),
  });
  hub.start({ cursor: "e1~user.7:0" });
  await blockTheSocket();
  for (let i = 0; i < 40 && hub.transport !== "long-poll"; i += 1) await pass(1);
  await pass(0.1);
  assert.equal(hub.state, "live");
  hub.subscribe("job.1");
  await settle();
  assert.match(asked.at(-1), /topics=\*%2Cjob.1&/);
});

test("over HTTP, however many topics are known, only those that the page asks for are named", async () => {
  const known = Array.from({ length: 120 }, (_, n) => `team.${n + 1}:0`).sort();
  const rooms = Array.from({ length: 60 }, (_, n) => `room.${n + 1}`);
  const asked = http({ poll: async () => answer({ cursor: `e1~${known.join("~")}` }) });
  hub = new Hub(world, { ladder: ["poll"] });
  hub.start({ cursor: "e1~user.7:0", topics: rooms });
  await settle();
  await pass(2);
  assert.equal(hub.state, "live");
  assert.ok(asked.length > 1);
  for (const address of asked)
    assert.deepEqual(new URL(address, "http://hub.test").searchParams.get("topics").split(","), [
      "*",
      ...rooms,
    ]);
});

test("over HTTP, a tab nobody looks at polls now and then instead of keeping a connection", async () => {
  const stream = streaming();
  const asked = http({
    stream: stream.handler,
    poll: async () => answer({ cursor: "e1~user.7:0" }),
  });
  hub.start({ cursor: "e1~user.7:0" });
  await blockTheSocket();
  await stream.says("retry: 2000\n\n");
  assert.equal(hub.transport, "sse");
  world.hidden = () => true;
  world.page.dispatchEvent(new Event("visibilitychange"));
  await settle();
  assert.equal(hub.transport, "poll");
  assert.equal(hub.state, "live");
  const before = asked.length;
  await pass(10);
  await pass(10);
  assert.equal(asked.length, before + 2);
  world.hidden = () => false;
  world.page.dispatchEvent(new Event("visibilitychange"));
  await settle();
  assert.equal(hub.transport, "sse");
});

test("an empty answer that comes too soon is not asked for at once again", async () => {
  const asked = http({ longPoll: async () => answer({ cursor: "e1~user.7:0" }) });
  hub = new Hub(world, { ladder: ["long-poll"], alone: true });
  hub.start({ cursor: "e1~user.7:0", topics: ["user.7"] });
  await pass(0);
  for (let i = 0; i < 5; i += 1) await pass(1);
  assert.ok(asked.length <= 8, `${asked.length} requests in five seconds`);
});

test("alone, it asks for its own topics only, by its one transport, and stops for good", async () => {
  const asked = http({ poll: async () => answer({ cursor: "e1~user.7:0" }) });
  let requests = 0;
  hub = new Hub(world, {
    ladder: ["poll"],
    alone: true,
    traffic: (amount) => {
      requests += amount.requests ?? 0;
    },
  });
  hub.start({ cursor: "e1~user.7:0", topics: ["user.7"] });
  await settle();
  await pass(2);
  assert.equal(sockets.length, 0);
  assert.equal(requests, asked.length);
  for (const address of asked) assert.match(address, /topics=user.7/);
  hub.stop();
  const before = asked.length;
  world.view.dispatchEvent(new Event("online"));
  await pass(60);
  assert.equal(asked.length, before);
  assert.equal(hub.state, "stopped");
});

for (const code of [4429, 1006]) {
  test(`looking at the tab after ${code} ${code === 4429 ? "does not shorten" : "ends"} the waiting`, async () => {
    hub.start({ cursor: "e1~user.7:0" });
    last().welcomes({ "user.7": 0 });
    last().ends(code);
    world.page.dispatchEvent(new Event("visibilitychange"));
    world.view.dispatchEvent(new Event("online"));
    await pass(4.9);
    assert.equal(sockets.length, code === 4429 ? 1 : 2);
    await pass(1.2);
    assert.equal(sockets.length, 2);
  });
}

test("Retry-After holds however often somebody comes back to the tab", async () => {
  const asked = http({
    poll: async () => new Response("", { status: 503, headers: { "Retry-After": "30" } }),
  });
  hub = new Hub(world, { ladder: ["poll"] });
  hub.start({ cursor: "e1~user.7:0" });
  await settle();
  for (let i = 0; i < 29; i += 1) {
    world.page.dispatchEvent(new Event("visibilitychange"));
    await pass(1);
  }
  assert.equal(asked.length, 1);
  await pass(2);
  assert.equal(asked.length, 2);
});

test("the connection of somebody else ends in a page that is not theirs", async () => {
  let strangers = 0;
  hub.on("stranger", () => {
    strangers += 1;
  });
  hub.start({ cursor: "e1~user.8:3", user: "8" });
  last().welcomes({ "user.7": 9 }); // user 7
  last().says(event("user.7", 10));
  assert.equal(strangers, 1);
  assert.deepEqual(seen.event, []);
  assert.equal(hub.state, "stopped");
  assert.ok(last().closed);
  await pass(60);
  assert.equal(sockets.length, 1);
});

for (const [what, given] of [
  ["cursor", { cursor: "e1~user.7:9~user.8:3" }],
  ["event", { events: [event("user.7", 10)], cursor: "e1~user.8:3" }],
]) {
  test(`over HTTP, somebody else is known by the ${what} of their own topic`, async () => {
    http({ poll: async () => answer(given) });
    let strangers = 0;
    hub = new Hub(world, { ladder: ["poll"] });
    hub.on("stranger", () => {
      strangers += 1;
    });
    hub.on("event", (value) => seen.event.push(value));
    hub.start({ cursor: "e1~user.8:3", user: 8 });
    await settle();
    assert.equal(strangers, 1);
    assert.deepEqual(seen.event, []);
    assert.equal(hub.state, "stopped");
  });
}

test("what is subscribed with a cursor before the start goes on from there", () => {
  hub.subscribe("job.1", "e1~job.1:3");
  hub.start({ cursor: "e1~user.7:0", topics: ["job.1"] });
  assert.equal(last().address.searchParams.get("cursor"), "e1~job.1:3~user.7:0");
  last().welcomes({ "user.7": 0, "job.1": 3 });
  hub.unsubscribe("job.1");
  assert.deepEqual(last().asked, []); // `start` asked for it as well
  hub.unsubscribe("job.1");
  assert.equal(last().asked[0].op, "unsubscribe");
});

test("a tab changed every twenty seconds still finds its way up", async () => {
  http({ poll: async () => answer({ cursor: "e1~user.7:0" }) });
  hub = new Hub(world, { ladder: ["websocket", "poll"] });
  hub.start({ cursor: "e1~user.7:0" });
  await blockTheSocket();
  assert.equal(hub.transport, "poll");
  const tried = sockets.length;
  for (let i = 0; i < 3; i += 1) {
    await pass(19);
    world.page.dispatchEvent(new Event("visibilitychange"));
    await settle();
  }
  await pass(19);
  assert.equal(sockets.length, tried + 1);
  last().welcomes({ "user.7": 0 });
  assert.equal(hub.transport, "websocket");
});

test("the next try of the best transport is twice as far only after one that failed", async () => {
  http({ poll: async () => answer({ cursor: "e1~user.7:0" }) });
  hub = new Hub(world, { ladder: ["websocket", "poll"] });
  hub.start({ cursor: "e1~user.7:0" });
  await blockTheSocket();
  const tries = [];
  let known = sockets.length;
  for (let second = 1; second <= 420; second += 1) {
    await pass(1);
    if (sockets.length === known) continue;
    known = sockets.length;
    tries.push(second);
    last().ends(1006);
  }
  assert.equal(tries.length, 2, String(tries)); // 60 s and 120 s, times 1.25
  const [first, second] = tries;
  assert.ok(first >= 70 && first <= 76, String(tries));
  assert.ok(second - first >= 148 && second - first <= 152, String(tries));
});

test("a tab turned to while its connection opened does not go on polling as a hidden one", async () => {
  let reply;
  const asked = http({
    poll: () =>
      new Promise((resolve) => {
        reply = () => resolve(answer({ cursor: "e1~user.7:0" }));
      }),
    longPoll: async () => answer({ cursor: "e1~user.7:0" }),
  });
  world.hidden = () => true;
  hub = new Hub(world, { ladder: ["long-poll", "poll"] });
  hub.start({ cursor: "e1~user.7:0" });
  await settle();
  world.hidden = () => false;
  world.page.dispatchEvent(new Event("visibilitychange"));
  reply();
  await settle();
  await pass(0);
  assert.equal(hub.transport, "long-poll");
  assert.match(asked.at(-1), /long-poll/);
});

test("a network that comes while a lower transport opens does not keep the better one away", async () => {
  const stream = streaming();
  http({ stream: stream.handler, poll: async () => answer({ cursor: "e1~user.7:0" }) });
  hub.start({ cursor: "e1~user.7:0" });
  await blockTheSocket();
  assert.equal(hub.state, "connecting");
  world.view.dispatchEvent(new Event("online"));
  await stream.says("retry: 2000\n\n");
  assert.equal(hub.transport, "sse");
  assert.equal(hub.state, "live");
  const tried = sockets.length;
  for (let i = 0; i < 5; i += 1) {
    await pass(20);
    await stream.says(": still here\n\n");
  }
  assert.equal(sockets.length, tried + 1);
});

test("a topic that a new epoch says nothing about is reset", () => {
  hub.start({ cursor: "e1~room.1:500~user.7:9" });
  last().welcomes({ "user.7": 2 }, "e2");
  last().says(
    { op: "reset", topic: "user.7", offset: 2, reason: "epoch" },
    { op: "heartbeat", cursor: "e2~user.7:2" },
  );
  assert.deepEqual(
    seen.reset.map(({ topic, reason }) => [topic, reason]),
    [
      ["user.7", "epoch"],
      ["room.1", "epoch"],
    ],
  );
  assert.equal(hub.cursor, "e2~user.7:2");
});

test("by HTTP, too, the last event of a room is heard before the room is lost", async () => {
  const order = [];
  const polling = new Hub(world, { ladder: ["poll"], alone: true });
  polling.on("event", ({ type }) => order.push(type));
  polling.on("revoked", ({ topic }) => order.push(topic));
  answers = () =>
    Promise.resolve(
      answer({
        events: [{ ...event("room.1", 4), type: "room.deleted" }],
        revoked: ["room.1"],
        cursor: "e1~room.1:4",
      }),
    );
  polling.start({ cursor: "e1~room.1:3", topics: ["room.1"] });
  await settle();
  assert.deepEqual(order, ["room.deleted", "room.1"]);
  polling.stop();
});

test("an answer that leaves out its empty lists is as good", async () => {
  http({
    longPoll: async () =>
      new Response('{"cursor": "e1~user.7:0"}', {
        headers: { "Content-Type": "application/json" },
      }),
  });
  hub = new Hub(world, { ladder: ["long-poll"], alone: true });
  hub.start({ cursor: "e1~user.7:0", topics: ["user.7"] });
  await pass(0);
  await pass(2);
  assert.equal(hub.state, "live");
});
