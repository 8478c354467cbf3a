import { isLookedAt, isToMe, onRooms, roomsWithNews } from "../rooms.js";
import { showNews } from "../roomsview.js";

/** How much is unread in one's rooms, on every page and in every tab; in the accent if some of it is to me. */
class HubRoomsCount extends HTMLElement {
  #off;

  connectedCallback() {
    this.#off = onRooms(() => this.#show());
  }

  disconnectedCallback() {
    this.#off();
  }

  #show() {
    const rooms = roomsWithNews().filter(({ id }) => !isLookedAt(id));
    const sum = (what) => rooms.reduce((total, { count }) => total + count[what], 0);
    const unread = sum("unread");
    showNews(this, { unread, mentions: sum("mentions"), isToMe: rooms.some(isToMe) });
  }
}

customElements.define("hub-rooms-count", HubRoomsCount);
