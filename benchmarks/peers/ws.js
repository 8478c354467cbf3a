// `ws`, fed by a Redis subscription.
import { Redis } from "ioredis";
import { WebSocketServer } from "ws";

const server = new WebSocketServer({ host: "127.0.0.1", port: Number(process.env.PORT) });
const redis = new Redis(process.env.REDIS);
redis.subscribe("dashboard");
redis.on("messageBuffer", (channel, data) => {
  for (const client of server.clients) client.send(data, { binary: false });
});
