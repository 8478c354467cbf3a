"""Ready frames straight to a socket: what a broadcast costs is then little more than the system call.

Twisted writes nothing at once: each write registers the file descriptor, waits a turn of the loop, writes and
unregisters, which costs several times the call itself. Where a connection has nothing waiting, `write` calls
`socket.send`; what the socket does not take goes to the transport's own buffer, and as long as anything lies there
`write` declines, so that nothing overtakes.

It needs parts of Twisted and Autobahn that are theirs alone: `unusable` looks at them once, when the server starts.
"""

from __future__ import annotations

from typing import Any, Final

from autobahn.twisted.websocket import WebSocketServerProtocol
from twisted.internet import abstract, tcp

OPEN: Final = WebSocketServerProtocol.STATE_OPEN


def unusable() -> str:
    """Why the short way can't be taken with what is installed; empty when it can."""
    if not isinstance(getattr(abstract.FileDescriptor, "dataBuffer", None), bytes):
        return "Twisted keeps what is to be written elsewhere"
    if "_tempDataBuffer" not in abstract.FileDescriptor.__init__.__code__.co_names:
        return "Twisted collects writes elsewhere"
    if not issubclass(tcp.Server, abstract.FileDescriptor):
        return "Twisted's connections are of another kind"
    return ""


def write(protocol: Any, data: bytes) -> bool:
    """Whole frames for an open WebSocket. False: something waits already, or it is no plain TCP; nothing was written."""
    transport = protocol.transport
    if (
        type(transport) is not tcp.Server  # under TLS the socket would take plain text
        or protocol.state != OPEN
        or transport.dataBuffer
        or transport._tempDataBuffer
        or protocol.send_queue
        or not transport.connected
        or transport.disconnecting
    ):
        return False
    try:
        sent = transport.socket.send(data)
    except BlockingIOError:
        sent = 0
    except OSError:
        return False  # it is broken: the usual way finds out and cleans up
    if sent < len(data):
        transport.write(data[sent:])  # type: ignore[no-untyped-call]
    return True
