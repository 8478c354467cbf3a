/* What is being completed at the caret: a person after `@`, an emoji after `:`. Knows no page and no network. */

const MOST = 8;
const PERSON = /(?:^|[\s([{"'>*_~-])@([\p{L}\p{N}_.+-]{0,40})$/u;
const EMOJI = /(?:^|[\s([{"'>*_~-]|[\u1100-\uffdc]):([a-z0-9_+-]{2,30})$/i;

/** `{sign, query, from, to}` of the word that ends at the caret, or null. */
export function wordAt(text, caret) {
  const before = text.slice(0, caret);
  if (isInCode(before)) return null;
  for (const [sign, pattern] of [
    ["@", PERSON],
    [":", EMOJI],
  ]) {
    const found = pattern.exec(before);
    if (found) return { sign, query: found[1], from: caret - found[1].length - 1, to: caret };
  }
  return null;
}

/** An odd number of fences or of backticks on the line has been opened and not closed. */
function isInCode(before) {
  if ((before.match(/^```/gm) ?? []).length % 2) return true;
  const line = before.slice(before.lastIndexOf("\n") + 1);
  return (line.match(/`/g) ?? []).length % 2 === 1;
}

/** The text with the word replaced, and where the caret then stands. */
export function completed(text, { from, to }, replacement) {
  const rest = text.slice(to);
  const space = /^\s/.test(rest) ? "" : " ";
  const head = text.slice(0, from) + replacement + space;
  return { text: head + rest, caret: head.length + (space ? 0 : 1) };
}

/** Shortcodes that begin with the query, then those that have it somewhere; one for each emoji. */
export function matchingEmoji(table, query) {
  const wanted = query.toLowerCase();
  const ranked = Object.entries(table)
    .map(([code, sign]) => ({ code, sign, at: code.indexOf(wanted) }))
    .filter(({ at }) => at >= 0)
    .sort((a, b) => rank(a, wanted) - rank(b, wanted));
  const seen = new Set();
  return ranked.filter(({ sign }) => !seen.has(sign) && seen.add(sign)).slice(0, MOST);
}

function rank({ code, at }, wanted) {
  if (code === wanted) return 0;
  return (at === 0 ? 1 : 2) * 100 + code.length;
}
