/* What the composer completes, from the hub: who may read the room, and the shortcodes of emoji. */

import { get } from "./api.js";
import { matchingEmoji } from "./roomcomplete.js";

let table; // once for the page

export function sourcesOf(room, emojiAddress) {
  return {
    async people(query) {
      const wanted = encodeURIComponent(query);
      const { items } = await get(`/people?q=${wanted}&room=${room}&limit=8`);
      return items.map(({ name, username }) => {
        const insert = `@${username}`;
        return { insert, label: name, hint: insert };
      });
    },
    async emoji(query) {
      table ??= fetch(emojiAddress).then((answer) => answer.json());
      table.catch(() => {
        table = undefined;
      });
      return matchingEmoji(await table, query).map(({ code, sign }) => {
        return { insert: sign, label: `${sign} :${code}:`, hint: "" };
      });
    },
  };
}
