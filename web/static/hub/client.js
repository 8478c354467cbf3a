import { afterClose, leastPause, pause } from "./closing.js";
import { parseCursor } from "./cursor.js";
import { Delivery } from "./delivery.js";
import { ask, spread } from "./transports/http.js";
import { openLongPoll, openPoll } from "./transports/polling.js";
import { openSse } from "./transports/sse.js";
import { openWebSocket } from "./transports/websocket.js";

// From the best to the one that goes through everything.
const LADDER = ["websocket", "sse", "long-poll", "poll"];
const OPEN = { websocket: openWebSocket, sse: openSse, "long-poll": openLongPoll, poll: openPoll };

const STALLED = 3; // seconds not live until somebody should see it
const STEADY = 30; // seconds live until n starts anew
const SETTLED = 5; // seconds live until a 4401 is a new one
const TRIES = 2; // failed attempts of a transport before the next one is thought of
const ANSWER = 10; // seconds a reply may take
const PROBE = 5; // seconds a connection may be silent when asked whether it lives
const CLIMB = 60; // seconds on a lower transport until the best is tried again; doubles
const CLIMB_MOST = 900;
const HIDDEN_PAUSE = 10; // seconds between polls of a tab nobody looks at
const JITTER = 1; // seconds; when a network comes back, it does so for a whole office
const AGAIN = 1; // seconds before a snapshot is asked for once more

/** What `hub.request` and `hub.subscribe` reject with; `code` as in the reply's error, or "offline", "timeout". */
export class RequestError extends Error {
  constructor(code, detail = code) {
    super(detail);
    this.code = code;
  }
}

/** One connection of a tab to the hub: comes back by itself, hands every event on once and in order. */
export class Hub {
  #world;
  #ladder;
  #options;
  #unwatch = new AbortController();
  #listeners = new Map();
  #delivery = null;
  #user = null; // whose page this is, as text
  #learnt = []; // cursors that were given before the start
  #wanted = new Map(); // topic -> {present, absent}: how many asked for it each way
  #implied = new Set(); // topics that are served without being asked for

  #state = "stopped";
  #stalled = false;
  #stalledTimer;
  #code = null;

  // The connection in use or being opened: {kind, rung, asked, connection, ready, heard, silence}; `asked` is
  // topic -> whether the server was told that this page is present there.
  #link = null;
  #candidate = null; // a better one being tried beside it
  #rung = 0;
  #failures = 0; // of this rung, in a row
  #wasLive = new Set(); // transports that have been through on this page
  #n = 0;
  #timer; // the next attempt
  #notBefore = 0; // the server asked for it; no event of the page shortens that
  #steadyTimer;
  #settledTimer;
  #watchdog;
  #climbTimer;
  #climbAt = null; // when the best transport is tried again, whatever connections come and go until then
  #climbs = 0; // attempts that failed
  #retriedSignIn = false;

  #ref = 0;
  #requests = new Map();
  #reopening = false;

  /**
   * `world` is the browser; tests give another. `ladder`: the transports to use; `alone`: only the topics given to
   * `start`, at the WebSocket address `path`; `traffic({requests?, bytes?})` is told what goes over the line.
   */
  constructor(world = browser(), { ladder = LADDER, path = "/ws/", alone = false, traffic } = {}) {
    this.#world = world;
    this.#ladder = ladder;
    this.#options = { path, alone, traffic };
  }

  get state() {
    return this.#state;
  }

  get stalled() {
    return this.#stalled;
  }

  /** The close code that led to "waiting", "signed-out" or "stopped". */
  get code() {
    return this.#code;
  }

  get transport() {
    return this.#link?.kind ?? this.#ladder[this.#rung];
  }

  get cursor() {
    return this.#delivery?.cursor ?? null;
  }

