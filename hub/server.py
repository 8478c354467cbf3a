"""The hub's web server: Daphne with limits, back-pressure and a farewell.

`python -m hub.server --port 8000 [--host 127.0.0.1]` or `--unix PATH`. What differs from plain Daphne:

- A frame over the limit is answered by close 1009; Autobahn's default drops the connection without a word, and a
  client that saw 1006 sends the same frame again, for ever.
- Daphne buffers without limit what a client does not read. Here every connection has a `Flow` in its scope that says
  when the transport's buffer is full, by Twisted's own producer interface.
- A body over Django's own limit is answered 413 without being kept; a form with files, where one is taken, may be
  larger once it is known whose it is.
- What Django streams waits for a client that reads slowly.
- Forms are left to Django: one that can't be read gets an answer. So does an address that is far too long.
- On SIGTERM nobody new is let in, the sockets are closed with 4012 one after the other, and what is asked already is
  answered; the process ends within half a minute, whatever its clients do.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import logging
import os
import sys
import threading
from collections.abc import Callable
from functools import partial
from io import BytesIO
from typing import Any, Final

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hub.settings")

from django.conf import settings
from django.db import DatabaseError
from django.http import parse_cookie

# isort: off
from daphne.server import Server as DaphneServer  # first: it installs Twisted's reactor
from daphne.http_protocol import WebRequest
from daphne.ws_protocol import WebSocketProtocol
from autobahn.websocket.types import ConnectionDeny
from twisted.internet import defer, interfaces, reactor
from twisted.internet.endpoints import quoteStringArgument
from twisted.web.http import HTTPChannel
from zope.interface import implementer

from hub.asgi import application  # sets Django up, which what follows needs
from accounts import authenticate, refusals
from consumers import database, limits, switchboard
from consumers.outbox import EXTENSION, WRITER, Flow
from consumers.protocol import MAX_FRAME, Close
from events import epoch
from hub import bodies, fast_writer, figures, lean, refusal
# isort: on

logger = logging.getLogger(__name__)

MOST_QUEUED: Final = 512  # frames: what ten seconds of talk may hold at once
MOST_QUEUED_BYTES: Final = 1024 * 1024
MOST_DROPPED: Final = 64 * 1024 * 1024
"""Bytes of a body over the limit that are read, so that the client hears why, before its connection is cut."""
MOST_LARGE: Final = 8
"""Bodies over Django's limit that are under way at once, each in files of up to three times its size."""
BACKLOG: Final = 1024
"""Connections that may wait to be accepted. Of more than Twisted's 50 at once the others try again a second later."""
SPREAD: Final = 3.0
"""Seconds over which the sockets are closed when the server stops, so that they don't all come back at once."""
FAREWELL: Final = 2.0
"""Seconds for the last of them to take its closing frame, and again for what is still to be written at the end."""
REQUESTS: Final = 15.0
"""Seconds for requests that are under way when the server stops."""
BY_FORCE: Final = 27.0
"""Seconds after SIGTERM at which the process ends even if a thread does not: supervisors kill at 30."""
FORCED: Final = 70
"""The exit code then."""


@implementer(interfaces.IPushProducer)
class TransportFlow(Flow):
    """Told by the transport when its buffer fills and drains."""

    def __init__(self, transport: Any) -> None:
        super().__init__()
        self._transport = transport

    def pauseProducing(self) -> None:
        self.pause()

    def resumeProducing(self) -> None:
        self.resume()
        if getattr(self._transport, "disconnecting", False):
            self._transport.unregisterProducer()  # else Twisted waits for us and never closes

    def stopProducing(self) -> None:
        self.resume()

    def abort(self) -> None:
        self._transport.abortConnection()


