"""One dial of an agent to its relay: the socket, a proxy on the way, TLS 1.3, and the agent's side of the hello.

A relay is known by the SHA-256 of its certificate, which the one-time code carries and the relay tells anew before it
renews; or, where the certificate is another one, by a public authority (or ``ca_file``) that vouches for its name. That
alone opens nothing: the relay must then prove, over the certificate that we see, that it knows our key.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import hashlib
import hmac
import os
import re
import secrets
import socket
import ssl
from collections.abc import Callable
from dataclasses import field
from typing import cast

from proxy.agent import talk
from proxy.config.settings import Dials
from proxy.errors import HookwardError
from proxy.net.pool import socket_to
from proxy.net.tls import AGENT_PROTOCOL
from proxy.values import frozen

#: For the socket: a first packet that was lost is sent again after one second and after three.
CONNECT_S = 4.0
#: For all of it.
DIAL_S = 10.0
_MAX_PROXY_ANSWER = 16 * 1024


class DialError(HookwardError):
    """A dial has failed. ``refused``: the relay does not take us, or is not ours; trying at once would not help."""

    def __init__(self, what: str, *, refused: bool = False) -> None:
        super().__init__(what)
        self.refused = refused


@frozen
class Credential:
    """What a hello is said with: name, key, and the certificates that the relay is known by (SHA-256, in hex)."""

    kind: talk.Purpose
    name: str
    instance: str
    key: bytes = field(repr=False)
    certificates: tuple[str, ...]


@frozen
class Reached:
    """A connection on which both ends have proved themselves, and nothing was said since."""

    transport: asyncio.Transport
    welcome: talk.Welcome
    challenge: talk.Challenge
    address: str  # of the relay, or of the proxy on the way


class AgentGreeting(asyncio.Protocol):
    """The agent's side of a hello; ``over`` is the relay's word at its end."""

    def __init__(
        self, credential: Credential, fingerprint: bytes, *, before_proof: Callable[[talk.Challenge], None]
    ) -> None:
        """``before_proof`` is called between the relay's proof and ours: what it keeps outlives the relay."""
        self.over: asyncio.Future[talk.Welcome] = asyncio.get_running_loop().create_future()
        self.challenge: talk.Challenge | None = None
        self._credential = credential
        self._fingerprint = fingerprint
        self._before_proof = before_proof
        self._hello = talk.Hello(
            credential.kind, credential.name, credential.instance, secrets.token_bytes(talk.NONCE_BYTES)
        )
        self._lines = talk.LineBuffer()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._hello.write())

    def data_received(self, data: bytes) -> None:
        self._lines.feed(data)
        try:
            while not self.over.done() and (words := self._lines.take()) is not None:
                self._hear(words)
        except talk.TalkError as error:
            self._fail(DialError(f"it is not understood: {error.word}"))
        except HookwardError as error:
            self._fail(error)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._fail(DialError("it closed the connection during the hello"))

    def _hear(self, words: list[str]) -> None:
        if self.challenge is None:
            self._judge(*talk.read_relay(words))
            return
        said = talk.read_welcome(words)
        if isinstance(said, talk.Refused):
            raise DialError(f"it refuses us: {said.word.replace('_', ' ')}", refused=True)
        self.over.set_result(said)

    def _judge(self, nonce: bytes, proof: bytes) -> None:
        credential = self._credential
        challenge = talk.Challenge(self._hello, nonce, self._fingerprint, credential.key)
        if not hmac.compare_digest(proof, challenge.relay_proof()):
            raise DialError(_STRANGER[credential.kind].format(name=credential.name), refused=True)
        self.challenge = challenge
        self._before_proof(challenge)
        assert self._transport is not None
        self._transport.write(talk.write_agent(challenge.agent_proof()))

    def _fail(self, error: HookwardError) -> None:
        if not self.over.done():
            self.over.set_exception(error)
        if self._transport is not None:
            self._transport.close()


_STRANGER = {
    talk.Purpose.SERVE: "it does not know the key of agent {name!r}: it was revoked or enrolled anew there, or may not "
    "connect from here, or this is not our relay",
    talk.Purpose.JOIN: "it does not accept the code: it was used, or has expired, or agent {name!r} may not connect "
    "from here",
}