  /** Every topic that is asked for or has been heard of. */
  get topics() {
    return [...new Set([...this.#wanted.keys(), ...(this.#delivery?.topics ?? [])])];
  }

  /** `user`: the id of the person whose page this is; anybody else's connection stops it with "stranger". */
  start({ cursor = null, topics = [], user = null } = {}) {
    if (this.#delivery) return;
    this.#user = user === null ? null : String(user);
    this.#delivery = new Delivery({
      cursor,
      emit: (event) => this.#tell("event", event),
      again: (reset) => this.#resetAgain(reset),
      lost: (reset) => this.#tell("reset", reset),
    });
    for (const text of this.#learnt.splice(0)) this.#delivery.learn(text);
    for (const topic of topics) this.#want(topic, true);
    this.#watchThePage();
    this.#connect();
  }

  /** For good. */
  stop() {
    this.#unwatch.abort();
    clearTimeout(this.#stalledTimer);
    this.#drop();
    this.#setState("stopped");
  }

  on(name, listener) {
    const listeners = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, listeners.add(listener));
    return () => listeners.delete(listener);
  }

  /**
   * Several may ask for a topic; it is served until each has unsubscribed. `cursor`: of the snapshot shown. Who is not
   * `present` only listens: a page is shown as being in a room unless all its parts that ask for the room say so.
   */
  subscribe(topic, cursor = null, { present = true } = {}) {
    this.#want(topic, present);
    if (cursor && this.#delivery) this.#delivery.learn(cursor);
    else if (cursor) this.#learnt.push(cursor);
    // Before `welcome` nothing is asked: #ready asks for what the address did not.
    if (this.#state === "live") this.#askFor(topic);
  }

  #want(topic, present) {
    const asked = this.#wanted.get(topic) ?? { present: 0, absent: 0 };
    asked[present ? "present" : "absent"] += 1;
    this.#wanted.set(topic, asked);
  }

  #isPresent(topic) {
    return this.#wanted.get(topic).present > 0;
  }

  async #askFor(topic) {
    const link = this.#link;
    const present = this.#isPresent(topic);
    const isServed = link.asked.has(topic);
    if (link.asked.get(topic) === present || this.#implied.has(topic)) return;
    if (!link.connection.send) {
      if (!isServed) this.#reopenSoon(); // over HTTP nobody is present in a room
      return;
    }
    link.asked.set(topic, present);
    const cursor = isServed ? undefined : this.#delivery.position(topic);
    const frame = { op: "subscribe", topic, ...(cursor !== undefined && { cursor }) };
    if (isServed || !present) frame.present = present;
    try {
      await this.#send(frame, (reply) => this.#delivery.begin(topic, reply.offset));
    } catch (error) {
      if (error.code === "forbidden") this.#revoked({ topic });
      else if (error.code !== "offline") this.#return(); // offline: the next connection asks for it
    }
  }

  /** The end of one `subscribe`, `present` as it was there. */
  unsubscribe(topic, { present = true } = {}) {
    const asked = this.#wanted.get(topic);
    if (!asked) return;
    if (present ? asked.present > 0 : asked.absent === 0) asked.present -= 1;
    else asked.absent -= 1;
    if (asked.present > 0 || asked.absent > 0) {
      if (this.#state === "live") this.#askFor(topic);
      return;
    }
    this.#wanted.delete(topic);
    if (this.#implied.has(topic)) return;
    this.#delivery?.forget(topic);
    if (this.#state !== "live") return;
    this.#link.asked.delete(topic);
    if (this.#link.connection.send) this.request({ op: "unsubscribe", topic }).catch(() => {});
    else this.#reopenSoon();
  }

  /** A frame with a reply (PROTOCOL §3), over the WebSocket only; rejects with RequestError. */
  request(frame) {
    return this.#send(frame);
  }

  /** A frame without a reply that matters only now: said while the WebSocket is live, else not at all. */
  say(frame) {
    if (this.#state === "live") this.#link.connection.send?.(frame);
  }

  /** Keep the topic's events until its snapshot is there: call it in a listener of "reset". */
  hold(topic) {
    this.#delivery?.hold(topic);
  }

  /** Hand on what came meanwhile and lies above the snapshot's cursor. */
  release(topic, cursor) {
    this.#delivery?.release(topic, cursor);
  }

  // Opening, and what comes in.

  async #connect() {
    clearTimeout(this.#timer);
    this.#drop();
    this.#setState("connecting");
    if (this.#failures >= TRIES && this.#rung < this.#ladder.length - 1 && !(await this.#descend()))
      return;
    this.#link = this.#open(this.#kind());
  }

  /** A tab nobody looks at polls instead of keeping one of the browser's six connections to a host. */
  #kind() {
    const kind = this.#ladder[this.#rung];
    const occupies = kind === "sse" || kind === "long-poll";
    return occupies && this.#world.hidden() && this.#ladder.includes("poll") ? "poll" : kind;
  }

  /**
   * Is it this transport that does not get through, or is the server away? Ask in the plainest way.
   * @returns {Promise<boolean>} whether to go on opening
   */
  async #descend() {
    const stop = new AbortController();
    const link = this.#newLink(this.#ladder[this.#rung]);
    link.connection = { close: () => stop.abort() };
    this.#link = link;
    try {
      const answer = await ask(
        this.#world,
        "/events/poll",
        { cursor: this.cursor },
        {
          signal: stop.signal,
          seconds: ANSWER,
          on: {},
        },
      );
      if (this.#link !== link) return false;
      spread(answer, this.#handlers(link));
      if (this.#link !== link) return false;
    } catch (error) {
      if (this.#link !== link) return false;
      this.#failures = 0; // it was not the transport's fault
      link.ready = true;
      this.#ended(link, { code: error.code ?? 1006, retryAfter: error.retryAfter });
      return false;
    }
    if (this.#rung !== link.rung) return true; // the network changed meanwhile: from the top
    this.#n = 0;
    // It worked here before: perhaps the server was away until a moment ago.
    if (this.#failures === TRIES && this.#wasLive.has(link.kind)) return true;
    this.#rung += 1;
    this.#failures = 0;
    return true;
  }

  #open(kind, rung = this.#rung) {
    const link = this.#newLink(kind, rung);
    link.connection = OPEN[kind](this.#world, this.#query(), this.#handlers(link));
    return link;
  }

  #newLink(kind, rung = this.#rung) {
    const asked = new Map([...this.#wanted.keys()].map((name) => [name, this.#isPresent(name)]));
    return { kind, rung, asked, connection: null, ready: false, heard: Date.now(), silence: null };
  }

  #query() {
    return {
      cursor: () => this.#delivery.cursor,
      wanted: () => [...this.#wanted.keys()],
      absent: () => [...this.#wanted.keys()].filter((topic) => !this.#isPresent(topic)),
      every: this.#world.hidden() && !this.#options.alone ? HIDDEN_PAUSE : undefined,
      path: this.#options.path,
      alone: this.#options.alone,
    };
  }

  #handlers(link) {
    const current = (then) => (value) => {
      if (this.#link === link) then(value);
    };
    return {
      traffic: this.#options.traffic,
      ready: ({ silence, welcome }) => {
        const isCurrent = this.#candidate === link || this.#link === link;
        if (isCurrent && welcome && this.#isStranger(`user.${welcome.user?.id}`)) {
          this.#meetStranger();
          return;
        }
        if (this.#candidate === link) this.#climbed(link);
        if (this.#link === link) this.#ready(link, silence, welcome);
      },
      alive: () => {
        link.heard = Date.now();
      },
      frame: current((frame) => this.#take(frame)),
      learn: current((cursor) => this.#delivery.learn(cursor)),
      end: (ending) => {
        if (this.#candidate === link) this.#climbFailed();
        else if (this.#link === link) this.#ended(link, ending);
      },
    };
  }

  #ready(link, silence, welcome) {
    link.ready = true;
    this.#rung = link.rung; // `online` may have set it back while this one was being opened
    link.silence = silence;
    link.heard = Date.now();
    this.#failures = 0;
    this.#wasLive.add(link.kind);
    clearTimeout(this.#steadyTimer);
    this.#steadyTimer = setTimeout(() => {
      this.#n = 0;
    }, STEADY * 1000);
    clearTimeout(this.#settledTimer);
    this.#settledTimer = setTimeout(() => {
      this.#retriedSignIn = false;
    }, SETTLED * 1000);
    this.#watch(link);
    this.#climbLater();
    this.#code = null;
    if (welcome) {
      this.#delivery.welcome(welcome.epoch, welcome.offsets);
      this.#implied = new Set(
        Object.keys(welcome.offsets).filter((topic) => !this.#wanted.has(topic)),
      );
    } else this.#implied = new Set();
    this.#setState("live");
    for (const topic of this.#wanted.keys()) this.#askFor(topic);
    this.#sendVisible();
    this.#tell("welcome", welcome ?? { cursor: this.cursor });
    this.#suit();
  }

  /** Somebody may have turned to the tab, or away from it, while the connection was being opened. */
  #suit() {
    if (this.#state === "live" && this.#kind() !== this.#link.kind) this.#connect();
  }

  /** A topic that only another person may read: somebody else has signed in since the page was made. */
  #isStranger(topic) {
    return this.#user !== null && topic.startsWith("user.") && topic !== `user.${this.#user}`;
  }

  #isStrangers({ op, topic, cursor }) {
    if (this.#user === null) return false;
    if (op !== "heartbeat") return typeof topic === "string" && this.#isStranger(topic);
    return [...(parseCursor(cursor)?.offsets.keys() ?? [])].some((name) => this.#isStranger(name));
  }

  /** Nothing of theirs is shown in this page, and the page has nothing more to say. */
  #meetStranger() {
    this.stop();
    this.#tell("stranger", null);
  }

  #take(frame) {
    if (this.#isStrangers(frame)) this.#meetStranger();
    else if (frame.op === "event") {
      if (!this.#delivery.take(frame)) this.#return();
    } else if (frame.op === "heartbeat") {
      if (frame.cursor && !this.#delivery.covers(frame.cursor)) this.#return();
    } else if (frame.op === "whisper") this.#tell("whisper", frame);
    else if (frame.op === "reset") {
      this.#delivery.reset(frame);
      this.#tell("reset", frame);
    } else if (frame.op === "revoked") this.#revoked(frame);
    else if (frame.op === "reply") this.#answer(frame);
  }

  /** `early` sees the reply before the frames behind it are taken. */
  #send(frame, early) {
    const send = this.#state === "live" && this.#link.connection.send;
    if (!send) return Promise.reject(new RequestError("offline", "not connected"));
    const ref = ++this.#ref;
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => {
        this.#requests.delete(ref);
        reject(new RequestError("timeout", `no reply within ${ANSWER} s`));
      }, ANSWER * 1000);
      this.#requests.set(ref, { resolve, reject, late, early });
      send({ ...frame, ref });
    });
  }

  #answer({ ref, ok, data, error }) {
    const request = this.#requests.get(ref);
    if (!request) return;
    this.#requests.delete(ref);
    clearTimeout(request.late);
    if (ok) {
      request.early?.(data);
      request.resolve(data);
    } else request.reject(new RequestError(error.code, error.detail));
  }

  #revoked({ topic }) {
    this.#wanted.delete(topic);
    this.#implied.delete(topic);
    this.#link?.asked.delete(topic);
    this.#delivery.forget(topic);
    this.#tell("revoked", { topic });
  }

  /** A snapshot came that cannot be gone on from. */
  #resetAgain(reset) {
    setTimeout(() => {
      const offset = this.#delivery.position(reset.topic);
      if (offset === undefined) return;
      // Who holds it by now hears of this reset like of any other, and holds again.
      this.#delivery.reset({ ...reset, offset, reason: "expired" });
      this.#tell("reset", { ...reset, offset });
    }, AGAIN * 1000);
  }

  // The end of a connection, and the next one.

  #ended(link, { code, retryAfter = 0 }) {
    this.#drop();
    this.#code = code;
    const then = afterClose(code);
    if (then === "stop") {
      this.#setState("stopped");
    } else if (then === "sign-in" && this.#retriedSignIn) {
      this.#setState("signed-out");
    } else if (then === "sign-in") {
      this.#retriedSignIn = true;
      this.#connect();
    } else {
      if (!link.ready && link.rung === this.#rung) this.#failures += 1;
      this.#notBefore = Date.now() + leastPause(code, retryAfter) * 1000;
      const seconds = pause(code, this.#n++, this.#world.dice(), retryAfter);
      this.#setState("waiting");
      this.#timer = setTimeout(() => this.#connect(), seconds * 1000);
    }
  }

  /** Something is missing on this connection: resume on another. */
  #return() {
    const link = this.#link;
    if (link) this.#ended({ ...link, ready: true }, { code: 1006 });
  }

  #drop() {
    clearTimeout(this.#timer);
    clearTimeout(this.#watchdog);
    clearTimeout(this.#steadyTimer);
    clearTimeout(this.#settledTimer);
    clearTimeout(this.#climbTimer);
    const links = [this.#link, this.#candidate];
    this.#link = this.#candidate = null;
    for (const link of links) link?.connection?.close();
    const requests = [...this.#requests.values()];
    this.#requests.clear();
    for (const { reject, late } of requests) {
      clearTimeout(late);
      reject(new RequestError("offline", "the connection was lost"));
    }
  }

  /** HTTP transports say their topics in the address; several changes make one new request. */
  #reopenSoon() {
    if (this.#reopening) return;
    this.#reopening = true;
    queueMicrotask(() => {
      this.#reopening = false;
      if (this.#state === "live" && !this.#link.connection.send) this.#connect();
    });
  }

  // Is it still there?

  #watch(link) {
    clearTimeout(this.#watchdog);
    if (link.silence === null) return;
    const left = link.heard + link.silence * 1000 - Date.now();
    if (left <= 0) this.#return();
    else this.#watchdog = setTimeout(() => this.#watch(link), left);
  }

  /** After a sleep or a change of network a socket may be dead without knowing it. */
  #probe() {
    const link = this.#link;
    if (!link.connection.send) {
      this.#connect();
      return;
    }
    const asked = Date.now();
    this.request({ op: "ping" }).catch(() => {});
    setTimeout(() => {
      if (this.#link === link && link.heard < asked) this.#return();
    }, PROBE * 1000);
  }

  // Up again.

  #climbLater() {
    clearTimeout(this.#climbTimer);
    if (this.#rung === 0) {
      this.#climbs = 0;
      this.#climbAt = null;
      return;
    }
    const seconds = Math.min(CLIMB * 2 ** this.#climbs, CLIMB_MOST);
    this.#climbAt ??= Date.now() + seconds * 1000 * (0.75 + this.#world.dice() / 2);
    this.#climbTimer = setTimeout(() => this.#climb(), Math.max(0, this.#climbAt - Date.now()));
  }

  /** What a change of connection cuts short has not failed: it is tried again on the next one. */
  #climb() {
    if (this.#state === "live" && !this.#candidate)
      this.#candidate = this.#open(this.#ladder[0], 0);
  }

  #climbFailed() {
    this.#candidate = null;
    this.#climbs += 1;
    this.#climbAt = null;
    this.#climbLater();
  }

  #climbed(link) {
    const former = this.#link;
    this.#link = link;
    this.#candidate = null;
    this.#rung = 0;
    former?.connection?.close();
  }

  // The page around it.

  #watchThePage() {
    const { page, view } = this.#world;
    const { signal } = this.#unwatch;
    const watch = (target, name, then) => target.addEventListener(name, then, { signal });
    watch(view, "online", () => this.#nudge({ network: true }));
    // A socket outlives its network without a word: half a minute later it would be found silent.
    watch(view, "offline", () => this.#state === "live" && this.#return());
    watch(view, "pageshow", ({ persisted }) => persisted && this.#nudge());
    // A page with an open connection is not kept for the back button; what is dropped here is resumed then.
    watch(view, "pagehide", ({ persisted }) => {
      if (!persisted || this.#state === "stopped" || this.#state === "signed-out") return;
      this.#drop();
      this.#setState("waiting");
    });
    watch(page, "resume", () => this.#nudge());
    watch(page, "visibilitychange", () => {
      this.#sendVisible();
      if (!this.#world.hidden()) this.#nudge();
      this.#suit();
    });
  }

  /** A moment at which trying is worth it, whatever the back-off says; what the server asked for still holds. */
  #nudge({ network = false } = {}) {
    if (network) {
      this.#rung = 0;
      this.#failures = 0;
      this.#n = 0;
    }
    if (this.#state === "live") this.#probe();
    else if (this.#state === "waiting" || this.#state === "signed-out") {
      const jitter = network ? JITTER * 1000 * this.#world.dice() : 0;
      const left = Math.max(0, this.#notBefore - Date.now()) + jitter;
      clearTimeout(this.#timer);
      if (left > 0) this.#timer = setTimeout(() => this.#connect(), left);
      else this.#connect();
    }
  }

  #sendVisible() {
    this.say({ op: "visible", value: !this.#world.hidden() });
  }

  #setState(state) {
    if (state === this.#state) return;
    this.#state = state;
    if (state === "live") {
      clearTimeout(this.#stalledTimer);
      this.#stalledTimer = undefined;
      this.#stalled = false;
    } else {
      this.#stalledTimer ??= setTimeout(() => {
        this.#stalled = true;
        this.#tell("state", this.#summary());
      }, STALLED * 1000);
    }
    this.#tell("state", this.#summary());
  }

  #summary() {
    const { state, stalled, transport, code } = this;
    return { state, stalled, transport, code };
  }

  #tell(name, value) {
    for (const listener of [...(this.#listeners.get(name) ?? [])]) {
      try {
        listener(value);
      } catch (error) {
        // One listener's fault must not cost another one the event.
        this.#world.report(error);
      }
    }
  }
}

export function browser() {
  return {
    fetch: (...request) => fetch(...request),
    WebSocket: globalThis.WebSocket,
    origin: globalThis.location?.origin,
    page: globalThis.document,
    view: globalThis,
    hidden: () => document.visibilityState === "hidden",
    dice: Math.random,
    report: (error) => globalThis.reportError(error),
  };
}

export const hub = new Hub();
