import { copy } from "../dom.js";
import { isLookedAt, isToMe, onRooms, roomsWithNews } from "../rooms.js";
import { arrangeRows, fillNews } from "../roomsview.js";

/** The rooms with news, what is to me first: in the rail of every page, and as a tile of the dashboard. */
class HubRoomsNews extends HTMLElement {
  #off;

  connectedCallback() {
    this.#off = onRooms(() => this.#show());
  }

  disconnectedCallback() {
    this.#off();
  }

  #show() {
    const rooms = roomsWithNews().filter(({ id }) => !isLookedAt(id));
    const list = this.querySelector("ul");
    const shown = rooms.slice(0, Number(this.dataset.most)).map((room) => {
      const known = list.querySelector(`[data-id="${room.id}"]`);
      const row = known ?? copy(this.querySelector("template"));
      fillNews(row, room, isToMe(room));
      return row;
    });
    arrangeRows(list, shown);
    this.#showRest(rooms.length);
  }

  #showRest(count) {
    const empty = this.querySelector(".empty");
    if (empty) empty.hidden = count > 0;
    else this.hidden = count === 0;
    const more = this.querySelector(".tile-more");
    if (more) more.hidden = count <= Number(this.dataset.most);
    const place = this.closest("section")?.querySelector("[data-rooms-count]");
    if (place) place.textContent = count;
  }
}

customElements.define("hub-rooms-news", HubRoomsNews);