async def dial(
    relay: str,
    credential: Credential,
    dials: Dials,
    before_proof: Callable[[talk.Challenge], None] = lambda _handshake: None,
) -> Reached:
    """A connection to ``relay`` (host:port) with the hello said. Raises DialError."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(DIAL_S):
            try:
                return await _dial(loop, relay, credential, dials, before_proof, verified=False)
            except _OtherCertificateError:
                return await _dial(loop, relay, credential, dials, before_proof, verified=True)
    except TimeoutError:
        raise DialError(f"no answer within {DIAL_S:g} s") from None
    except ssl.SSLCertVerificationError as error:
        what = f"its certificate is not the one that we know, and no authority vouches for it: {error.verify_message}"
        raise DialError(what, refused=True) from None
    except ssl.SSLError as error:
        raise DialError(f"no TLS: {(error.reason or 'unknown').lower().replace('_', ' ')}") from None
    except OSError as error:
        # Not asyncio's own words, which repeat the address.
        raise DialError(os.strerror(error.errno) if error.errno else str(error) or type(error).__name__) from None


class _OtherCertificateError(Exception):
    """The relay shows a certificate that is not pinned."""


async def _dial(
    loop: asyncio.AbstractEventLoop,
    relay: str,
    credential: Credential,
    dials: Dials,
    before_proof: Callable[[talk.Challenge], None],
    *,
    verified: bool,
) -> Reached:
    host, port = split(relay)
    sock = await _socket(loop, host, port, dials)
    try:
        transport, _ = await loop.create_connection(
            asyncio.Protocol,
            sock=sock,
            ssl=_verifying_context(dials.ca_file) if verified else _pinned_context(),
            server_hostname=host,
        )
    except BaseException:
        sock.close()
        raise
    try:
        fingerprint = _judged(transport, credential, verified=verified)
        greeting = AgentGreeting(credential, fingerprint, before_proof=before_proof)
        transport.set_protocol(greeting)
        greeting.connection_made(transport)
        welcome = await greeting.over
    except BaseException:
        transport.abort()
        raise
    assert greeting.challenge is not None
    name = transport.get_extra_info("peername")
    return Reached(transport, welcome, greeting.challenge, str(name[0]) if isinstance(name, tuple) else "unknown")


def _judged(transport: asyncio.BaseTransport, credential: Credential, *, verified: bool) -> bytes:
    """The SHA-256 of the certificate that the other end shows, where it may be that of our relay."""
    connection = transport.get_extra_info("ssl_object")
    fingerprint = hashlib.sha256(connection.getpeercert(binary_form=True) or b"").digest()
    if not verified and fingerprint.hex() not in credential.certificates:
        raise _OtherCertificateError
    if connection.selected_alpn_protocol() != AGENT_PROTOCOL:
        raise DialError("it is no relay: it has no agents in its configuration, or is something else", refused=True)
    return fingerprint


@functools.cache
def _pinned_context() -> ssl.SSLContext:
    """For a certificate that is judged by its fingerprint.

    Made once, and without the system's authorities: to load them takes tens of milliseconds, in which the agent stands
    still, and after a network has returned dozens of dials come together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return _agents_only(context)


def _verifying_context(ca_file: str | None) -> ssl.SSLContext:
    """For a certificate whose name an authority must vouch for; anew for each dial, as authorities are renewed."""
    return _agents_only(ssl.create_default_context(cafile=ca_file))


def _agents_only(context: ssl.SSLContext) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols([AGENT_PROTOCOL])
    return context


async def _socket(loop: asyncio.AbstractEventLoop, host: str, port: int, dials: Dials) -> socket.socket:
    """Connected to the relay, by a proxy where one is named. Names are looked up for each dial."""
    if not dials.proxy:
        return await socket_to(loop, host, port, CONNECT_S)
    sock = await socket_to(loop, *split(dials.proxy), CONNECT_S)
    try:
        await _tunnel(loop, sock, f"[{host}]:{port}" if ":" in host else f"{host}:{port}", dials.proxy_login)
    except BaseException:
        sock.close()
        raise
    return sock


async def _tunnel(loop: asyncio.AbstractEventLoop, sock: socket.socket, target: str, login: bytes) -> None:
    """Ask a proxy for the way to ``target`` (RFC 9110 section 9.3.6)."""
    fields = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    if login:
        fields.append(f"Proxy-Authorization: Basic {base64.b64encode(login).decode('ascii')}")
    await loop.sock_sendall(sock, ("\r\n".join(fields) + "\r\n\r\n").encode("ascii"))
    answer = b""
    while b"\r\n\r\n" not in answer:
        # What comes behind it would be the relay's; in TLS that is nothing before we speak.
        piece = await loop.sock_recv(sock, 1024)
        answer += piece
        if not piece or len(answer) > _MAX_PROXY_ANSWER:
            raise DialError("the HTTP proxy closes the connection, or its answer has no end")
    _judge_proxy(*answer.split(b"\r\n\r\n", 1))


_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})(?: |\r\n|$)")


def _judge_proxy(head: bytes, rest: bytes) -> None:
    """Whether the proxy's answer opens the way."""
    found = _STATUS.match(head)
    if found is None or rest:
        raise DialError("the HTTP proxy does not answer CONNECT in HTTP/1.1, or sends bytes behind its answer")
    status = int(found[1])
    if not 200 <= status < 300:
        what = "wants a login (--proxy-login)" if status == 407 else "refuses to connect to the relay"
        raise DialError(f"the HTTP proxy {what}: status {status}")


def split(address: str) -> tuple[str, int]:
    """Host, without brackets, and port of ``host:port``."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)
