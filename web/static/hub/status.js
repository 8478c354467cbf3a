const EVERY = 2000; // ms; as often as the servers tell their figures
const PATIENCE = 8000; // ms

/** Keeps the figures of the page fresh while it is looked at; the server draws them. */
class HubStatus extends HTMLElement {
  #timer;
  #asking = false;

  connectedCallback() {
    this.#timer = setInterval(() => this.#refresh(), EVERY);
  }

  disconnectedCallback() {
    clearInterval(this.#timer);
  }

  async #refresh() {
    if (document.hidden || this.#asking) return;
    this.#asking = true;
    try {
      const answer = await fetch(location.href, { signal: AbortSignal.timeout(PATIENCE) });
      if (answer.redirected || answer.status === 403) location.reload();
      if (!answer.ok) throw new Error(`${answer.status}`);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const name of ["figures", "at"]) this.#take(page, name);
      delete this.dataset.stale;
    } catch {
      this.dataset.stale = "";
    } finally {
      this.#asking = false;
    }
  }

  #take(page, name) {
    const slot = `hub-status [data-slot="${name}"]`;
    const old = document.querySelector(slot);
    const scrolled = old.querySelector(".status-scroll");
    const fresh = page.querySelector(slot);
    const at = scrolled?.scrollLeft ?? 0;
    const hadFocus = scrolled !== null && document.activeElement === scrolled;
    old.replaceChildren(...fresh.childNodes);
    const again = old.querySelector(".status-scroll");
    if (again) again.scrollLeft = at;
    if (hadFocus) again?.focus({ preventScroll: true });
  }
}

customElements.define("hub-status", HubStatus);
