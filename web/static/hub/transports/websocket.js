import { addressOf } from "./http.js";

const PATIENCE = 8; // seconds from opening to `welcome`; some proxies swallow the upgrade in silence

/** One WebSocket. `on`: ready, frame, alive, end, traffic. */
export function openWebSocket(world, query, on) {
  const asked = { cursor: query.cursor(), topics: query.wanted() };
  const absent = query.absent();
  if (absent.length > 0) asked.absent = absent.join(",");
  const address = new URL(addressOf(query.path, asked), world.origin);
  address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
  const socket = new world.WebSocket(address.href);
  let over = false;
  const end = (code) => {
    if (over) return;
    over = true;
    clearTimeout(late);
    socket.close();
    on.end({ code, retryAfter: 0 });
  };
  const late = setTimeout(() => end(1006), PATIENCE * 1000);
  socket.onmessage = ({ data }) => {
    if (over) return;
    let frames;
    try {
      frames = [JSON.parse(data)].flat();
    } catch {
      return end(1006); // not our server
    }
    on.traffic?.({ bytes: new TextEncoder().encode(data).length });
    on.alive();
    for (const frame of frames) {
      if (over) return;
      if (frame.op === "welcome") {
        clearTimeout(late);
        on.ready({ silence: 2 * frame.heartbeat, welcome: frame });
      } else on.frame(frame);
    }
  };
  socket.onclose = ({ code }) => end(code);
  on.traffic?.({ requests: 1 });
  return {
    send: (frame) => socket.send(JSON.stringify(frame)),
    close: () => {
      over = true;
      clearTimeout(late);
      socket.close();
    },
  };
}
