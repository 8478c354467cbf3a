import { codeOfStatus } from "../closing.js";

/** Why a request brought nothing usable, as a close code. */
export class Ended extends Error {
  constructor(code, retryAfter = 0) {
    super(`ended with ${code}`);
    this.code = code;
    this.retryAfter = retryAfter; // seconds
  }
}

/** A GET of ours that has answered well, or `Ended`. */
export async function get(world, path, query, { accept, signal, seconds }) {
  const late = seconds ? AbortSignal.timeout(seconds * 1000) : null;
  let response;
  try {
    response = await world.fetch(addressOf(path, query), {
      headers: { Accept: accept },
      credentials: "same-origin",
      cache: "no-store",
      redirect: "error",
      signal: late ? AbortSignal.any([signal, late]) : signal,
    });
  } catch {
    throw new Ended(1006);
  }
  if (!response.ok) {
    throw new Ended(codeOfStatus(response.status), secondsOf(response.headers.get("Retry-After")));
  }
  // A portal's or proxy's own page in place of our answer.
  if (!response.headers.get("Content-Type")?.startsWith(accept)) throw new Ended(1006);
  return response;
}

/** One answer of poll or long poll as {events, resets, revoked, whispers, more, cursor}. */
export async function ask(world, path, query, { signal, seconds, on }) {
  on.traffic?.({ requests: 1 });
  const response = await get(world, path, query, { accept: "application/json", signal, seconds });
  try {
    const text = await response.text();
    on.traffic?.({ bytes: new TextEncoder().encode(text).length });
    return JSON.parse(text);
  } catch {
    throw new Ended(1006);
  }
}

/** What to put into `topics=`: over HTTP that list is complete, and `*` in it stands for the topics that `/ws/` implies. */
export function topicsOf(query) {
  const wanted = query.wanted();
  return query.alone || wanted.length === 0 ? wanted : ["*", ...wanted];
}

/** Hand an answer on in the frames of the WebSocket, then what it covers. */
export function spread(answer, on) {
  for (const reset of answer.resets ?? []) on.frame({ ...reset, op: "reset" });
  for (const event of answer.events ?? []) on.frame({ ...event, op: "event" });
  for (const revoked of answer.revoked ?? []) on.frame({ ...asObject(revoked), op: "revoked" });
  for (const whisper of answer.whispers ?? []) on.frame({ ...whisper, op: "whisper" });
  on.frame({ op: "heartbeat", cursor: answer.cursor });
  on.learn(answer.cursor);
}

export function addressOf(path, { cursor, topics = [], ...rest }) {
  const query = new URLSearchParams(rest);
  if (topics.length) query.set("topics", topics.join(","));
  if (cursor) query.set("cursor", cursor);
  const text = query.toString();
  return text ? `${path}?${text}` : path;
}

function asObject(revoked) {
  return typeof revoked === "string" ? { topic: revoked } : revoked;
}

function secondsOf(retryAfter) {
  const seconds = Number(retryAfter);
  return Number.isFinite(seconds) && seconds > 0 ? Math.min(seconds, 300) : 0;
}
