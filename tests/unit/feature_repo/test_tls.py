"""TLS, with and without certificates of the clients."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from uvicorn.server import ServerState

from feature_repo.errors import ConfigError
from feature_repo.listening import Manners, Tls, uvicorn_config
from feature_repo.protocol import Bounds
from tests.unit.serving.gate_world import SlowApp, request


class Authority:
    """Signs certificates for 127.0.0.1."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._cert = self._signed("authority", self._key, is_ca=True)
        self.path = folder / "ca.pem"
        self.path.write_bytes(self._cert.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str) -> tuple[Path, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        cert_path, key_path = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        cert = self._signed(name, key, is_ca=False)
        cert_path.write_bytes(cert.public_bytes(serialization.Encoding.PEM))
        key_path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return cert_path, key_path

    def _signed(
        self, name: str, key: ec.EllipticCurvePrivateKey, *, is_ca: bool
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        own = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        return (
            x509.CertificateBuilder()
            .subject_name(own)
            .issuer_name(own if is_ca else self._cert.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(is_ca, None), critical=True)
            .add_extension(x509.SubjectAlternativeName([address]), critical=False)
            .sign(self._key, hashes.SHA256())
        )


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


async def _ask(tls: Tls, client: ssl.SSLContext) -> bytes:
    """The first line of an answer over TLS."""
    config = uvicorn_config(SlowApp(), Manners(shutdown_s=1.0, tls=tls), None)
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    protocol = config.http_protocol_class
    server = await loop.create_server(
        lambda: protocol(config=config, server_state=state, app_state={}),
        "127.0.0.1",
        0,
        ssl=config.ssl,
    )
    async with server:
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client)
        try:
            writer.write(request(b"{}", "/v1/score", "connection: close"))
            return (await reader.read()).splitlines()[0]
        finally:
            writer.close()


def test_answers_come_over_tls(authority: Authority) -> None:
    cert, key = authority.issue("server")
    client = ssl.create_default_context(cafile=str(authority.path))

    answer = asyncio.run(_ask(Tls(cert=cert, key=key), client))

    assert answer == b"HTTP/1.1 200 OK"


def test_with_a_client_authority_only_its_certificates_are_let_in(
    authority: Authority, tmp_path: Path
) -> None:
    cert, key = authority.issue("server")
    tls = Tls(cert=cert, key=key, client_ca=authority.path)
    tls.check()
    known = ssl.create_default_context(cafile=str(authority.path))
    known.load_cert_chain(*authority.issue("client"))
    nobody = ssl.create_default_context(cafile=str(authority.path))
    foreign = ssl.create_default_context(cafile=str(authority.path))
    foreign.load_cert_chain(*Authority(tmp_path / "other").issue("client"))

    assert asyncio.run(_ask(tls, known)) == b"HTTP/1.1 200 OK"
    for context in (nobody, foreign):
        with pytest.raises((ssl.SSLError, ConnectionError, IndexError)):
            asyncio.run(_ask(tls, context))


def test_files_that_cannot_be_used_are_told_before_anything_starts(
    authority: Authority, tmp_path: Path
) -> None:
    cert, key = authority.issue("server")
    _, other = authority.issue("other")
    for tls in (
        Tls(cert=tmp_path / "none.pem", key=key),
        Tls(cert=cert, key=other),
        Tls(cert=key, key=key),
        Tls(cert=cert, key=key, client_ca=key),
    ):
        with pytest.raises(ConfigError, match="TLS cannot be set up with --tls-cert"):
            tls.check()


def test_bounds_are_of_one_server() -> None:
    assert Bounds() is not Bounds()
    assert Manners(shutdown_s=1.0).bounds is not Manners(shutdown_s=1.0).bounds
