/* How rooms are shown in lists; `parts/rooms_*.html` of the server do the same. */

import { setText, setTime, slot } from "./dom.js";

const MOST = 99; // a badge beyond this reads "99+"

/** The badge of what is unread, and before it a sign that somebody is mentioned. */
export function showNews(root, { unread, mentions, isToMe }) {
  const badge = slot(root, "news");
  badge.hidden = unread === 0;
  badge.classList.toggle("badge-quiet", !isToMe);
  setText(root, "unread", unread > MOST ? `${MOST}+` : unread);
  slot(root, "at").hidden = mentions === 0;
}

/** A room's news in a row that leads to it. */
export function fillNews(row, room, isToMe) {
  const { id, title, count, active_at } = room;
  row.dataset.id = id;
  slot(row, "link").href = `/rooms/${id}/`;
  if (slot(row, "title").textContent !== title) setText(row, "title", title);
  slot(row, "title").title = title;
  showNews(row, { unread: count.unread, mentions: count.mentions, isToMe });
  const time = slot(row, "time");
  if (time && time.querySelector("time")?.dateTime !== active_at) setTime(time, active_at);
}

/** The same rows in this order; those that stand in it already are left in place, as is the focus. */
export function arrangeRows(list, rows) {
  const focused = list.contains(document.activeElement) ? document.activeElement : null;
  for (const row of [...list.children]) if (!rows.includes(row)) row.remove();
  for (const [at, row] of rows.entries())
    if (list.children[at] !== row) list.insertBefore(row, list.children[at] ?? null);
  if (focused?.isConnected && focused !== document.activeElement) focused.focus();
}
