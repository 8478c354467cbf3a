/* How messages stand below each other; `_rows` in `web/room.py` does the same on the server. Knows no page. */

import { dayOf } from "./when.js";

const GROUPED = 5 * 60_000; // ms: said within this time of the last one, it stands under the same name

/**
 * What the list shows, in order: `{key, day}`, `{key, line}` and `{key, item, isFirst}`.
 * `leftAt`: the id up to which `me` had read when the unread line was drawn, or null for none.
 */
export function arrange(items, { me, leftAt = null, begins = null }) {
  const shown = [];
  let last = begins;
  let hasLine = leftAt === null;
  for (const item of items) {
    const day = dayOf(new Date(item.at));
    const at = Date.parse(item.at);
    const by = item.author?.id ?? null;
    if (day !== last?.day) shown.push({ key: `day-${day}`, day });
    if (!hasLine && item.id > leftAt && by !== me) {
      hasLine = true;
      shown.push({ key: "line", line: true });
    }
    const isFirst = day !== last?.day || by !== last.by || at - last.at >= GROUPED;
    shown.push({ key: keyOf(item), item, isFirst });
    last = { day, at, by };
  }
  return shown;
}

/** One that is not stored yet has no id. */
export const keyOf = (item) => (item.id ? `m-${item.id}` : `p-${item.client_id}`);
