import { get } from "../api.js";
import { hub } from "../client.js";
import { copy, glow, setText, setTime, slot } from "../dom.js";
import {
  isJobEvent,
  isUnheard,
  percentText,
  say,
  setBar,
  setState,
  show,
  took,
} from "../jobview.js";
import { onSnapshot } from "../snapshot.js";

const SPACING = 1000; // ms between two fetches of the list
const UNHEARD = 10_000; // ms between two fetches where the transport does not whisper
const LONGEST = 30_000; // ms between tries while the hub does not answer

/**
 * The list of jobs. An event of one's own brings the whole job; what it can't tell (who moves up, where an older one
 * belongs, what a job of somebody else's is called) is fetched: the same page of the list, at most once a second.
 */
class HubJobs extends HTMLElement {
  #offs = [];
  #asked = 0;
  #fetching = false;
  #welcomes = 0;
  #timer;

  connectedCallback() {
    this.#offs = [
      hub.on("event", (event) => this.#happened(event)),
      hub.on("whisper", ({ topic, type, data }) => {
        if (topic === "group.dashboard" && type === "job.progress") this.#moved(data);
      }),
      hub.on("welcome", () => {
        this.#welcomes += 1;
        if (this.#welcomes > 1 && this.#isMoving()) this.#refresh();
      }),
      onSnapshot(() => this.#fetch()),
    ];
    this.#timer = setInterval(() => {
      if (isUnheard() && this.#isMoving()) this.#refresh();
    }, UNHEARD);
    this.addEventListener("change", this.#filter);
    document.addEventListener("click", this.#closeMenu);
    this.addEventListener("keydown", this.#closeMenu);
    slot(this, "show").hidden = true;
  }

  disconnectedCallback() {
    for (const off of this.#offs) off();
    clearInterval(this.#timer);
    this.removeEventListener("change", this.#filter);
    document.removeEventListener("click", this.#closeMenu);
    this.removeEventListener("keydown", this.#closeMenu);
  }

  #filter = ({ target }) => target.form?.requestSubmit();

  #closeMenu = ({ type, key, target }) => {
    const menu = this.querySelector("details.menu[open]");
    if (!menu || (type === "click" ? menu.contains(target) : key !== "Escape")) return;
    menu.open = false;
    if (type === "keydown") menu.querySelector("summary").focus();
  };

  #isMoving() {
    return this.querySelector('.job[data-state="started"]') !== null;
  }

  #happened({ topic, type, data }) {
    if (!isJobEvent(type)) return;
    const { user } = document.body.dataset;
    const isOwn = String(data.owner?.id) === user;
    if (topic !== (isOwn ? `user.${user}` : "group.dashboard")) return;
    if (!isOwn) {
      if (this.dataset.whose === "all") this.#refresh();
      return;
    }
    if (this.#fetching) this.#asked += 1; // what is on its way may be older
    const row = this.#row(data.id);
    const isNew = data.state === "queued" && data.attempt === 1;
    if (row && this.#fits(data)) this.#fill(row, data);
    else if (row) {
      row.remove();
      this.#refresh();
    } else if (isNew && !this.dataset.before && this.#fits(data)) this.#insert(data);
    else if (!row && !isNew && this.#fits(data)) this.#refresh();
    this.#showEmpty();
  }

  #fits({ state, kind }) {
    const wanted = this.dataset;
    return (!wanted.state || wanted.state === state) && (!wanted.kind || wanted.kind === kind);
  }

  #moved({ id, done, total }) {
    const row = this.#row(id);
    if (row?.dataset.state === "started") this.#showWay(row, { done, total });
  }

  #insert(job) {
    const row = this.#make(job);
    const list = this.querySelector(".jobs");
    list.prepend(row);
    glow(row);
    if (list.childElementCount > Number(this.dataset.limit)) {
      list.lastElementChild.remove();
      this.#refresh(); // what is older begins elsewhere now
    }
  }

  async #refresh() {
    this.#asked += 1;
    if (this.#fetching) return;
    this.#fetching = true;
    let pause = SPACING;
    for (let shown = -1; shown !== this.#asked && this.isConnected; ) {
      const asked = this.#asked; // what happens during the fetch makes what it brings too old
      try {
        await this.#fetch();
        shown = asked;
        pause = SPACING;
      } catch {
        pause = Math.min(2 * pause, LONGEST);
      }
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
    this.#fetching = false;
  }

  async #fetch() {
    const { state, kind, whose, before, limit } = this.dataset;
    const query = new URLSearchParams({ limit });
    if (state) query.set("state", state);
    if (kind) query.set("kind", kind);
    if (whose === "own") query.set("own", "true");
    if (before) query.set("before", before);
    const { items, next } = await get(`/jobs?${query}`);
    const rows = items.map((job) => {
      const row = this.#row(job.id);
      if (row) this.#fill(row, job);
      return row ?? this.#make(job);
    });
    const focused = document.activeElement;
    this.querySelector(".jobs").replaceChildren(...rows);
    if (this.contains(focused)) focused.focus();
    const more = this.querySelector(".jobs-more");
    more.hidden = !next;
    if (next) {
      const href = new URLSearchParams(location.search);
      href.set("before", next);
      slot(more, "more").href = `?${href}`;
    }
    this.#showEmpty();
  }

  #row(id) {
    return this.querySelector(`.job[data-id="${CSS.escape(id)}"]`);
  }

  #make(job) {
    const row = copy(this.querySelector("#job-row"));
    this.#fill(row, job);
    return row;
  }

  #fill(row, job) {
    row.dataset.id = job.id;
    setState(row, job.state);
    slot(row, "link").href = job.url;
    setText(row, "title", job.title);
    setText(row, "owner", job.owner?.name);
    slot(row, "owner").title = job.owner?.name ?? "";
    setText(row, "took", took(job));
    this.#showWay(row, job);
    setTime(row.querySelector(".job-time"), job.started_at ?? job.queued_at);
  }

  #showWay(row, job) {
    show(row, "way", row.dataset.state === "started");
    setBar(row, job);
    say(row, "percent", percentText(job));
  }

  #showEmpty() {
    this.querySelector(".empty").hidden = this.querySelector(".jobs").childElementCount > 0;
  }
}

customElements.define("hub-jobs", HubJobs);
