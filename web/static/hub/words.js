/* The translations that `words.js` of the server put on the window; English when it did not load. */

export const gettext = (text) => globalThis.gettext?.(text) ?? text;

export const ngettext = (one, many, count) =>
  globalThis.ngettext?.(one, many, count) ?? (count === 1 ? one : many);

/** Fills `%(name)s` from `values`. */
export const fillIn = (text, values) =>
  text.replace(/%\((\w+)\)[sd]/g, (_match, name) => String(values[name]));
