/* Events say a mention's title in the language its person chose, English for none: here in the language of the page. */

import { fillIn, gettext } from "./words.js";

const MENTIONED = "room.mention";
const IN_ROOM = /^(?<who>.+) mentioned you in (?<room>.+)$/;
const IN_DIRECT = /^(?<who>.+) mentioned you$/;

/** The notification of an event as the API would give it to this page. */
export function worded(item) {
  if (item.kind !== MENTIONED) return item;
  const inRoom = IN_ROOM.exec(item.title);
  const inDirect = IN_DIRECT.exec(item.title);
  const known = inRoom
    ? gettext("%(who)s mentioned you in %(room)s")
    : gettext("%(who)s mentioned you");
  const found = inRoom ?? inDirect;
  return found ? { ...item, title: fillIn(known, found.groups) } : item;
}
