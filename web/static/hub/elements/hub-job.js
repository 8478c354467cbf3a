import { get, send } from "../api.js";
import { hub } from "../client.js";
import { copy, setText, setTime, slot } from "../dom.js";
import {
  figures,
  isJobEvent,
  isLive,
  lastLine,
  percent,
  say,
  setBar,
  setState,
  show,
  stateWord,
  took,
} from "../jobview.js";
import { Pace } from "../pace.js";
import { setTitle } from "../title.js";
import { duration, hubNow, left, rate, size } from "../when.js";
import { fillIn, gettext } from "../words.js";

const TICK = 1000; // ms
const QUIET = 10_000; // ms without a word of a running job, after which it is fetched: not every transport whispers
const PAUSE = 1000; // ms before another try at the snapshot, doubled up to LONGEST
const LONGEST = 30_000;
const RETRYABLE = new Set(["failed", "cancelled", "lost"]);

/**
 * One job, live: its events move the state, its whispers the bar and the log. Whispers may be lost, so after every
 * new connection, as after a reset, the job is fetched; meanwhile its events are held.
 */
class HubJob extends HTMLElement {
  #job;
  #attempts = [];
  #pace = new Pace();
  #topic;
  #offs = [];
  #timer;
  #heardAt = performance.now();
  #asked = 0;
  #moves = 0; // whispers of how far it is
  #fetching = false;

