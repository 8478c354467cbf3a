import { hub } from "../client.js";
import { copy, setText, slot } from "../dom.js";
import { isMuted, isToMe, myRooms, onRooms } from "../rooms.js";
import { arrangeRows, fillNews, showNews } from "../roomsview.js";
import { fillIn, ngettext } from "../words.js";

const SPACING = 1000; // ms between two fetches of the rooms to join
const AGAIN = 15_000; // ms: nobody is told how rooms change that they are not in

/** The list of rooms: one's own from the page's store, those to join as the server shows them for this filter. */
class HubRooms extends HTMLElement {
  #asked; // the filter that the rooms to join are shown for
  #isDue = false;
  #offs = [];
  #timer;

  connectedCallback() {
    this.#asked = this.#query;
    const own = `user.${document.body.dataset.user}`;
    const listen = (target, name, then) => {
      target.addEventListener(name, then);
      this.#offs.push(() => target.removeEventListener(name, then));
    };
    this.#offs = [
      onRooms(() => this.#show()),
      hub.on("event", ({ topic, type, data }) => {
        const isOwn = topic === own && ["room.added", "room.removed"].includes(type);
        if (isOwn || type === "room.created") this.#fetchSoon();
        if (type === "room.updated" && data.kind === "open") this.#fetchSoon();
      }),
      hub.on("reset", () => this.#fetchSoon()),
    ];
    listen(document, "visibilitychange", () => {
      if (!document.hidden) this.#fetchSoon();
    });
    listen(document, "hub-key", this.#key);
    listen(slot(this, "filter"), "input", () => {
      this.#filter();
      this.#fetchSoon(); // more rooms may fit than the page has
    });
    listen(slot(this, "filter"), "submit", this.#enter);
    this.#timer = setInterval(() => {
      if (!document.hidden) this.#fetchSoon();
    }, AGAIN);
    slot(this, "filter-button").hidden = true;
  }

  disconnectedCallback() {
    for (const off of this.#offs) off();
    clearInterval(this.#timer);
  }

  get #query() {
    return slot(this, "filter").elements.q.value.trim();
  }

  // What is shown.

  #show() {
    const list = slot(this, "my-rooms");
    const rows = myRooms().map((room) => {
      const known = list.querySelector(`[data-id="${room.id}"]`);
      const row = known ?? copy(this.querySelector("template[data-slot=row]"));
      fill(row, room, this);
      return row;
    });
    arrangeRows(list, rows);
    for (const { dataset } of rows)
      slot(this, "open-rooms").querySelector(`[data-id="${dataset.id}"]`)?.remove();
    this.#filter();
  }

  /** `fresh`: the same page as it is now. */
  #showOpen(fresh) {
    const list = slot(this, "open-rooms");
    const rows = [...slot(fresh, "open-rooms").children].map((row) => {
      const known = list.querySelector(`[data-id="${row.dataset.id}"]`);
      return known?.textContent === row.textContent ? known : document.adoptNode(row);
    });
    arrangeRows(list, rows);
    slot(this, "more").replaceWith(document.adoptNode(slot(fresh, "more")));
    this.#show();
  }

  #fetchSoon() {
    if (this.#isDue) return;
    this.#isDue = true;
    setTimeout(() => this.#fetch(), SPACING);
  }

  async #fetch() {
    this.#isDue = false;
    if (!this.isConnected) return;
    const query = this.#query;
    const { searchParams } = new URL(location);
    const isHere = query === (searchParams.get("q") ?? "").trim();
    const before = isHere ? this.dataset.before : ""; // another filter begins at its first page
    let text;
    try {
      const answer = await fetch(`/rooms/?${new URLSearchParams({ q: query, before })}`);
      if (!answer.ok || answer.redirected) return;
      text = await answer.text();
    } catch {
      return; // the next look comes by itself
    }
    if (query !== this.#query) return;
    this.#asked = query;
    this.#showOpen(new DOMParser().parseFromString(text, "text/html"));
  }

  // The filter.

  #filter() {
    const words = this.#query.toLocaleLowerCase().split(/\s+/);
    const parts = ["mine", "to-join"].map((name) => slot(this, name));
    let count = 0;
    let total = 0;
    for (const part of parts) {
      const rows = [...part.querySelectorAll(".rooms-row")];
      for (const row of rows) {
        const text = ["title", "line"].map((name) => slot(row, name).textContent).join(" ");
        const lower = text.toLocaleLowerCase();
        row.hidden = !words.every((word) => lower.includes(word));
      }
      const shown = rows.filter((row) => !row.hidden).length;
      part.hidden = shown === 0;
      count += shown;
      total += rows.length;
    }
    const isFiltered = this.#query !== "";
    slot(this, "none-fits").hidden = count > 0 || !isFiltered || this.#asked !== this.#query;
    slot(this, "empty").hidden = isFiltered || myRooms().length > 0;
    slot(this, "filter").hidden = total === 0 && !isFiltered;
    const said = fillIn(ngettext("%(count)d room", "%(count)d rooms", count), { count });
    const place = slot(this, "filter-said");
    if (isFiltered && place.textContent !== said) place.textContent = said;
    else if (!isFiltered) place.textContent = "";
  }

  /** Enter leads to the first that fits. */
  #enter = (event) => {
    event.preventDefault();
    this.#links()[0]?.click();
  };

  #links() {
    return [...this.querySelectorAll(".rooms-row:not([hidden]) .rooms-link")].filter(
      (link) => link.offsetParent,
    );
  }

  #key = (event) => {
    const by = { next: 1, previous: -1 }[event.detail];
    if (!by) return;
    const links = this.#links();
    const at = links.indexOf(document.activeElement);
    const link = at < 0 ? links.at(by > 0 ? 0 : -1) : links[at + by];
    if (!link) return;
    link.focus();
    event.preventDefault();
  };
}

function fill(row, room, words) {
  const muted = isMuted(room);
  fillNews(row, room, isToMe(room));
  if (muted) showNews(row, { unread: 0, mentions: 0, isToMe: false });
  row.toggleAttribute("data-unread", !muted && room.count.unread > 0);
  row.toggleAttribute("data-archived", room.archived);
  slot(row, "archived").hidden = !room.archived;
  slot(row, "muted").hidden = !muted;
  slot(row, "sign").setAttribute("href", `#i-room-${room.kind}`);
  setText(row, "kind", words.dataset[room.kind]);
  if (room.topic_line !== undefined) setText(row, "line", room.topic_line);
}

customElements.define("hub-rooms", HubRooms);
