"""Publishes to one peer: `python -m benchmarks.peers.publish PEER '{"n": 100, "size": 10, "rate": 0, "first": 1}'`.

`n` events, `size` a call, `rate` calls a second (0: as fast as it goes); `joined`: each call's events in one message.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Callable
from typing import Any, Final

PADDING: Final = "x" * 90
"""An event is then as long as one of the hub's, which carries its id, offset and time besides."""

Send = Callable[[list[Any]], None]


def tutorial() -> Send:
    from asgiref.sync import async_to_sync
    from channels.layers import get_channel_layer

    from benchmarks.peers.tutorial import GROUP

    layer: Any = get_channel_layer()

    def send(messages: list[Any]) -> None:
        for message in messages:
            async_to_sync(layer.group_send)(GROUP, {"type": "chat.message", "message": message})

    return send


def python_socketio() -> Send:
    import socketio

    manager = socketio.RedisManager(os.environ["REDIS_URL"], write_only=True)

    def send(messages: list[Any]) -> None:
        for message in messages:
            manager.emit("event", message, room="dashboard")

    return send


def ws() -> Send:
    import redis

    client = redis.Redis.from_url(os.environ["REDIS_URL"])

    def send(messages: list[Any]) -> None:
        pipeline = client.pipeline(transaction=False)
        for message in messages:
            pipeline.publish("dashboard", _json(message))
        pipeline.execute()

    return send


def nchan() -> Send:
    """All requests of a call in one write, as HTTP/1.1 allows; then their answers."""
    connection = socket.create_connection(("127.0.0.1", int(os.environ["PORT"])))
    answers = connection.makefile("rb")

    def send(messages: list[Any]) -> None:
        requests = []
        for message in messages:
            body = _json(message).encode()
            head = f"POST /pub HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
            requests.append(head.encode() + body)
        connection.sendall(b"".join(requests))
        for _ in messages:
            _read_answer()

    def _read_answer() -> None:
        status = answers.readline()
        if status[9:10] != b"2":
            raise RuntimeError(f"refused: {status!r}")
        length = 0
        while (line := answers.readline().strip().lower()) != b"":
            name, _, value = line.partition(b":")
            length = int(value) if name == b"content-length" else length
        answers.read(length)

    return send


def _json(message: Any) -> str:
    return json.dumps(message, separators=(",", ":"))


def _event(n: int) -> dict[str, Any]:
    data = {"n": n, "ts": time.monotonic_ns(), "padding": PADDING}
    return {"topic": "group.dashboard", "type": "bench.event", "data": data}


def run(send: Send, n: int, size: int, rate: float, first: int, joined: bool) -> dict[str, float]:
    began, cpu = time.monotonic(), time.process_time()
    for start in range(0, n, size):
        if rate:
            time.sleep(max(0.0, began + start / size / rate - time.monotonic()))
        batch = [_event(first + number) for number in range(start, min(n, start + size))]
        send([batch] if joined else batch)
    return {"seconds": time.monotonic() - began, "cpu_s": time.process_time() - cpu}


PEERS: Final = {peer.__name__: peer for peer in (tutorial, python_socketio, ws, nchan)}

if __name__ == "__main__":
    print(json.dumps(run(PEERS[sys.argv[1]](), **json.loads(sys.argv[2]))))
