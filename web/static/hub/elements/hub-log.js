import { get } from "../api.js";
import { slot } from "../dom.js";
import { LogBook } from "../logbook.js";
import { number } from "../when.js";
import { fillIn, gettext, ngettext } from "../words.js";

const NEAR = 24; // px from the end that count as being at it
const AHEAD = 600; // px from either end at which more is fetched
const AGAIN = 2000; // ms before a fetch is tried once more

/**
 * A job's log: follows the newest line until somebody scrolls up, and keeps a bounded window of it in the page.
 * `hub-job` hears the whispers; `hear`, `learn` and `look` are called by it.
 */
class HubLog extends HTMLElement {
  #book;
  #isFollowing = true;
  #fetching = false;
  #timer; // of the catch-up after a fetch that failed
  #isOver = false; // the log is gone, or no longer theirs to read
  #frame;

  connectedCallback() {
    this.#frame = this.querySelector(".log");
    const lines = [...this.#frame.querySelectorAll(".log-line")].map((line) => ({
      n: Number(line.dataset.n),
      attempt: Number(line.dataset.attempt),
      text: line.textContent,
    }));
    this.#book = new LogBook(lines, Number(this.dataset.head));
    this.#markAttempts();
    this.#frame.addEventListener("scroll", this.#scrolled, { passive: true });
    slot(this, "jump").addEventListener("click", this.#jump);
    this.#toEnd();
  }

  disconnectedCallback() {
    this.#frame.removeEventListener("scroll", this.#scrolled);
    slot(this, "jump").removeEventListener("click", this.#jump);
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  /** A whisper `job.log`. */
  hear(said) {
    this.#show("append", this.#book.hear(said, this.#isFollowing));
    this.#catchUp();
  }

  /** The log has at least so many lines. */
  learn(head) {
    this.#book.learn(head);
    this.#catchUp();
  }

  #catchUp() {
    this.#showJump();
    if (this.#isFollowing) this.#fetch(() => this.#book.missing());
  }

  /** One at a time; goes on while there is something to fetch. */
  async #fetch(plan) {
    if (this.#fetching || this.#timer || this.#isOver) return;
    this.#fetching = true;
    try {
      for (let wanted = plan(); wanted && this.isConnected; wanted = plan()) {
        const items = await this.#page(wanted);
        this.#show(wanted.how, this.#book.take(wanted, items));
        if (wanted.how === "prepend") break; // the next page is for whoever goes on reading up
      }
    } catch (error) {
      this.#fetching = false;
      this.#isOver = error.status === 404 || error.status === 403;
      if (!this.#isOver && this.isConnected) this.#timer = setTimeout(this.#tryAgain, AGAIN);
      return;
    }
    this.#fetching = false;
    this.#showJump();
    if (this.#isFollowing && this.#book.below) this.#fetch(() => this.#book.missing());
  }

  #tryAgain = () => {
    this.#timer = undefined;
    this.#catchUp();
  };

  /** All the lines of a plan; of long ones an answer brings fewer than were asked for. */
  async #page({ from, limit }) {
    const lines = [];
    for (let next = from; next !== null && next < from + limit; ) {
      const page = `from=${next}&limit=${from + limit - next}`;
      const answer = await get(`/jobs/${this.dataset.id}/log?${page}`);
      lines.push(...answer.items);
      next = answer.next;
    }
    return lines;
  }

  #show(how, lines) {
    if (how === "replace") this.#frame.replaceChildren();
    if (!lines.length) return;
    const made = lines.map(({ n, attempt, text }) => {
      const line = document.createElement("div");
      line.className = "log-line";
      Object.assign(line.dataset, { n, attempt });
      line.textContent = text;
      return line;
    });
    if (how === "prepend") {
      const before = this.#frame.scrollHeight;
      this.#frame.prepend(...made);
      this.#frame.scrollTop += this.#frame.scrollHeight - before;
      for (let extra = this.#book.trim("bottom"); extra > 0; extra -= 1)
        this.#frame.lastElementChild.remove();
    } else {
      this.#frame.append(...made);
      const before = this.#frame.scrollHeight;
      for (let extra = this.#book.trim("top"); extra > 0; extra -= 1)
        this.#frame.firstElementChild.remove();
      if (this.#isFollowing) this.#toEnd();
      else this.#frame.scrollTop -= before - this.#frame.scrollHeight;
    }
    this.#markAttempts();
  }

  #markAttempts() {
    let former = 1;
    for (const line of this.#frame.children) {
      const attempt = Number(line.dataset.attempt);
      if (attempt === former) delete line.dataset.begins;
      else line.dataset.begins = fillIn(gettext("Attempt %(number)s"), { number: attempt });
      former = attempt;
    }
  }

  #scrolled = () => {
    const { scrollTop, scrollHeight, clientHeight } = this.#frame;
    if (clientHeight === 0) return; // not in sight yet
    const below = scrollHeight - scrollTop - clientHeight;
    this.#isFollowing = below < NEAR && this.#book.below === 0;
    if (this.#isFollowing) this.#book.see();
    if (scrollTop < AHEAD && !this.#isFollowing) this.#fetch(() => this.#book.older());
    else if (below < AHEAD && this.#book.below) this.#fetch(() => this.#newerOnce());
    this.#showJump();
  };

  /** One page at a time for somebody who reads down. */
  #newerOnce() {
    const { scrollTop, scrollHeight, clientHeight } = this.#frame;
    return scrollHeight - scrollTop - clientHeight < AHEAD ? this.#book.newer() : null;
  }

  #jump = () => {
    this.#isFollowing = true;
    this.#toEnd();
    this.#catchUp();
    this.#frame.focus({ preventScroll: true });
  };

  #toEnd() {
    this.#frame.scrollTop = this.#frame.scrollHeight;
    this.#book.see();
  }

  #showJump() {
    slot(this, "jump").hidden = this.#isFollowing;
    const { unseen } = this.#book;
    slot(this, "jump-word").textContent = unseen
      ? fillIn(ngettext("%(count)s new line", "%(count)s new lines", unseen), {
          count: number(unseen),
        })
      : gettext("Jump to the newest");
  }
}

customElements.define("hub-log", HubLog);