  connectedCallback() {
    const { id, cursor } = this.dataset;
    this.#topic = `job.${id}`;
    this.#job = this.#read("#job");
    this.#attempts = this.#read("#attempts");
    if (this.#job.state === "started" && this.#job.started_at) {
      this.#pace.see(0, Date.parse(this.#job.started_at) / 1000);
      this.#pace.see(this.#job.done, hubNow() / 1000);
    }
    this.#offs = [
      hub.on("event", ({ topic, type, data }) => {
        if (topic === this.#topic && isJobEvent(type)) this.#happened(data);
      }),
      hub.on("whisper", ({ topic, type, data }) => {
        if (topic !== this.#topic) return;
        this.#heardAt = performance.now();
        if (type === "job.progress") this.#moved(data);
        else if (type === "job.log") this.#said(data);
      }),
      hub.on("welcome", () => this.#refresh()),
      hub.on("reset", ({ topic }) => {
        if (topic === this.#topic) this.#refresh();
      }),
      hub.on("revoked", ({ topic }) => {
        if (topic === this.#topic) this.#gone();
      }),
    ];
    hub.subscribe(this.#topic, cursor);
    slot(this, "cancel").addEventListener("click", this.#askToCancel);
    slot(this, "retry").addEventListener("submit", this.#retry);
    this.#timer = setInterval(() => {
      this.#tick();
      this.#askWhenQuiet();
    }, TICK);
    this.#show();
  }

  disconnectedCallback() {
    for (const off of this.#offs) off();
    hub.unsubscribe(this.#topic);
    slot(this, "cancel").removeEventListener("click", this.#askToCancel);
    slot(this, "retry").removeEventListener("submit", this.#retry);
    clearInterval(this.#timer);
  }

  #read(selector) {
    return JSON.parse(this.querySelector(selector).textContent);
  }

  #log() {
    return this.querySelector("hub-log");
  }

  // What comes in.

  #happened(job) {
    if (job.attempt !== this.#job.attempt || job.state !== this.#job.state) this.#pace = new Pace();
    this.#job = { ...job, title: this.#job.title }; // an event is in the language of the job's owner
    const { attempt: number, state, queued_at, started_at, finished_at } = job;
    const { done, total, summary, error } = job;
    const tried = {
      number,
      state,
      queued_at,
      started_at,
      finished_at,
      done,
      total,
      summary,
      error,
    };
    this.#attempts = [tried, ...this.#attempts.filter((other) => other.number !== number)];
    this.#attempts.sort((one, other) => other.number - one.number);
    this.#show();
    if (job.log_lines > 0) show(this, "log-part", true);
    if (!isLive(job.state)) this.#log().learn(job.log_lines ?? 0);
    if (job.error && String(job.owner?.id) !== document.body.dataset.user) this.#refresh();
  }

  #moved({ attempt, done, total, note, cancel_requested }) {
    if (attempt !== this.#job.attempt || this.#job.state !== "started") return;
    if (cancel_requested && !this.#job.cancel_requested) {
      this.#job = { ...this.#job, cancel_requested };
      this.#show();
    }
    const job = this.#job;
    if (done < job.done) return;
    this.#moves += 1;
    this.#pace.see(done, hubNow() / 1000);
    this.#job = { ...job, done, total, note };
    this.#showWay();
  }

  #said(data) {
    show(this, "log-part", true);
    this.#log().hear(data);
  }

  #askWhenQuiet() {
    if (this.#job.state !== "started" || document.hidden || hub.state !== "live") return;
    if (performance.now() - this.#heardAt > QUIET) this.#refresh();
  }

  /** Fetch it once more; what comes meanwhile is held, and a wish during a fetch makes another. */
  async #refresh() {
    this.#asked += 1;
    this.#heardAt = performance.now();
    if (this.#fetching) return;
    this.#fetching = true;
    let pause = PAUSE;
    for (let shown = -1; shown !== this.#asked && this.isConnected; ) {
      const asked = this.#asked;
      const moves = this.#moves;
      hub.hold(this.#topic);
      try {
        const { cursor, attempts, ...job } = await get(`/jobs/${this.dataset.id}`);
        this.#reset(job, attempts, moves !== this.#moves);
        shown = asked;
        hub.release(this.#topic, cursor);
      } catch (error) {
        hub.release(this.#topic, null);
        if (error.status === 404) {
          this.#gone();
          break;
        }
        await new Promise((resolve) => setTimeout(resolve, pause));
        pause = Math.min(2 * pause, LONGEST);
      }
    }
    this.#fetching = false;
  }

  #reset(job, attempts, moved) {
    const isSame = job.attempt === this.#job.attempt && job.state === this.#job.state;
    const isBehind = job.done < this.#job.done || (moved && job.done === this.#job.done);
    if (!isSame) this.#pace = new Pace();
    else if (isBehind) job = { ...job, ...this.#whispered() }; // rows lag behind
    this.#job = job;
    this.#attempts = attempts;
    this.#show();
    if (job.log_lines) show(this, "log-part", true);
    this.#log().learn(job.log_lines ?? 0);
  }

  #whispered() {
    const { done, total, note } = this.#job;
    return { done, total, note };
  }

  #gone() {
    this.#problem(gettext("This job is no longer there, or no longer yours to see."));
    show(this, "cancel", false);
    show(this, "retry", false);
  }

  // What is shown.

  #show() {
    const job = this.#job;
    const { state } = job;
    setState(this, state);
    setText(this, "title", job.title);
    const owner = job.owner
      ? fillIn(gettext("started by %(name)s"), { name: job.owner.name })
      : gettext("started by the hub");
    say(this, "owner", owner);
    setTime(this.querySelector(".job-at"), job.started_at ?? job.queued_at);
    say(this, "attempt", fillIn(gettext("attempt %(number)s"), { number: job.attempt }));
    show(this, "attempt", job.attempt > 1);
    const isStopping = isLive(state) && job.cancel_requested;
    show(this, "cancel", isLive(state) && !job.cancel_requested);
    show(this, "retry", RETRYABLE.has(state) && job.kind !== "external");
    show(this, "stopping", isStopping);
    show(this, "waiting", state === "queued");
    if (!isLive(state)) this.querySelector("dialog.stop").close();
    this.#showEnd();
    this.#showFiles();
    this.#showAttempts();
    this.#showWay();
  }

  #showEnd() {
    const { state, error, summary } = this.#job;
    const isLost = state === "lost";
    show(this, "error-part", Boolean(error) || isLost);
    const isCancelled = state === "cancelled";
    let title = isLost ? gettext("The job was lost") : gettext("The job failed");
    if (isCancelled) title = stateWord(state);
    say(this, "error-title", title);
    const notice = slot(this, "error-notice");
    notice.classList.toggle("notice-error", !isCancelled);
    notice.querySelector("use").setAttribute("href", isCancelled ? "#i-info" : "#i-error");
    say(this, "error-last", lastLine(error));
    show(this, "lost", isLost);
    const trace = slot(this, "trace");
    trace.hidden = !error;
    say(trace, "text", error);
    const part = slot(this, "summary-part");
    part.hidden = !summary;
    say(part, "text", summary);
  }

  #showFiles() {
    const { files } = this.#job;
    const part = slot(this, "files-part");
    part.hidden = files.length === 0;
    const template = part.querySelector("template");
    const rows = files.map((file) => {
      const row = copy(template);
      row.dataset.id = file.id;
      slot(row, "link").href = `/jobs/${this.dataset.id}/files/${file.id}/`;
      setText(row, "name", file.name);
      setText(row, "size", size(file.size));
      setTime(row.querySelector(".file-until"), file.expires_at);
      return row;
    });
    replace(part.querySelector("ul"), rows);
  }

  #showAttempts() {
    const part = slot(this, "attempts-part");
    part.hidden = this.#attempts.length < 2;
    const template = part.querySelector("template");
    const rows = this.#attempts.map((attempt) => {
      const row = copy(template);
      row.dataset.number = attempt.number;
      setState(row, attempt.state);
      setText(row, "number", attempt.number);
      setText(row, "why", lastLine(attempt.error) || attempt.summary);
      setText(row, "took", took(attempt));
      setTime(row.querySelector(".attempt-time"), attempt.started_at ?? attempt.queued_at);
      return row;
    });
    replace(part.querySelector("ol"), rows);
  }

  #showWay() {
    const job = this.#job;
    show(this, "way", job.state !== "queued");
    show(this, "way-bar", job.state === "started" || job.total !== null);
    setBar(this, job);
    say(this, "figures", figures(job));
    say(this, "note", job.note);
    this.#tick();
    const isCounted = job.state === "started" && job.total > 0;
    setTitle(isCounted ? `${percent(job)} % · ${job.title}` : job.title);
  }

  #tick() {
    const job = this.#job;
    const isRunning = job.state === "started";
    const now = hubNow();
    say(this, "took", isRunning ? this.#runningFor(now) : tookInWords(job));
    const pace = isRunning ? this.#pace.rate(now / 1000) : null;
    say(this, "rate", pace === null ? "" : rate(pace));
    const seconds = isRunning ? this.#pace.left(job.total, now / 1000) : null;
    say(this, "left", seconds === null ? "" : left(seconds));
  }

  #runningFor(now) {
    const time = duration(now - Date.parse(this.#job.started_at));
    return fillIn(gettext("running for %(time)s"), { time });
  }

  #problem(text) {
    setText(this, "problem", text);
    show(this, "problem", Boolean(text));
  }

  // What is done.

  #askToCancel = (event) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    const dialog = this.querySelector("dialog.stop");
    dialog.returnValue = "";
    dialog.addEventListener(
      "close",
      () => {
        if (dialog.returnValue === "cancel") this.#steer("cancel");
      },
      { once: true },
    );
    dialog.showModal();
  };

  #retry = (event) => {
    event.preventDefault();
    this.#steer("retry");
  };

  async #steer(verb) {
    const buttons = this.querySelectorAll(".job-head .button");
    for (const button of buttons) button.setAttribute("aria-disabled", "true");
    this.#problem("");
    try {
      await send("POST", `/jobs/${this.dataset.id}/${verb}`);
      this.#refresh(); // a job that is asked to stop says so in no event
    } catch (error) {
      this.#problem(
        error.code === "conflict"
          ? gettext("That is not possible any more: the job has gone on meanwhile.")
          : error.message,
      );
    }
    for (const button of buttons) button.removeAttribute("aria-disabled");
  }
}

function tookInWords(job) {
  const time = took(job);
  return time && fillIn(gettext("took %(time)s"), { time });
}

/** Only when something differs: what is focused or selected stays so. */
function replace(list, rows) {
  const text = (elements) => elements.map((row) => row.textContent).join("\n");
  if (text([...list.children]) !== text(rows)) list.replaceChildren(...rows);
}

customElements.define("hub-job", HubJob);