class HubWebSocket(WebSocketProtocol):  # type: ignore[misc]
    muted: bool = False
    queued = 0  # bytes since the application last had taken all
    application_queue: lean.Inbox
    _control: limits.Allowance | None = None

    def onConnect(self, request: Any) -> Any:
        """Daphne reads these as ASCII, and fails with a 500 where they are not."""
        texts = [request.path, *request.headers, request.headers.get("sec-websocket-protocol", "")]
        if not all(map(str.isascii, texts)):
            raise ConnectionDeny(400, "Only ASCII is understood here.")  # type: ignore[no-untyped-call]
        return super().onConnect(request)

    def onOpen(self) -> None:
        super().onOpen()
        lean.forget_handshake(self)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """Daphne queues what a client says without bound; here whoever talks faster than we listen must go."""
        waiting = self.application_queue.qsize()
        self.queued = len(payload) + (self.queued if waiting else 0)
        if self.muted or (waiting < MOST_QUEUED and self.queued <= MOST_QUEUED_BYTES):
            super().onMessage(payload, isBinary)
            return
        self._end_as_too_fast()

    def onPing(self, payload: bytes) -> None:
        if self._may_control():
            super().onPing(payload)

    def onPong(self, payload: bytes) -> None:
        if self._may_control():
            super().onPong(payload)

    def _may_control(self) -> bool:
        """Autobahn answers each ping at once, into a buffer without bound, and no application hears of it."""
        if self.muted:
            return False
        if self._control is None:
            self._control = limits.Allowance(limits.FRAMES_PER_SECOND, limits.FRAME_WINDOW)
        if self._control.take():
            return True
        self._end_as_too_fast()
        return False

    def _end_as_too_fast(self) -> None:
        self.muted = True
        refusals.count("frame_rate")
        while not self.application_queue.empty():
            self.application_queue.get_nowait()  # nobody waits for an answer any more
        self.serverClose(int(Close.TOO_FAST))
        self.application_queue.put_nowait(
            {"type": "websocket.disconnect", "code": int(Close.TOO_FAST)}
        )

    def _max_message_size_exceeded(self, *args: Any) -> None:
        refusals.count("frame_size")
        super()._max_message_size_exceeded(*args)

    def onAutoPingTimeout(self) -> None:
        """Who answers no ping does not read, though the system's buffers may still take what is written."""
        if self.state == self.STATE_OPEN:  # else it is being closed, and was counted
            refusals.count("slow_reader")
        super().onAutoPingTimeout()

    def flow(self) -> Flow:
        flow = TransportFlow(self.transport)
        self.transport.unregisterProducer()  # the HTTP channel that the socket grew out of
        self.transport.registerProducer(flow, True)
        return flow

    def serverSend(self, content: Any, binary: bool = False) -> None:
        """Who is on the way out already, for a frame over the limit or the like, gets nothing more; their disconnect
        tells the application."""
        if self.state in {self.STATE_CONNECTING, self.STATE_OPEN}:
            super().serverSend(content, binary)

    def serverClose(self, code: int | None = None) -> None:
        if code == Close.FAULT:
            self.sendCloseFrame(code=code)  # Autobahn's sendClose refuses 1011
        else:
            super().serverClose(code)


class HubRequest(WebRequest):  # type: ignore[misc]
    """A request whose body is bounded; what is refused is read and dropped, so that the client hears why.

    Daphne hands an application the whole body before it can refuse, whoever sends it. So nobody brings more than
    Django's own limit, of which Twisted keeps but 100 kB in memory and the rest in a file. A form with files may go
    on to `bodies.WITH_FILES`: at Django's limit nothing more is read until the database has said that its key or
    session counts, and no more than `MOST_LARGE` are let through at once.
    """

    content: Any
    received = 0
    limit = 0
    refused: refusal.Refusal | None = None
    flow: RequestFlow | None = None
    _asking: asyncio.Task[None] | None = None
    _under_way: set[HubRequest] = set()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Twisted would read forms, which nobody asks it for, and cut off whoever sends one it can't read.
        super().__init__(*args, **kwargs, parsePOSTFormSubmission=False)

    def gotLength(self, length: int | None) -> None:
        ordinary = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        method, path = self.channel._command, self.channel._path.partition(b"?")[0]
        kind = self._header(b"content-type")
        self.limit = bodies.limit(method.decode("latin-1"), path.decode("latin-1"), kind, ordinary)
        super().gotLength(length if length is None or length <= self.limit else 0)
        if length is not None and length > self.limit:
            self._refuse(refusal.TooLarge(self.limit))

    def handleContentChunk(self, data: bytes) -> None:
        self.received += len(data)
        if self.received > MOST_DROPPED:
            self.channel.transport.abortConnection()
        elif self.refused is None and self.received > self.limit:
            self._refuse(refusal.TooLarge(self.limit))
        elif self.refused is None:
            super().handleContentChunk(data)
            if self.received > settings.DATA_UPLOAD_MAX_MEMORY_SIZE and self._asking is None:
                self._ask_whose()

    def _header(self, name: bytes) -> str | None:
        value = self.getHeader(name)
        return None if value is None else value.decode("latin-1")

    def _refuse(self, why: refusal.Refusal) -> None:
        self.refused = why
        if isinstance(why, refusal.TooLarge):
            refusals.count("body")
        elif isinstance(why, refusal.TooMany):
            refusals.count("uploads")
        self._under_way.discard(self)
        self.content.close()
        self.content = BytesIO()

    def _ask_whose(self) -> None:
        if len(self._under_way) >= MOST_LARGE:
            self._refuse(refusal.TooMany())
            return
        self._under_way.add(self)
        self.channel._networkProducer.pauseProducing()
        self._asking = asyncio.ensure_future(self._let_through())

    async def _let_through(self) -> None:
        refused = await self._whose()
        if self.channel is None:
            return  # gone, or answered: all of it had been read before
        if refused is not None and not self.channel._handlingRequest:
            self._refuse(refused)
        self.channel._networkProducer.resumeProducing()

    async def _whose(self) -> refusal.Refusal | None:
        """None: a person's. What else they may is the application's to say."""
        session = parse_cookie(self._header(b"cookie") or "").get(settings.SESSION_COOKIE_NAME)
        key = self._header(b"authorization")
        try:
            if await database.soon(authenticate.identify, key, session) is not None:
                return None
        except authenticate.InvalidKey:
            pass
        except DatabaseError:
            return refusal.DatabaseAway()
        return refusal.NobodyKnown()

    def process(self) -> Any:
        # Daphne believes it, whoever sends it, and moves every address of the answer below it.
        self.requestHeaders.removeHeader(b"daphne-root-path")
        if self.server.stopping:
            self.channel.persistent = False
            self.setHeader(b"connection", b"close")
        if self.server.stopped:
            self._refuse(refusal.Restarting())
        if self.refused is None:
            if self.received and self._header(b"content-length") is None:
                # It came in chunks; Django reads no form of which it is not told how long it is.
                self.requestHeaders.setRawHeaders(b"content-length", [b"%d" % self.received])
            return super().process()
        path = self.path.decode("latin-1")
        sent = {
            name.decode("latin-1").lower(): values[-1].decode("latin-1")
            for name, values in self.requestHeaders.getAllRawHeaders()
        }
        answer = refusal.response(self.refused, path, sent)
        self.setResponseCode(answer.status_code)
        for name, value in answer.headers.items():
            self.setHeader(name.encode("latin-1"), value.encode("latin-1"))
        self.write(answer.content)
        self.finish()
        return None

    def finish(self) -> None:
        self._under_way.discard(self)
        super().finish()

    def connectionLost(self, reason: Any) -> None:
        self._under_way.discard(self)
        super().connectionLost(reason)


