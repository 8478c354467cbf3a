/* Times in the person's own zone and language; `templatetags/hub.py` does the same on the server. */

import { fillIn, gettext, ngettext } from "./words.js";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

const { language = "en", timeZone } = document.body.dataset;

const format = (options, zone = timeZone) => {
  const locale = language === "en" ? "en-GB" : language; // day before month, 24 hours
  try {
    return new Intl.DateTimeFormat(locale, { ...options, timeZone: zone || undefined });
  } catch {
    return new Intl.DateTimeFormat(locale, options); // a zone that this browser does not know
  }
};

const CLOCK = format({ hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const EXACT = format({ dateStyle: "full", timeStyle: "medium", hourCycle: "h23" });
const THIS_YEAR = format({ day: "numeric", month: "short" });
const OTHER_YEAR = format({ day: "numeric", month: "short", year: "numeric" });
// For days that are given as a date, and have no zone.
const DAY = format({ weekday: "long", day: "numeric", month: "long" }, "UTC");
const OLD_DAY = format({ day: "numeric", month: "long", year: "numeric" }, "UTC");
const PARTS = format({ year: "numeric", month: "2-digit", day: "2-digit" });

export const clock = (at) => CLOCK.format(at);
export const exact = (at) => EXACT.format(at);

/** "2026-11-22" in the person's zone. */
export function dayOf(at) {
  const part = Object.fromEntries(PARTS.formatToParts(at).map(({ type, value }) => [type, value]));
  return `${part.year}-${part.month.padStart(2, "0")}-${part.day.padStart(2, "0")}`;
}

/** Relative up to a day, absolute beyond. */
export function short(at, now = new Date()) {
  const passed = now - at;
  if (passed >= -MINUTE && passed < MINUTE) return gettext("now");
  if (passed > 0 && passed < HOUR) {
    const count = Math.floor(passed / MINUTE);
    return fillIn(ngettext("%(count)d min", "%(count)d min", count), { count });
  }
  const day = dayOf(at);
  if (day === dayOf(now)) return clock(at);
  if (day.slice(0, 4) === dayOf(now).slice(0, 4)) return `${THIS_YEAR.format(at)}, ${clock(at)}`;
  return OTHER_YEAR.format(at);
}

/** The heading over a day's items. */
export function dayLabel(day, now = new Date()) {
  const today = dayOf(now);
  if (day === today) return gettext("Today");
  const at = new Date(`${day}T00:00:00Z`);
  if (new Date(`${today}T00:00:00Z`) - at === 24 * HOUR) return gettext("Yesterday");
  return (day.slice(0, 4) === today.slice(0, 4) ? DAY : OLD_DAY).format(at);
}
