import { browser, Hub, hub } from "./client.js";
import { parseCursor, writeCursor } from "./cursor.js";
import { fillIn, gettext } from "./words.js";

const PING_EVERY = 1000; // ms
const BARS = 40;
const SAMPLES = 1000; // latencies remembered for the percentiles
const HEADERS = 300; // bytes: what browsers count for the headers of an answer, since they may not show them
const DECADES = 4; // a bar of full height took 10⁴ ms

const now = () => performance.timeOrigin + performance.now();

const STATES = {
  off: () => gettext("Not started"),
  connecting: () => gettext("Connecting"),
  live: () => gettext("Live"),
  waiting: () => gettext("Does not get through; trying again"),
  stopped: () => gettext("Does not get through"),
  "signed-out": () => gettext("Signed out"),
};

/** One transport's column: a client that may use only this one, and what it measured. */
class Column {
  #section;
  #client;
  #run;
  #began;
  #liveSince = Number.POSITIVE_INFINITY;
  #latencies = [];
  #events = 0;
  #requests = 0;
  #bytes = 0;

  constructor(section, { run, cursor, topic }) {
    this.#section = section;
    this.#run = run;
    this.#began = now();
    for (const name of ["first", "p50", "p95", "events", "requests", "bytes"]) this.#say(name, "–");
    this.#slot("bars").replaceChildren();
    this.#client = new Hub(browser(), {
      ladder: [section.dataset.transport],
      path: "/ws/me/",
      alone: true,
      traffic: ({ requests = 0, bytes = 0 }) => {
        const isHttp = section.dataset.transport !== "websocket";
        this.#requests += requests;
        this.#bytes += bytes + (isHttp ? requests * HEADERS : 0);
      },
    });
    this.#client.on("state", ({ state }) => this.#showState(state));
    this.#client.on("event", (event) => this.#take(event));
    this.#client.start({ cursor, topics: [topic] });
  }

  stop() {
    this.#client.stop();
    this.#showState("off");
  }

  #take({ type, data }) {
    if (type !== "connection.ping" || data.run !== this.#run) return;
    const latency = Math.max(0, now() - data.sent_at);
    if (this.#events === 0) this.#say("first", milliseconds(now() - this.#began));
    this.#events += 1;
    if (data.sent_at > this.#liveSince) this.#count(latency); // the first one waited for the opening
    this.#say("events", number(this.#events));
    this.#say("requests", number(this.#requests / this.#events, 2));
    this.#say("bytes", number(this.#bytes / this.#events));
    this.#draw(latency);
  }

  #count(latency) {
    this.#latencies.push(latency);
    if (this.#latencies.length > SAMPLES) this.#latencies.shift();
    const sorted = [...this.#latencies].sort((a, b) => a - b);
    this.#say("p50", milliseconds(percentile(sorted, 0.5)));
    this.#say("p95", milliseconds(percentile(sorted, 0.95)));
  }

  #draw(latency) {
    const bars = this.#slot("bars");
    const bar = document.createElement("i");
    const height = Math.min(1, Math.log10(1 + latency) / DECADES);
    bar.style.height = `${Math.max(3, 100 * height)}%`;
    bars.append(bar);
    while (bars.childElementCount > BARS) bars.firstElementChild.remove();
  }

  #showState(state) {
    if (state === "live") this.#liveSince = Math.min(this.#liveSince, now());
    this.#section.querySelector("[data-state]").dataset.state = state;
    this.#say("state", STATES[state]());
  }

  #say(name, text) {
    this.#slot(name).textContent = text;
  }

  #slot(name) {
    return this.#section.querySelector(`[data-slot="${name}"]`);
  }
}

class HubCompare extends HTMLElement {
  #columns = [];
  #run = null;
  #timer;
  #off = [];

  connectedCallback() {
    const form = this.#slot("form");
    form.hidden = false;
    const toggle = (event) => {
      event.preventDefault();
      if (this.#run) this.#stop();
      else this.#start();
    };
    form.addEventListener("submit", toggle);
    this.#off = [
      () => form.removeEventListener("submit", toggle),
      hub.on("state", () => this.#sayTransport()),
    ];
    this.#sayTransport();
  }

  disconnectedCallback() {
    this.#stop();
    for (const off of this.#off) off();
  }

  #start() {
    this.#run = crypto.randomUUID?.() ?? String(Math.random()).slice(2);
    this.#setButton(true);
    const topic = `user.${document.body.dataset.user}`;
    const cursor = cursorOf(topic);
    this.#columns = [...this.querySelectorAll("[data-transport]")].map(
      (section) => new Column(section, { run: this.#run, cursor, topic }),
    );
    this.#say(gettext("Comparing."));
    this.#ping();
  }

  #stop() {
    if (!this.#run) return;
    this.#run = null;
    clearTimeout(this.#timer);
    for (const column of this.#columns) column.stop();
    this.#columns = [];
    this.#setButton(false);
    this.#say(gettext("Stopped. The figures stay until you start again."));
  }

  async #ping() {
    const run = this.#run;
    const token = this.querySelector("input[name=csrfmiddlewaretoken]").value;
    const began = now();
    try {
      const response = await fetch("/connection/ping/", {
        method: "POST",
        headers: { "X-CSRFToken": token },
        body: new URLSearchParams({ run, sent_at: String(began) }),
      });
      if (!response.ok && response.status !== 429 && this.#run === run) {
        this.#say(gettext("The hub takes no test events right now; trying again."));
      }
    } catch {
      if (this.#run === run) this.#say(gettext("The hub can’t be reached; trying again."));
    }
    if (this.#run !== run) return;
    this.#timer = setTimeout(() => this.#ping(), Math.max(0, PING_EVERY - (now() - began)));
  }

  #setButton(isRunning) {
    this.#slot("button").textContent = isRunning ? gettext("Stop") : gettext("Start");
  }

  #sayTransport() {
    if (this.#run || hub.state !== "live") return;
    const section = this.querySelector(`[data-transport="${hub.transport}"] h2`);
    this.#say(
      fillIn(gettext("This page itself gets its news by: %(name)s"), { name: section.textContent }),
    );
  }

  #say(text) {
    this.#slot("status").textContent = text;
  }

  #slot(name) {
    return this.querySelector(`[data-slot="${name}"]`);
  }
}

/** Where the own topic stands now, so that all four start at the same place. */
function cursorOf(topic) {
  const known = parseCursor(hub.cursor ?? document.body.dataset.cursor);
  if (!known?.offsets.has(topic)) return null;
  return writeCursor(known.epoch, new Map([[topic, known.offsets.get(topic)]]));
}

function percentile(sorted, share) {
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)];
}

function milliseconds(value) {
  const style = { style: "unit", unit: "millisecond", maximumFractionDigits: 0 };
  return new Intl.NumberFormat(document.documentElement.lang, style).format(value);
}

function number(value, digits = 0) {
  return new Intl.NumberFormat(document.documentElement.lang, {
    maximumFractionDigits: digits,
  }).format(value);
}

customElements.define("hub-compare", HubCompare);