class Server(DaphneServer):  # type: ignore[misc]
    exit_code = 0
    writes_fast = False
    stopping = False
    """Nobody new is let in; what comes over a connection that was there is the last on it."""
    stopped = False
    """Nothing is begun any more."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._ports: list[Any] = []

    def listen_success(self, port: Any) -> None:
        self._ports.append(port)
        super().listen_success(port)

    def listen_error(self, failure: Any) -> None:
        sys.stderr.write(f"{failure.getErrorMessage()}\n")
        self.exit_code = 1
        self.stop()

    def create_application(self, protocol: Any, scope: dict[str, Any]) -> Any:
        extensions = scope.setdefault("extensions", {})
        extensions[EXTENSION] = getattr(protocol, "flow", None) or partial(RequestFlow, protocol)
        if self.writes_fast and isinstance(protocol, HubWebSocket):
            extensions[WRITER] = partial(fast_writer.write, protocol)
        if not isinstance(protocol, HubWebSocket):
            return super().create_application(protocol, scope)
        inbox = lean.Inbox()
        started = self.application(
            scope=scope | {"asgi": {"version": "3.0"}},
            receive=inbox.get,
            send=partial(self.handle_reply, protocol),
        )
        self.connections[protocol]["application_instance"] = asyncio.ensure_future(started)
        return inbox

    async def handle_reply(self, protocol: Any, message: dict[str, Any]) -> None:
        """What Django sends in pieces, downloads above all, comes no faster than the client takes it.

        An application that asked for the flow itself waits by itself.
        """
        streams = isinstance(protocol, HubRequest) and message.get("more_body", False)
        if streams and protocol.flow is None and protocol.channel is not None:
            RequestFlow(protocol, is_ours=True)
        flow = protocol.flow if isinstance(protocol, HubRequest) else None
        if flow is None or not flow.is_ours:
            await super().handle_reply(protocol, message)
        elif streams:
            await super().handle_reply(protocol, message)
            await flow.writable()
        else:
            flow.close()
            await super().handle_reply(protocol, message)

    def kill_all_applications(self) -> Any:
        return defer.Deferred.fromFuture(asyncio.ensure_future(self._say_goodbye()))

    async def _say_goodbye(self) -> None:
        _end_by_force(BY_FORCE)
        self.stopping = True
        for port in self._ports:
            port.stopListening()
        board = switchboard.of_loop()
        await board.send_away(SPREAD)
        if not await _comes_true(lambda: not board.clients, FAREWELL):
            logger.info("%d clients did not take their farewell", board.clients)
        if not await _comes_true(lambda: not self._requests(), REQUESTS):
            logger.warning("%d requests were cut off", len(self._requests()))
        self.stopped = True
        running = self._running()
        for application_instance in running.values():
            application_instance.cancel()
        if running:
            await asyncio.wait(running.values(), timeout=FAREWELL)
        await _comes_true(lambda: not reactor.getWriters(), FAREWELL)  # type: ignore[misc]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL):
                await board.stop()

    def _running(self) -> dict[Any, asyncio.Task[None]]:
        return {
            protocol: details["application_instance"]
            for protocol, details in self.connections.items()
            if "application_instance" in details and not details["application_instance"].done()
        }

    def _requests(self) -> list[HubRequest]:
        """Those that still wait for an answer; a stream has none."""
        return [
            one
            for one in self._running()
            if isinstance(one, HubRequest) and (one.flow is None or one.flow.is_ours)
        ]


async def _comes_true(condition: Callable[[], bool], within: float) -> bool:
    """Whether it is true within so many seconds."""
    until = asyncio.get_running_loop().time() + within
    while not condition():
        if asyncio.get_running_loop().time() > until:
            return False
        await asyncio.sleep(0.05)
    return True


def _end_by_force(after: float) -> None:
    """Python waits for its threads without end, and one of them may wait for a database that is away."""

    def end() -> None:
        logger.warning("Ended by force %g s after being asked to stop", after)
        os._exit(FORCED)

    timer = threading.Timer(after, end)
    timer.daemon = True
    timer.start()


class RequestFlow(TransportFlow):
    """The flow of a streamed response; Twisted wants its producer gone before the response ends."""

    def __init__(self, request: Any, *, is_ours: bool = False) -> None:
        super().__init__(request.transport)
        self.is_ours = is_ours
        self._request = request
        request.flow = self
        if (
            request.channel is not None
        ):  # else whoever asked has gone, and nothing is going to be written
            request.registerProducer(self, True)

    def close(self) -> None:
        if self._request.channel is not None:
            self._request.unregisterProducer()


def _refuse_line(channel: HTTPChannel, line: bytes) -> None:
    """Twisted hangs up without a word, which a client takes for a broken network and tries again."""
    channel._respondToBadRequestAndDisconnect()  # type: ignore[no-untyped-call]


def serve(endpoint: str, *, behind_proxy: bool) -> int:
    """Serve until SIGTERM or SIGINT. Returns the exit code."""

    def ready() -> None:
        server.ws_factory.protocol = HubWebSocket
        build = server.http_factory.buildProtocol

        def build_limited(address: Any) -> Any:
            protocol = build(address)
            protocol.requestFactory = HubRequest
            return protocol

        server.http_factory.buildProtocol = build_limited
        HTTPChannel.lineLengthExceeded = _refuse_line  # type: ignore[assignment, method-assign]
        server.ws_factory.setProtocolOptions(failByDrop=False)
        lean.share_options(HubWebSocket, server.ws_factory)
        # What exists now stays: keep it out of every later collection, and collect less often, since each
        # connection is a few hundred objects that live as long as it does.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)
        figures.keep_telling()

    server = Server(
        application=application,
        endpoints=[endpoint],
        ready_callable=ready,
        websocket_handshake_timeout=20,
        websocket_max_message_size=MAX_FRAME,
        websocket_max_frame_size=MAX_FRAME,
        server_name="hub",
        proxy_forwarded_address_header="X-Real-IP" if behind_proxy else None,
        proxy_forwarded_proto_header="X-Forwarded-Proto" if behind_proxy else None,
    )
    server.writes_fast = _writes_fast()
    server.run()
    return server.exit_code


def _writes_fast() -> bool:
    why_not = fast_writer.unusable() if settings.HUB_FAST_WRITER else "HUB_FAST_WRITER=0"
    if why_not:
        logger.warning("Frames take the usual way, which is slower: %s", why_not)
    return not why_not


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m hub.server", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--unix", metavar="PATH", help="listen on a unix socket instead")
    parser.add_argument(
        "--behind-proxy",
        action="store_true",
        help="believe X-Real-IP and X-Forwarded-Proto: only where a proxy sets both and nobody else can connect",
    )
    chosen = parser.parse_args()
    endpoint = (
        f"unix:{quoteStringArgument(chosen.unix)}:backlog={BACKLOG}"  # type: ignore[no-untyped-call]
        if chosen.unix
        else f"tcp:port={chosen.port}:backlog={BACKLOG}:interface={quoteStringArgument(chosen.host)}"  # type: ignore[no-untyped-call]
    )
    try:
        epoch.check_mirror()  # before anybody can publish into a log that went back in time
    except DatabaseError as error:
        logger.warning("The database can't be read yet (%s)", str(error).strip())
    return serve(endpoint, behind_proxy=chosen.behind_proxy)


if __name__ == "__main__":
    sys.exit(main())
