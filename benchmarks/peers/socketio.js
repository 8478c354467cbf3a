// Socket.IO with its Redis adapter.
import { createServer } from "node:http";
import { createAdapter } from "@socket.io/redis-adapter";
import { Redis } from "ioredis";
import { Server } from "socket.io";

const http = createServer();
const io = new Server(http, { adapter: createAdapter(new Redis(process.env.REDIS), new Redis(process.env.REDIS)) });
io.on("connection", (socket) => socket.join("dashboard"));
http.listen(Number(process.env.PORT), "127.0.0.1");
