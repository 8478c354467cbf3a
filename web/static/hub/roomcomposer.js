/* Where one writes in a room. What is written stays in this browser until it is sent. */

import { setText, slot } from "./dom.js";
import { Drafts } from "./drafts.js";
import { refusal } from "./roombody.js";
import { Writer } from "./roomwriter.js";

const KEPT = 250; // ms after a key

export class RoomComposer {
  #form;
  #field;
  #drafts;
  #kept; // what the browser has stored of it, as far as this tab knows
  #room;
  #on;
  #timer;
  #writer;

  /** `on`: send(body), typed(), up(). */
  constructor(form, { room, user, sources, on }) {
    this.#form = form;
    this.#field = slot(form, "body");
    this.#room = room;
    this.#on = on;
    this.#drafts = new Drafts(storage(), user, history);
    this.#kept = this.#drafts.read(room);
    if (!this.#field.value) this.#field.value = this.#drafts.unstored(room) ?? this.#kept;
    form.addEventListener("submit", this.#submit);
    this.#writer = new Writer(
      this.#field,
      {
        send: () => form.requestSubmit(),
        up: () => on.up(),
        input: () => this.#typed(),
      },
      sources,
    );
    window.addEventListener("pagehide", this.#keep);
    document.addEventListener("visibilitychange", this.#keep);
    window.addEventListener("storage", this.#elsewhere);
    window.addEventListener("pageshow", this.#back);
    this.#keep();
  }

  stop() {
    this.#keep();
    this.#writer.stop();
    this.#form.removeEventListener("submit", this.#submit);
    window.removeEventListener("pagehide", this.#keep);
    document.removeEventListener("visibilitychange", this.#keep);
    window.removeEventListener("storage", this.#elsewhere);
    window.removeEventListener("pageshow", this.#back);
  }

  get text() {
    return this.#field.value;
  }

  focus() {
    this.#field.focus({ preventScroll: true });
  }

  /** What was written elsewhere on the page goes on here, below what stands here already. */
  keep(text) {
    this.#put([this.#field.value, text].filter((part) => part.trim()).join("\n\n"));
    this.#keep();
  }

  /** Nothing more is sent from here: what is written can be copied. */
  close() {
    this.#keep();
    this.#field.readOnly = true;
    this.#form.querySelector("button").hidden = true;
    this.#form.hidden = !this.#field.value;
  }

  #submit = (event) => {
    event.preventDefault();
    const body = this.#field.value.trim();
    if (!body || this.#field.readOnly) return;
    const why = refusal(body);
    this.#say(why);
    if (why) return;
    this.#put("");
    this.#keep();
    this.#on.send(body);
  };

  #typed() {
    this.#say("");
    clearTimeout(this.#timer);
    this.#timer = setTimeout(this.#keep, KEPT);
    if (this.#field.value.trim()) this.#on.typed();
  }

  #keep = () => {
    clearTimeout(this.#timer);
    const isStored = this.#drafts.unstored(this.#room) === undefined;
    if (isStored && this.#field.value === this.#kept) return; // another tab may have gone on with it
    if (this.#drafts.write(this.#room, this.#field.value)) this.#kept = this.#field.value;
  };

  /** Another tab goes on with the draft, or has sent it; never under the hands of whoever writes here. */
  #elsewhere = ({ key }) => {
    if (key === this.#drafts.key(this.#room)) this.#reread();
  };

  /** Nobody told the page of the others while the browser kept it for the back button. */
  #back = ({ persisted }) => persisted && this.#reread();

  #reread() {
    if (this.#field.value !== this.#kept) return;
    this.#kept = this.#drafts.read(this.#room);
    this.#put(this.#kept);
  }

  #put(text) {
    this.#writer.close();
    this.#field.value = text;
  }

  #say(text) {
    setText(this.#form, "problem", text);
    slot(this.#form, "problem").hidden = !text;
  }
}

function storage() {
  try {
    return localStorage;
  } catch {
    return null; // the browser is told to keep nothing
  }
}
