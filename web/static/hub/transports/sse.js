import { EventStream } from "./event_stream.js";
import { ask, Ended, get, spread } from "./http.js";

const PATIENCE = 8; // seconds until the first bytes; a proxy that gathers the answer never lets them through
const SILENCE = 30; // seconds; a comment comes every 15

/**
 * Server-sent events, read with fetch and not with EventSource: that one cannot tell 401 from a lost network,
 * hides Retry-After and comments (the sign of life), and comes back by its own clock with a URL that is by
 * then out of date. What it does for us, taking blocks apart, is 30 lines.
 */
export function openSse(world, query, on) {
  const stop = new AbortController();
  let late;
  const read = async () => {
    await learnPositions(world, query, on, stop.signal);
    late = setTimeout(() => fail(new Ended(1006)), PATIENCE * 1000);
    on.traffic?.({ requests: 1 });
    const response = await get(
      world,
      query.streamPath ?? "/events/stream",
      { cursor: query.cursor(), topics: query.topics },
      { accept: "text/event-stream", signal: stop.signal },
    );
    const stream = new EventStream((block) => take(block, on));
    const text = new TextDecoder();
    let first = true;
    for await (const bytes of chunks(response.body)) {
      if (stop.signal.aborted) return;
      clearTimeout(late);
      on.traffic?.({ bytes: bytes.length });
      if (first) on.ready({ silence: SILENCE });
      first = false;
      on.alive();
      stream.push(text.decode(bytes, { stream: true }));
    }
    throw new Ended(1006);
  };
  const fail = (error) => {
    clearTimeout(late);
    if (stop.signal.aborted) return;
    stop.abort();
    const { code = 1006, retryAfter = 0 } = error;
    on.end({ code, retryAfter });
  };
  read().catch(fail);
  return {
    close: () => {
      clearTimeout(late);
      stop.abort();
    },
  };
}

/** A stream names no positions at its start; without one, a break before the first event would lose it. */
async function learnPositions(world, query, on, signal) {
  if (query.complete()) return;
  const answer = await ask(
    world,
    "/events/poll",
    { cursor: query.cursor(), topics: query.topics },
    { signal, seconds: PATIENCE, on },
  );
  if (!signal.aborted) spread(answer, on);
}

function take({ event, data, id }, on) {
  if (data !== undefined)
    for (const frame of [JSON.parse(data)].flat()) on.frame({ ...frame, op: event });
  if (id === undefined) return;
  on.frame({ op: "heartbeat", cursor: id });
  on.learn(id);
}

async function* chunks(body) {
  const reader = body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
