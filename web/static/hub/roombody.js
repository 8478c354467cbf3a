/* What may be said in a room, as `chat.text.body` has it on the server. Knows no page and no network. */

import { fillIn, gettext } from "./words.js";

const MOST = 4000; // characters, as `BODY_MAX` on the server
const UNSEEN = /^[\s\p{Cf}\p{Default_Ignorable_Code_Point}\u2800]*$/u; // as `is_blank` on the server

/** Why it would not be taken, in one sentence; "" when nothing is known against it. */
export function refusal(body) {
  if (UNSEEN.test(body)) return gettext("This is empty. Write something that can be seen.");
  const extra = [...body.normalize("NFC")].length - MOST;
  if (extra <= 0) return "";
  const words = gettext(
    "This is too long by %(extra)d characters. Shorten it, or send it in parts.",
  );
  return fillIn(words, { extra });
}
