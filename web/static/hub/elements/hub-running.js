import { get } from "../api.js";
import { hub } from "../client.js";
import { copy, glow, setText, slot } from "../dom.js";
import {
  isJobEvent,
  isLive,
  isUnheard,
  percentText,
  say,
  setBar,
  setState,
  stateWord,
} from "../jobview.js";
import { Pace } from "../pace.js";
import { onSnapshot } from "../snapshot.js";
import { hubNow, left } from "../when.js";

const TICK = 1000; // ms between looks at the time left
const PAUSE = 1000; // ms between two fetches of what moves up
const UNHEARD = 10_000; // ms between two fetches where the transport does not whisper

/**
 * What waits or runs: one's own in full, that of others in short. Events say what comes and goes, whispers how far
 * it is. One's own are heard of on the own topic alone, others' on the dashboard's: so each job has one order.
 */
class HubRunning extends HTMLElement {
  #jobs = new Map(); // id -> {job, pace}, in the order shown
  #kinds = {};
  #offs = [];
  #timer;
  #unheardTimer;
  #welcomes = 0;
  #news = 0;
  #refilling = false;

  connectedCallback() {
    this.#kinds = JSON.parse(document.querySelector("#kinds").textContent);
    this.#load(JSON.parse(document.querySelector("#snapshot").textContent).jobs);
    this.#offs = [
      hub.on("event", (event) => this.#happened(event)),
      hub.on("whisper", ({ topic, type, data }) => {
        if (topic === "group.dashboard" && type === "job.progress") this.#moved(data);
      }),
      hub.on("welcome", () => {
        this.#welcomes += 1;
        if (this.#welcomes > 1 && this.#jobs.size) this.#refill(); // whispers were lost
      }),
      onSnapshot(({ jobs }) => {
        this.#news += 1;
        this.#showAll(jobs.running);
      }),
    ];
    this.#timer = setInterval(() => this.#tick(), TICK);
    this.#unheardTimer = setInterval(() => {
      if (isUnheard() && this.querySelector('[data-state="started"]')) this.#refill();
    }, UNHEARD);
    this.#tick();
  }

  disconnectedCallback() {
    for (const off of this.#offs) off();
    clearInterval(this.#timer);
    clearInterval(this.#unheardTimer);
  }

  #load({ running }) {
    this.#jobs = new Map(running.map((job) => [job.id, { job, pace: paceOf(job) }]));
  }

  #happened({ topic, type, data }) {
    if (!isJobEvent(type)) return;
    if (topic !== (isOwn(data) ? `user.${document.body.dataset.user}` : "group.dashboard")) return;
    this.#news += 1;
    const wasFull = this.#jobs.size >= this.#most();
    if (isLive(data.state)) this.#upsert(data);
    else if (this.#jobs.delete(data.id)) {
      this.#row(data.id)?.remove();
      if (wasFull) this.#refill(); // there may be more than are shown
    }
    this.#count();
  }

  #upsert(news) {
    const known = this.#jobs.get(news.id);
    const job = { ...known?.job, ...news }; // of others' jobs an event tells less than the list did
    if (known && known.job.state === job.state && known.job.attempt === job.attempt)
      known.job = job;
    else if (known) this.#jobs.set(job.id, { job, pace: paceOf(job) });
    else {
      const shown = [...this.#jobs];
      const place = isOwn(job) ? 0 : shown.filter(([, entry]) => isOwn(entry.job)).length;
      this.#jobs = new Map(shown.toSpliced(place, 0, [job.id, { job, pace: paceOf(job) }]));
    }
    for (const id of [...this.#jobs.keys()].slice(this.#most())) {
      this.#jobs.delete(id);
      this.#row(id)?.remove();
    }
    if (!this.#jobs.has(job.id)) return;
    const row = this.#row(job.id) ?? this.#add(job);
    this.#fill(row, job);
    if (!known) glow(row);
  }

  #moved({ id, done, total }) {
    const known = this.#jobs.get(id);
    if (known?.job.state !== "started") return;
    known.job = { ...known.job, done, total };
    known.pace.see(done, hubNow() / 1000);
    this.#fill(this.#row(id), known.job);
  }

  async #refill() {
    if (this.#refilling) return;
    this.#refilling = true;
    try {
      for (let isShown = false; !isShown && this.isConnected; ) {
        await new Promise((resolve) => setTimeout(resolve, PAUSE));
        const news = this.#news;
        const { jobs } = await get("/dashboard");
        isShown = news === this.#news; // else it may be older than what was heard meanwhile
        if (isShown) this.#showAll(jobs.running);
      }
    } catch {
      // The next event, or the snapshot after a reset, tries again.
    }
    this.#refilling = false;
  }

  #showAll(running) {
    const before = this.#jobs;
    this.#load({ running });
    for (const [id, entry] of this.#jobs) {
      const known = before.get(id);
      if (known?.job.state === entry.job.state) entry.pace = known.pace;
    }
    const rows = running.map((job) => {
      const row = this.#row(job.id) ?? this.#make();
      this.#fill(row, job);
      return row;
    });
    this.querySelector("ol").replaceChildren(...rows);
    this.#count();
  }

  #add(job) {
    const row = this.#make();
    row.dataset.id = job.id;
    const next = [...this.#jobs.keys()];
    const after = next.slice(next.indexOf(job.id) + 1).find((id) => this.#row(id));
    this.querySelector("ol").insertBefore(row, after ? this.#row(after) : null);
    return row;
  }

  #make() {
    return copy(this.querySelector("template"));
  }

  #row(id) {
    return this.querySelector(`li[data-id="${CSS.escape(id)}"]`);
  }

  #most() {
    return Number(this.dataset.most);
  }

  #fill(row, job) {
    row.dataset.id = job.id;
    row.toggleAttribute("data-own", isOwn(job));
    setState(row, job.state);
    const link = slot(row, "link");
    if (job.url || link.hasAttribute("href")) link.href = `/jobs/${job.id}/`;
    const title = job.title ?? this.#kinds[job.kind] ?? job.kind;
    setText(row, "title", title);
    link.title = title;
    setText(row, "owner", isOwn(job) ? "" : (job.owner?.name ?? ""));
    setBar(row, job);
    this.#sayLeft(row, job);
  }

  #sayLeft(row, job) {
    if (job.state === "queued") {
      say(row, "left", stateWord("queued"));
      return;
    }
    const { pace } = this.#jobs.get(job.id);
    const seconds = pace.left(job.total, hubNow() / 1000);
    const parts = [percentText(job), seconds === null ? "" : left(seconds)];
    say(row, "left", parts.filter(Boolean).join(" · "));
  }

  #tick() {
    for (const [id, { job }] of this.#jobs) {
      const row = this.#row(id);
      if (row) this.#sayLeft(row, job);
    }
  }

  #count() {
    const { size } = this.#jobs;
    this.querySelector(".empty").hidden = size > 0;
    const count = size >= this.#most() ? `${size}+` : size;
    this.closest("section").querySelector("[data-running-count]").textContent = count;
  }
}

const isOwn = ({ owner }) => String(owner?.id) === document.body.dataset.user;

/** A run that is under way already has been watched, so to say, since it started. */
function paceOf({ state, started_at, done }) {
  const pace = new Pace();
  if (state !== "started" || !started_at) return pace;
  pace.see(0, Date.parse(started_at) / 1000);
  pace.see(done, hubNow() / 1000);
  return pace;
}

customElements.define("hub-running", HubRunning);
