import { get } from "../api.js";
import { hub } from "../client.js";
import { copy, setText, slot } from "../dom.js";
import { isMuted, isToMe, myRooms, onRooms } from "../rooms.js";
import { arrangeRows, fillNews, showNews } from "../roomsview.js";
import { fillIn, ngettext } from "../words.js";

const MOST_OPEN = 100; // as `TO_JOIN` of the server
const SPACING = 1000; // ms between two fetches of the rooms to join
const AGAIN = 60_000; // ms: nobody is told how rooms change that they are not in

/** The list of rooms: one's own from the page's store, those to join from the hub. */
class HubRooms extends HTMLElement {
  #open = null; // as the hub listed them; null while the server's rows stand
  #isDue = false;
  #offs = [];
  #timer;

  connectedCallback() {
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
    listen(slot(this, "filter"), "input", () => this.#filter());
    listen(slot(this, "filter"), "submit", this.#enter);
    this.#timer = setInterval(() => {
      if (!document.hidden) this.#fetchSoon();
    }, AGAIN);
    slot(this, "filter-button").hidden = true;
    if (this.#query) this.#fetchSoon(); // the server left out what does not fit
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
    const rows = myRooms().map((room) =>
      this.#row(list, "row", room.id, (row) => fill(row, room, this)),
    );
    arrangeRows(list, rows);
    if (this.#open) this.#showOpen();
    this.#filter();
  }

  #showOpen() {
    const list = slot(this, "open-rooms");
    const mine = new Set(myRooms().map(({ id }) => id));
    const rooms = this.#open.filter(({ id, archived }) => !mine.has(id) && !archived);
    const rows = rooms.map((room) =>
      this.#row(list, "open-row", room.id, (row) => fillOpen(row, room)),
    );
    arrangeRows(list, rows);
  }

  #row(list, template, id, fillIt) {
    const row =
      list.querySelector(`[data-id="${id}"]`) ??
      copy(this.querySelector(`template[data-slot="${template}"]`));
    fillIt(row);
    return row;
  }

  #fetchSoon() {
    if (this.#isDue) return;
    this.#isDue = true;
    setTimeout(() => this.#fetch(), SPACING);
  }

  async #fetch() {
    this.#isDue = false;
    if (!this.isConnected) return;
    try {
      this.#open = (await get(`/rooms?joined=false&limit=${MOST_OPEN}`)).items;
      this.#show();
    } catch {
      // The next look comes by itself.
    }
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
    slot(this, "none-fits").hidden = !isFiltered || count > 0;
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

function fillOpen(row, { id, name, topic_line }) {
  row.dataset.id = id;
  slot(row, "link").href = `/rooms/${id}/`;
  row.querySelector("form").action = `/rooms/${id}/join/`;
  for (const place of ["title", "join-title"]) setText(row, place, name);
  slot(row, "title").title = name;
  setText(row, "line", topic_line);
}

customElements.define("hub-rooms", HubRooms);
