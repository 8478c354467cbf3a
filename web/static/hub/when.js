/* Times in the person's own zone and language; `templatetags/hub.py` does the same on the server. */

import { fillIn, gettext, ngettext } from "./words.js";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

const { language = "en", timeZone, now } = document.body.dataset;

const skew = now ? Date.parse(now) - Date.now() : 0; // ms that the hub's clock is ahead of this device's

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

/** The hub's time, whatever this device's clock says. */
export const hubNow = () => Date.now() + skew;

/** "3 min 12 s": two units at most. */
export function duration(ms) {
  const s = Math.floor(Math.max(0, ms) / 1000);
  if (s < 1) return gettext("under a second");
  const [m, h, d] = [60, 3600, 86_400].map((unit) => Math.floor(s / unit));
  if (m < 1) return fillIn(gettext("%(s)d s"), { s });
  if (h < 1)
    return both(gettext("%(m)d min"), { m }, gettext("%(m)d min %(s)d s"), { m, s: s % 60 });
  if (d < 1) return both(gettext("%(h)d h"), { h }, gettext("%(h)d h %(m)d min"), { h, m: m % 60 });
  return both(gettext("%(d)d d"), { d }, gettext("%(d)d d %(h)d h"), { d, h: h % 24 });
}

const both = (one, large, two, values) =>
  Object.values(values)[1] ? fillIn(two, values) : fillIn(one, large);

/** What somebody plans with: "about 3 min left". */
export function left(seconds) {
  if (seconds < 10) return gettext("a few seconds left");
  const step = seconds < 60 ? 10 : seconds < 3600 ? 60 : seconds < 86_400 ? 600 : 3600;
  const time = duration(Math.ceil(seconds / step) * step * 1000);
  return fillIn(gettext("about %(time)s left"), { time });
}

/** Steps a second as they are best said: "1,240/s", "12/min". */
export function rate(perSecond) {
  for (const [unit, text] of [
    [1, gettext("%(count)s/s")],
    [60, gettext("%(count)s/min")],
    [3600, gettext("%(count)s/h")],
  ]) {
    const count = perSecond * unit;
    if (count >= 10 || unit === 3600)
      return fillIn(text, {
        count: number(count < 10 ? Math.round(count * 10) / 10 : Math.round(count)),
      });
  }
}

/** 12,408 */
export const number = (value) => value.toLocaleString("en");

const SIZES = ["B", "kB", "MB", "GB", "TB"];

/** "4.2 MB" */
export function size(bytes) {
  let value = bytes;
  let unit = 0;
  for (; value >= 1000 && unit < SIZES.length - 1; unit += 1) value /= 1000;
  const digits = unit === 0 || value >= 100 ? 0 : 1;
  return `${value.toFixed(digits)} ${SIZES[unit]}`;
}
