"""The hello: how an agent and its relay prove to each other that they know the agent's key, before anything else.

    agent   HELLO 1 KIND NAME INSTANCE NONCE       KIND is "serve", or "join" where the key is that of a one-time code
    relay   RELAY NONCE PROOF
    agent   AGENT PROOF
    relay   WELCOME WORKER WORKERS PROCESS IDLE    or REFUSED WORD
    agent   CONTROL GUARDS, or DATA                after "join": nothing, the connection ends

It is spoken inside TLS 1.3 under a protocol name of its own (ALPN), so no byte of it is ever read as HTTP, or the other
way round. A proof is an HMAC-SHA-256 over a fixed text, the side that makes it, and all that was said: kind, name,
instance, both nonces, and the SHA-256 of the relay's certificate as each end sees it. So neither end signs what the
other chose without a nonce of its own, a proof of one side is none of the other, one connection's is none of another's,
and one that passes through a third party's TLS names another certificate (as RFC 5929's ``tls-server-end-point``). The
relay proves itself first: the agent tells nothing to a stranger but its name. For a name that it does not know the
relay makes a proof with a key that none has, so that names cannot be told apart.

Sans-I/O: nonces come in as arguments, and nothing here knows a connection.

It is spoken in lines, as all that both ends say before HTTP and beside it: a few words of ASCII with one blank between
them and a newline behind. What is longer than ``MAX_LINE`` bytes or has any other byte in it is no line.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import field
from enum import Enum

from proxy.config.agents import AGENT_KEY_BYTES
from proxy.core.signing.encodings import decode_base64url, encode_base64url
from proxy.errors import HookwardError
from proxy.values import frozen

#: The longest line is a hello: names, an instance and a nonce.
MAX_LINE = 512
_WORDS = re.compile(rb"[!-~]+(?: [!-~]+)*")


class TalkError(HookwardError):
    """The other end broke the rules. ``word`` is fixed and ours, never a byte of the peer."""

    def __init__(self, word: str) -> None:
        super().__init__(word)
        self.word = word


class LineBuffer:
    """Bytes in, lines out."""

    __slots__ = ("_at", "_data")

    def __init__(self) -> None:
        self._data = b""
        self._at = 0  # what is before it was taken; many lines come at once, and are not copied for each of them

    @property
    def rest(self) -> bytes:
        """What stands behind the lines that were taken."""
        return self._data[self._at :]

    def feed(self, data: bytes) -> None:
        """More bytes of the peer."""
        self._data, self._at = self.rest + data, 0

    def take(self) -> list[str] | None:
        """The words of the next line, or None where it is incomplete. TalkError where it cannot become one."""
        at = self._at
        end = self._data.find(b"\n", at, at + MAX_LINE)
        if end < 0:
            if len(self._data) - at >= MAX_LINE:
                raise TalkError("line_too_long")
            return None
        line, self._at = self._data[at:end], end + 1
        if not _WORDS.fullmatch(line):
            raise TalkError("line_malformed")
        return line.decode("ascii").split(" ")


def line(*words: str) -> bytes:
    """The line of these words; they are ours."""
    return " ".join(words).encode("ascii") + b"\n"


#: The name of the protocol in TLS (RFC 7301).
ALPN = "hookward-agent/1"
VERSION = "1"
NONCE_BYTES = 32
KEY_BYTES = AGENT_KEY_BYTES
PROOF_BYTES = 32
#: More workers than any host has processors.
MAX_WORKERS = 4096
MAX_IDLE = 1024

_NUMBER = re.compile(r"[0-9]{1,9}")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_PROCESS = re.compile(r"[0-9a-f]{8}")
_WORD = re.compile(r"[a-z_]{1,40}")
_CONTEXT = b"hookward-agent/1 hello"
_DERIVE = b"hookward-agent/1 key"


class Purpose(Enum):
    """What a connection is for, as far as its key tells."""

    SERVE = "serve"  # the key is the agent's
    JOIN = "join"  # the key is that of a one-time code, and the agent's is made of it


@frozen
class Hello:
    """What the agent says first."""

    kind: Purpose
    name: str
    instance: str  # of this process of the agent: a short text of its own
    nonce: bytes

    def write(self) -> bytes:
        """Its line."""
        return line("HELLO", VERSION, self.kind.value, self.name, self.instance, to_text(self.nonce))


@frozen
class Challenge:
    """All that the proofs are made over. ``certificate`` is the SHA-256 of the relay's, in DER."""

    hello: Hello
    relay_nonce: bytes
    certificate: bytes
    key: bytes = field(repr=False)

    def relay_proof(self) -> bytes:
        """What the relay shows."""
        return self._proof(_CONTEXT, b"relay")

    def agent_proof(self) -> bytes:
        """What the agent shows."""
        return self._proof(_CONTEXT, b"agent")

    def agent_key(self) -> bytes:
        """After "join": the agent's key from now on. Neither end sends it."""
        return self._proof(_DERIVE, b"")

    def _proof(self, context: bytes, side: bytes) -> bytes:
        hello = self.hello
        parts = (
            context,
            side,
            hello.kind.value.encode("ascii"),
            hello.name.encode("ascii"),
            hello.instance.encode("ascii"),
            hello.nonce,
            self.relay_nonce,
            self.certificate,
        )
        # Each with its length: no two lists of parts make the same text.
        text = b"".join(len(part).to_bytes(2, "big") + part for part in parts)
        return hmac.digest(self.key, text, hashlib.sha256)


