/* Filling the server's own <template>s: text goes in through textContent, links through `safeLink`. */

const LEVELS = new Set(["info", "success", "warning", "error"]);

/** A fresh copy of the template's first element. */
export const copy = (template) => template.content.firstElementChild.cloneNode(true);

export const slot = (root, name) => root.querySelector(`[data-slot="${name}"]`);

export function setText(root, name, text) {
  const place = slot(root, name);
  if (place) place.textContent = text ?? "";
}

const ADDRESS = /\bhttps?:\/\/[a-z0-9][\w\-.~:/?#[\]@!$&\x27()*+,;=%]*/gi;
const OPENING = { ")": "(", "]": "[" };

/** Text whose http(s) addresses are links; `linked` in `templatetags/hub.py` does the same on the server. */
export function setLinked(root, name, text) {
  const parts = [];
  let at = 0;
  for (const found of (text ?? "").matchAll(ADDRESS)) {
    const url = withoutTheEndOfTheSentence(found[0]);
    if (!safeLink(url)) continue;
    const link = document.createElement("a");
    Object.assign(link, { href: url, target: "_blank", rel: "nofollow noopener noreferrer" });
    link.textContent = url;
    parts.push(text.slice(at, found.index), link);
    at = found.index + url.length;
  }
  slot(root, name).replaceChildren(...parts, (text ?? "").slice(at));
}

/** A closing bracket belongs to the address only if it was opened there. */
function withoutTheEndOfTheSentence(url) {
  let end = url;
  const count = (sign) => end.split(sign).length;
  for (let last = end.at(-1); ; last = end.at(-1)) {
    const isOpen = last in OPENING && count(last) <= count(OPENING[last]);
    if (!".,:;!?'".includes(last) && (!(last in OPENING) || isOpen)) return end;
    end = end.slice(0, -1);
  }
}

/** Icon, colour and word of a level; the words stand in the page (see `level_words`). */
export function setLevel(root, level) {
  const known = LEVELS.has(level) ? level : "info";
  const place = slot(root, "level");
  place.classList.remove(...[...LEVELS].map((name) => `level-${name}`));
  place.classList.add(`level-${known}`);
  place.querySelector("use").setAttribute("href", `#i-${known}`);
  const word = slot(root, "level-word");
  if (word) word.textContent = document.querySelector("#level-words").dataset[known];
}

export function setTime(place, at) {
  const time = document.createElement("time");
  time.dateTime = at;
  const element = document.createElement("hub-time");
  element.append(time);
  place.replaceChildren(element);
}

/** The address if a link may lead there, else "": never `javascript:` or the like. */
export function safeLink(url) {
  if (!url) return "";
  try {
    const { protocol } = new URL(url, location.origin);
    return protocol === "http:" || protocol === "https:" ? url : "";
  } catch {
    return "";
  }
}

export function initials(name) {
  const words = name.split(/\s+/).filter((word) => /^[\p{L}\p{N}]/u.test(word));
  if (!words.length) return "?";
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the range of ASCII
  if (!/^[\x00-\x7f]*$/.test(name)) return [...words[0]][0];
  return words
    .slice(0, 2)
    .map((word) => word[0].toUpperCase())
    .join("");
}

/** Whether a key belongs to an input method. Safari ends a composition before the key that ends it, and says 229 alone. */
export const isComposing = (event) => event.isComposing || event.keyCode === 229;

/** A short glow on what has just come in. */
export function glow(element) {
  element.classList.add("arrived");
  setTimeout(() => element.classList.remove("arrived"), 1500);
}
