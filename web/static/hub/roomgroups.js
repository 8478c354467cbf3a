/* How messages stand below each other; `_rows` in `web/room.py` does the same on the server. Knows no page. */

import { dayOf } from "./when.js";

const MINUTE = 60_000; // ms

/**
 * What the list shows, in order: `{key, day}`, `{key, line}` and `{key, item, isFirst}`. What one person says within a
 * minute of the clock stands under one name. The unread line stands above the first by somebody else from the id
 * `unreadFrom` on (null for none), unless that one may be further up: `isFromStart` says that the room begins with
 * these items.
 */
export function arrange(items, { me, unreadFrom = null, isFromStart = true }) {
  const shown = [];
  let last = { day: "", minute: null, by: null };
  let hasLine = !reaches(items, { unreadFrom, isFromStart });
  for (const item of items) {
    const written = dayOf(new Date(item.at));
    const isNewDay = written > last.day; // what is not stored yet may be from an earlier one
    const day = isNewDay ? written : last.day;
    const minute = Math.floor(Date.parse(item.at) / MINUTE);
    const by = item.author?.id ?? null;
    if (isNewDay) shown.push({ key: `day-${day}`, day });
    if (!hasLine && item.id >= unreadFrom && by !== me) {
      hasLine = true;
      shown.push({ key: "line", line: true });
    }
    const isFirst = isNewDay || by !== last.by || minute !== last.minute;
    shown.push({ key: keyOf(item), item, isFirst });
    last = { day, minute, by };
  }
  return shown;
}

/** Whether what is unread from an id on begins among these items or below, not above them. */
export const reaches = (items, { unreadFrom, isFromStart }) =>
  unreadFrom !== null && (isFromStart || items[0]?.id <= unreadFrom);

/** The same before and after it is stored. */
export const keyOf = ({ id, author, client_id }) =>
  author ? `m-${author.id}-${client_id}` : `m-${id}`;
