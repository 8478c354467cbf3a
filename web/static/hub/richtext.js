/*
 * The only place where a message's HTML becomes elements. The server has made it safe; here it is read without being
 * run, and built anew of what is named below: whatever else should ever come is shown as its text.
 */

import { safeLink } from "./dom.js";

const ELEMENTS = new Set(
  "p br strong em s code pre blockquote ul ol li a span"
    .split(" ")
    .map((name) => name.toUpperCase()),
);
const NEVER = new Set(["SCRIPT", "STYLE", "TEMPLATE"]); // their text is none
const DEEPEST = 40;

/** A fragment of the message; `me`: the id of whoever reads it, whose name is marked. */
export function richText(html, me) {
  const parsed = new DOMParser().parseFromString(html, "text/html");
  const made = document.createDocumentFragment();
  rebuild(parsed.body, made, Number(me), 0);
  return made;
}

function rebuild(from, to, me, depth) {
  for (const node of from.childNodes) {
    if (node.nodeType === Node.TEXT_NODE) to.append(node.data);
    else if (node.nodeType !== Node.ELEMENT_NODE || NEVER.has(node.tagName)) continue;
    else if (depth >= DEEPEST) to.append(node.textContent);
    else rebuild(node, ELEMENTS.has(node.tagName) ? add(node, to, me) : to, me, depth + 1);
  }
}

function add(node, to, me) {
  const made = document.createElement(node.tagName);
  if (node.tagName === "A") {
    const href = safeLink(node.getAttribute("href"));
    if (!href) return to;
    made.setAttribute("href", href);
    if (new URL(href, location.origin).origin !== location.origin) {
      made.target = "_blank";
      made.rel = "nofollow noopener noreferrer";
    }
  } else if (node.tagName === "SPAN") {
    if (node.className !== "mention") return to;
    made.className = "mention";
    if (Number(node.dataset.user) === me) made.dataset.me = "";
  } else if (node.tagName === "PRE") {
    made.tabIndex = 0; // what scrolls is reached by keyboard
  } else if (node.tagName === "P" || node.tagName === "LI") {
    made.dir = "auto";
  }
  to.append(made);
  return made;
}
