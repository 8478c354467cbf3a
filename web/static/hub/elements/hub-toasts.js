import { hub } from "../client.js";
import { safeLink } from "../dom.js";
import { worded } from "../mentions.js";
import { heading, isHeard, plain } from "../roomnews.js";
import { isLookedAt, onMessage, onRooms, roomOf } from "../rooms.js";
import { fillIn, gettext, ngettext } from "../words.js";

const STAYS = 7000; // ms; longer while pointed at or focused; errors stay until they are closed
const MOST = 3; // at once; what comes beyond that is counted in one toast

/** Says what arrived, without taking the focus: politely, errors at once. */
class HubToasts extends HTMLElement {
  #offs = [];
  #polite;
  #assertive;
  #ofRooms = new Map(); // room -> its one toast, and how many messages it stands for
  #more = 0;
  #moreToast = null;
  #cameFrom = null; // what had the focus before a toast did

  connectedCallback() {
    this.#polite = this.#region("status");
    this.#assertive = this.#region("alert");
    this.replaceChildren(this.#assertive, this.#polite);
    this.#offs = [
      hub.on("event", ({ type, data }) => {
        if (type === "notification.created" && !data.read) this.#arrived(worded(data));
      }),
      onMessage((room, message) => this.#said(room, message)),
      onRooms(() => this.#read()),
    ];
  }

  disconnectedCallback() {
    for (const off of this.#offs) off();
  }

  /** A fault of something that was asked for here. */
  error(text) {
    const same = [...this.#assertive.children].find(({ dataset }) => dataset.text === text);
    same?.remove(); // said again, not twice
    const toast = this.#toast({ title: text, level: "error" }, { stays: true });
    toast.dataset.text = text;
    this.#assertive.append(toast);
  }

  #arrived(item) {
    if (document.querySelector("hub-inbox") && !document.hidden) return; // it stands in the list already
    if (isLookedAt(roomIn(item.url))) return;
    if (this.#polite.childElementCount < MOST && !this.#moreToast) {
      const href = safeLink(item.url) || `/inbox/${item.id}/`;
      this.#polite.append(this.#toast({ ...item, href }));
      return;
    }
    this.#more += 1;
    const title = fillIn(
      ngettext("%(count)d more notification", "%(count)d more notifications", this.#more),
      { count: this.#more },
    );
    if (this.#moreToast) this.#moreToast.querySelector("a").textContent = title;
    else {
      const gone = () => {
        this.#moreToast = null;
        this.#more = 0;
      };
      this.#moreToast = this.#toast({ title, level: "info", href: "/inbox/" }, { gone });
      this.#polite.append(this.#moreToast);
    }
  }

  /** One toast for each room, which says the last that was said. What does not fit, the badges say. */
  #said(room, message) {
    if (!isHeard(room, message) || isLookedAt(room.id) || isWall()) return;
    const known = this.#ofRooms.get(room.id);
    const count = (known?.count ?? 0) + 1;
    if (!known && this.#polite.childElementCount >= MOST) return;
    if (known?.toast.contains(document.activeElement)) {
      known.count = count; // what has the focus stays
      return;
    }
    const gone = () => this.#ofRooms.delete(room.id);
    const words = { title: heading(room, message, count), body: plain(message) };
    const href = `/rooms/${room.id}/at/${message.id}/`;
    const toast = this.#toast({ ...words, href, mark: "rooms" }, { gone });
    if (known) known.toast.replaceWith(toast);
    else this.#polite.append(toast);
    this.#ofRooms.set(room.id, { toast, count });
  }

  /** It was read elsewhere, or can't be read any more. */
  #read() {
    for (const [id, { toast }] of this.#ofRooms) {
      if (roomOf(id)?.count.unread) continue;
      this.#ofRooms.delete(id);
      if (!toast.contains(document.activeElement)) toast.remove();
    }
  }

  #toast(
    { title, body = "", level = "info", mark: sign = level, href = "" },
    { gone, stays = false } = {},
  ) {
    const toast = document.createElement("div");
    toast.className = "toast";
    const words = document.createElement("div");
    const head = document.createElement(href ? "a" : "strong");
    if (href) head.href = href;
    head.textContent = title;
    words.append(head);
    if (body) {
      const text = document.createElement("p");
      text.className = "toast-body";
      text.textContent = body;
      words.append(text);
    }
    let timer;
    const leave = () => {
      clearTimeout(timer);
      if (!toast.isConnected) return;
      gone?.();
      const hadFocus = toast.contains(document.activeElement);
      toast.remove();
      if (hadFocus) this.#focusNext();
    };
    const holds = { pointer: false, focus: false };
    const wait = () => {
      clearTimeout(timer);
      if (!stays && !holds.pointer && !holds.focus) timer = setTimeout(leave, STAYS);
    };
    const watch = (name, what, value) =>
      toast.addEventListener(name, () => {
        holds[what] = value;
        wait();
      });
    watch("pointerenter", "pointer", true);
    watch("pointerleave", "pointer", false);
    watch("focusin", "focus", true);
    watch("focusout", "focus", false);
    toast.addEventListener("focusin", ({ relatedTarget }) => {
      if (relatedTarget && !this.contains(relatedTarget)) this.#cameFrom = relatedTarget;
    });
    const close = document.createElement("button");
    close.type = "button";
    close.className = "button button-plain button-icon";
    close.setAttribute("aria-label", gettext("Close"));
    close.append(icon("close"));
    close.addEventListener("click", leave);
    const mark = document.createElement("span");
    mark.className = `level level-${level}`;
    mark.append(icon(sign));
    toast.append(mark, words, close);
    wait();
    return toast;
  }

  /** Whoever closes by keyboard goes on with the next one, then where they came from. */
  #focusNext() {
    const next = this.querySelector(".toast button");
    if (next) next.focus();
    else if (this.#cameFrom?.isConnected) this.#cameFrom.focus();
    else document.querySelector("#main")?.focus();
  }

  #region(role) {
    const region = document.createElement("div");
    region.className = "toasts";
    region.setAttribute("role", role);
    return region;
  }
}

/** A display that everybody looks at shows nobody's messages. */
const isWall = () => document.querySelector(".wall") !== null;

const roomIn = (url) => /^\/rooms\/(\d+)\//.exec(url ?? "")?.[1];

function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

customElements.define("hub-toasts", HubToasts);

/** Say that something failed, wherever on the page. */
export const sayError = (text) => document.querySelector("hub-toasts")?.error(text);
