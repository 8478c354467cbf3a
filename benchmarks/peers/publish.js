// Publishes to Socket.IO by its Redis emitter: `node publish.js '{"n": 100, "size": 10, "rate": 0, "first": 1, "joined": false}'`
import { setTimeout as sleep } from "node:timers/promises";
import { Emitter } from "@socket.io/redis-emitter";
import { Redis } from "ioredis";

const { n, size, rate, first, joined } = JSON.parse(process.argv[2]);
const redis = new Redis(process.env.REDIS);
const io = new Emitter(redis);
const padding = "x".repeat(90);
const began = performance.now();
for (let start = 0; start < n; start += size) {
  if (rate) await sleep(Math.max(0, began + (start / rate) * 1000 - performance.now()));
  const batch = [];
  for (let number = start; number < Math.min(n, start + size); number++) {
    const ts = Number(process.hrtime.bigint());
    batch.push({ topic: "group.dashboard", type: "bench.event", data: { n: first + number, ts, padding } });
  }
  for (const data of joined ? [batch] : batch) io.to("dashboard").emit("event", data);
  await redis.ping();
}
console.log(JSON.stringify({ seconds: (performance.now() - began) / 1000 }));
redis.disconnect();
