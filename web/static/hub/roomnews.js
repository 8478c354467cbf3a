/* What is told of a message to somebody who does not look at its room, and to whom. */

import { fillIn, gettext, ngettext } from "./words.js";

const MOST = 200; // characters

const me = Number(document.body.dataset.user);

/** Who is mentioned has a notification, which tells of the message itself. */
export function isHeard({ kind, involvement }, { mentions }) {
  const isFollowed =
    involvement === "everything" || (kind === "direct" && involvement !== "nothing");
  return isFollowed && !mentions.includes(me);
}

/** `count`: of the messages that this stands for. */
export function heading({ kind, title }, { author }, count = 1) {
  const who = author?.name ?? gettext("Somebody");
  if (count > 1)
    return fillIn(
      ngettext("%(count)d new message in %(room)s", "%(count)d new messages in %(room)s", count),
      { count, room: title },
    );
  return kind === "direct" ? who : fillIn(gettext("%(who)s in %(room)s"), { who, room: title });
}

/** What was typed, on one line. */
export function plain({ body }) {
  const line = body.replace(/\s+/g, " ").trim();
  return line.length > MOST ? `${line.slice(0, MOST)}…` : line;
}
