/*
 * What can be done with a message: copy its link, edit it, delete it. One set of buttons goes to the row that is
 * pointed at or focused. `page`: item(id), mayEdit(item), mayDelete(item), edit(item, body), delete(item),
 * touched(key or null), kept(text), back(), sources.
 */

import { copy, isComposing, setText, slot } from "./dom.js";
import { sayError } from "./elements/hub-toasts.js";
import { refusal } from "./roombody.js";
import { Writer } from "./roomwriter.js";
import { gettext } from "./words.js";

const COPIED = 1500; // ms

export class RoomActs {
  #root;
  #page;
  #acts;
  #writer = null;
  #editing = null; // {item, row, form, field, isKept}

  constructor(root, talk, page) {
    this.#root = root;
    this.#page = page;
    this.#acts = copy(root.querySelector("#room-acts"));
    talk.addEventListener("pointerover", this.#near);
    talk.addEventListener("focusin", this.#near);
    talk.addEventListener("click", this.#click);
    talk.addEventListener("keydown", this.#press);
  }

  #near = ({ target }) => {
    const row = target.closest(".message");
    if (!row || row.contains(this.#acts)) return;
    const item = this.#itemOf(row);
    if (!item || item.deleted || this.#isBusy(row)) {
      this.#acts.remove();
      return;
    }
    for (const [act, isAllowed] of [
      ["edit", this.#page.mayEdit(item)],
      ["delete", this.#page.mayDelete(item)],
    ])
      this.#acts.querySelector(`[data-act=${act}]`).hidden = !isAllowed;
    row.append(this.#acts);
  };

  #isBusy(row) {
    return Boolean(row.querySelector(".message-ask, .message-editor"));
  }

  #itemOf(row) {
    return this.#page.item(Number(row?.dataset.id));
  }

  #click = ({ target }) => {
    const act = target.closest("[data-act]")?.dataset.act;
    const row = target.closest(".message");
    if (act) this.#do(act, row);
  };

  #press = (event) => {
    if (isComposing(event) || event.ctrlKey || event.metaKey || event.altKey) return;
    const row = event.target.closest(".message");
    if (event.key === "Escape" && row?.querySelector(".message-ask")) {
      event.preventDefault();
      this.#do("delete-no", row);
      return;
    }
    if (event.target !== row || document.body.dataset.shortcuts === "off") return;
    const item = this.#itemOf(row);
    const acts = { KeyE: "edit", KeyC: "copy", Delete: "delete", Backspace: "delete" };
    const act = acts[event.code];
    if (!item || item.deleted || !act) return;
    if (act === "edit" && !this.#page.mayEdit(item)) return;
    if (act === "delete" && !this.#page.mayDelete(item)) return;
    event.preventDefault();
    event.stopPropagation();
    this.#do(act, row);
  };

  #do(act, row) {
    const item = this.#itemOf(row);
    if (act === "copy") this.#copy(row);
    else if (act === "edit") this.edit(item, row);
    else if (act === "delete") this.#ask(row);
    else if (act === "delete-no") this.#answered(row);
    else if (act === "delete-yes") this.#delete(item, row);
    else if (act === "edit-cancel") this.cancel();
  }

  async #copy(row) {
    const { href } = slot(row, "link");
    const button = this.#acts.querySelector("[data-act=copy]");
    try {
      await navigator.clipboard.writeText(href);
    } catch {
      sayError(href); // not every browser, and no plain http, lets a page copy
      return;
    }
    const before = button.getAttribute("aria-label");
    const icon = button.querySelector("use");
    button.setAttribute("aria-label", gettext("Copied"));
    icon.setAttribute("href", "#i-check");
    setTimeout(() => {
      button.setAttribute("aria-label", before);
      icon.setAttribute("href", "#i-link");
    }, COPIED);
  }

  // Deleting, which nothing brings back: asked for in place.

  #ask(row) {
    const ask = copy(this.#root.querySelector("#room-confirm"));
    this.#acts.remove();
    row.querySelector(".message-main").append(ask);
    ask.querySelector("[data-act=delete-no]").focus();
    ask.scrollIntoView({ block: "nearest" });
  }

  #answered(row) {
    row.querySelector(".message-ask")?.remove();
    row.focus({ preventScroll: true });
  }

  async #delete(item, row) {
    const wasHere = row.contains(document.activeElement);
    for (const button of row.querySelectorAll(".message-ask button")) button.disabled = true;
    try {
      await this.#page.delete(item);
      if (wasHere) this.#page.back(); // the buttons are gone, and the focus with them
    } catch (error) {
      this.#answered(row);
      sayError(error.message);
    }
  }

  // Editing, in place.

  edit(item, row) {
    if (this.#editing) this.cancel();
    this.#page.touched(item);
    this.#acts.remove();
    const form = copy(this.#root.querySelector("#room-editor"));
    const field = slot(form, "body");
    this.#editing = { item, row, form, field };
    field.value = item.body;
    slot(row, "body").hidden = true;
    slot(row, "edited").hidden = true;
    row.querySelector(".message-main").append(form);
    this.#writer = new Writer(
      field,
      { send: () => form.requestSubmit(), escape: () => this.cancel() },
      this.#page.sources,
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#save(this.#editing);
    });
    field.focus();
    field.setSelectionRange(field.value.length, field.value.length);
    form.scrollIntoView({ block: "nearest" });
  }

  async #save(edit) {
    const { item, row, form, field } = edit;
    const body = field.value.trim();
    this.#writer.close();
    if (body === item.body) {
      this.cancel();
      return;
    }
    const known = refusal(body);
    say(form, known);
    if (known) return;
    field.readOnly = true;
    try {
      await this.#page.edit(item, body);
      if (this.#editing === edit) this.#leave();
    } catch (error) {
      const why = reason(error);
      if (this.#editing !== edit) {
        if (!edit.isKept) this.#page.kept(body);
        sayError(why);
        return;
      }
      field.readOnly = false;
      if (!row.isConnected) {
        this.#giveUp();
        sayError(why);
        return;
      }
      say(form, why);
      field.focus();
    }
  }

  cancel() {
    if (this.#editing) this.#leave();
  }

  /** Somebody has deleted it meanwhile. */
  deleted(id) {
    if (this.#editing?.item.id === id) this.#giveUp();
  }

  /** The room may be read no more. */
  close() {
    if (this.#editing) this.#giveUp();
  }

  /** The list has changed; what is being saved needs no row any more. */
  drawn() {
    if (this.#editing && !this.#editing.row.isConnected && !this.#editing.field.readOnly)
      this.#giveUp();
  }

  /** What was written is kept where one goes on writing. */
  #giveUp() {
    const edit = this.#editing;
    const { item, field } = edit;
    this.#leave();
    edit.isKept = true;
    if (field.value !== item.body) this.#page.kept(field.value);
  }

  #leave() {
    const { row, form } = this.#editing;
    this.#writer.stop();
    this.#writer = null;
    this.#editing = null;
    form.remove();
    slot(row, "body").hidden = false;
    slot(row, "edited").hidden = !row.hasAttribute("data-edited");
    this.#page.touched(null);
    this.#page.back();
  }
}

function say(form, why) {
  setText(form, "problem", why);
  slot(form, "problem").hidden = !why;
}

/** What is different by now the hub says itself, in the language of the page. */
const reason = ({ code, detail, message }) => (code === "conflict" && detail) || message;
