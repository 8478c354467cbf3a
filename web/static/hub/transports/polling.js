import { ask, spread, topicsOf } from "./http.js";

const WAIT = 25; // seconds the server may keep a long poll; proxies cut at 30 or 60
const PATIENCE = 10; // seconds beyond that
const PAUSE = 2; // seconds between polls
const HURRIED = 1; // seconds; something between us answers for the hub when nothing comes sooner than this

/** Long poll: asks, is answered when something comes, asks again. The first is answered at once: are we through? */
export function openLongPoll(world, query, on) {
  let wait = 0;
  return repeat(on, async (signal) => {
    const asked = { cursor: query.cursor(), topics: topicsOf(query), wait };
    const began = Date.now();
    const answer = await ask(world, "/events/long-poll", asked, {
      signal,
      seconds: wait + PATIENCE,
      on,
    });
    const isHurried = wait > 0 && Date.now() - began < HURRIED * 1000 && isEmpty(answer);
    wait = WAIT;
    return { answer, pause: isHurried ? HURRIED : 0 };
  });
}

/** Poll: asks every two seconds. */
export function openPoll(world, query, on) {
  return repeat(on, async (signal) => {
    const asked = { cursor: query.cursor(), topics: topicsOf(query) };
    const answer = await ask(world, "/events/poll", asked, { signal, seconds: PATIENCE, on });
    return { answer, pause: answer.more ? 0 : (query.every ?? PAUSE) };
  });
}

function isEmpty({ events, resets, revoked, whispers }) {
  return [events, resets, revoked, whispers].every((list) => !list?.length);
}

function repeat(on, once) {
  const stop = new AbortController();
  let timer;
  let first = true;
  const next = async () => {
    try {
      const { answer, pause } = await once(stop.signal);
      if (stop.signal.aborted) return;
      if (first) on.ready({ silence: null });
      first = false;
      spread(answer, on);
      if (!stop.signal.aborted) timer = setTimeout(next, pause * 1000);
    } catch (error) {
      if (stop.signal.aborted) return;
      stop.abort();
      const { code = 1006, retryAfter = 0 } = error;
      on.end({ code, retryAfter });
    }
  };
  next();
  return {
    close: () => {
      stop.abort();
      clearTimeout(timer);
    },
  };
}
