/* One row of a room's list, filled into the server's own template: stored, unsent, a day, the unread line. */

import { copy, initials, setText, slot } from "./dom.js";
import { richText } from "./richtext.js";
import { clock, dayLabel, exact } from "./when.js";
import { gettext } from "./words.js";

export class RoomView {
  #templates;
  #room;
  #me;
  #target;

  constructor(root, { room, me, target = null }) {
    this.#templates = {
      message: root.querySelector("#room-message"),
      unsent: root.querySelector("#room-unsent"),
    };
    this.#room = room;
    this.#me = me;
    this.#target = target;
  }

  build(row) {
    if (row.day) return mark("talk-day", dayLabel(row.day));
    if (row.line) return mark("talk-new", gettext("New"));
    const made = row.item.id ? this.#stored(row.item) : this.#unsent(row.item);
    made.toggleAttribute("data-first", row.isFirst);
    return made;
  }

  /** "Today" is "Yesterday" tomorrow. */
  nameDay(node, day) {
    const label = dayLabel(day);
    if (node.textContent !== label) node.firstElementChild.textContent = label;
  }

  #stored(item) {
    const made = this.#message(item);
    made.dataset.id = item.id;
    made.toggleAttribute("data-mine", item.author?.id === this.#me);
    made.toggleAttribute("data-mention", item.mentions.includes(this.#me));
    made.toggleAttribute("data-deleted", item.deleted);
    made.toggleAttribute("data-target", item.id === this.#target);
    slot(made, "link").href = `/rooms/${this.#room}/at/${item.id}/`;
    const body = slot(made, "body");
    if (item.deleted) {
      const gone = document.createElement("p");
      gone.className = "message-gone";
      gone.textContent = gettext("This message was deleted.");
      body.replaceChildren(gone);
    } else body.replaceChildren(richText(item.html, this.#me));
    const isEdited = Boolean(item.edited_at) && !item.deleted;
    made.toggleAttribute("data-edited", isEdited);
    const edited = slot(made, "edited");
    edited.hidden = !isEdited;
    if (isEdited) edited.title = exact(new Date(item.edited_at));
    return made;
  }

  /** As it was typed: what it will look like is for the hub to say. */
  #unsent(item) {
    const made = this.#message(item);
    delete made.dataset.id;
    made.dataset.clientId = item.client_id;
    made.dataset.unsent = item.state;
    made.dataset.mine = "";
    const text = document.createElement("p");
    text.className = "message-plain";
    text.dir = "auto";
    text.textContent = item.body;
    slot(made, "body").replaceChildren(text);
    if (item.state === "failed") {
      const why = copy(this.#templates.unsent);
      setText(why, "why", item.why);
      made.querySelector(".message-main").append(why);
    }
    return made;
  }

  #message({ author, at }) {
    const made = copy(this.#templates.message);
    const name = author?.name ?? gettext("Somebody who left");
    setText(made, "author", name);
    setText(made, "initials", author ? initials(name) : "?");
    const time = slot(made, "time");
    const when = new Date(at);
    time.dateTime = at;
    time.title = exact(when);
    time.textContent = clock(when);
    return made;
  }
}

function mark(name, text) {
  const made = document.createElement("li");
  made.className = name;
  const words = document.createElement("span");
  words.textContent = text;
  made.append(words);
  return made;
}