@frozen
class Welcome:
    """What the relay says of itself: which of its workers this is, and how many connections it wants to have idle."""

    worker: int
    workers: int
    process: str  # a short random word of the service: another one after a restart
    idle: int

    def write(self) -> bytes:
        """Its line."""
        return line("WELCOME", str(self.worker), str(self.workers), self.process, str(self.idle))


@frozen
class Refused:
    """The relay does not take the agent."""

    word: str

    def write(self) -> bytes:
        """Its line."""
        return line("REFUSED", self.word)


def same(one: bytes, other: bytes) -> bool:
    """Whether two proofs are the same, in constant time."""
    return hmac.compare_digest(one, other)


def read_hello(words: list[str]) -> Hello:
    """The first line. TalkError where it is none, or of a version that we do not speak."""
    if len(words) != 6 or words[0] != "HELLO":
        raise TalkError("hello_expected")
    _, version, kind, name, instance, nonce = words
    if version != VERSION:
        raise TalkError("version_unknown")
    if kind not in {each.value for each in Purpose}:
        raise TalkError("kind_unknown")
    if not _NAME.fullmatch(name) or not _NAME.fullmatch(instance):
        raise TalkError("name_malformed")
    return Hello(Purpose(kind), name, instance, from_text(nonce, NONCE_BYTES))


def write_relay(nonce: bytes, proof: bytes) -> bytes:
    """The relay's nonce and proof."""
    return line("RELAY", to_text(nonce), to_text(proof))


def read_relay(words: list[str]) -> tuple[bytes, bytes]:
    """The relay's nonce and proof; TalkError where it says something else."""
    if len(words) != 3 or words[0] != "RELAY":
        raise TalkError("relay_expected")
    return from_text(words[1], NONCE_BYTES), from_text(words[2], PROOF_BYTES)


def write_agent(proof: bytes) -> bytes:
    """The agent's proof."""
    return line("AGENT", to_text(proof))


def read_agent(words: list[str]) -> bytes:
    """The agent's proof; TalkError where it says something else."""
    if len(words) != 2 or words[0] != "AGENT":
        raise TalkError("agent_expected")
    return from_text(words[1], PROOF_BYTES)


def read_welcome(words: list[str]) -> Welcome | Refused:
    """How the relay ends its part; TalkError where it says something else."""
    if len(words) == 2 and words[0] == "REFUSED" and _WORD.fullmatch(words[1]):
        return Refused(words[1])
    if len(words) != 5 or words[0] != "WELCOME" or not _PROCESS.fullmatch(words[3]):
        raise TalkError("welcome_expected")
    worker, workers, idle = (
        read_count(words[at], most) for at, most in ((1, MAX_WORKERS), (2, MAX_WORKERS), (4, MAX_IDLE))
    )
    if worker >= workers:
        raise TalkError("worker_unknown")
    return Welcome(worker, workers, words[3], idle)


def read_count(text: str, most: int) -> int:
    """A number from 0 to ``most``; TalkError where it is none."""
    if not _NUMBER.fullmatch(text) or int(text) > most:
        raise TalkError("number_malformed")
    return int(text)


def to_text(value: bytes) -> str:
    """Bytes as a word of a line."""
    return encode_base64url(value).decode("ascii")


def from_text(text: str, size: int) -> bytes:
    """The bytes of a word, in its one form; TalkError where it has not ``size`` of them."""
    value = decode_base64url(text.encode("ascii")) if text.isascii() else None
    if value is None or len(value) != size:
        raise TalkError("value_malformed")
    return value
