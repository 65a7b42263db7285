"""What an agent and its relay say to each other: the hello, by which both prove that they know the agent's key, and
then the control connection. All of it is spoken in lines, before HTTP and beside it: a few words of ASCII with one
blank between them and a newline behind. What is longer than ``MAX_LINE`` bytes or has any other byte in it is no line.

The hello comes before anything else:

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

On a control connection each line is a message:

    PING N, PONG N        both: an answer within two intervals shows that the other end lives
    PROBE N PATH          relay: ask the application ("-": only whether it can be reached)
    PROBED N WORD         agent: "ok", or what came of it instead
    WANT N                relay: have so many connections idle for this worker
    DRAIN                 either end: I am going; open what you need elsewhere, then I close
    CERTIFICATES H…       relay: the SHA-256 of the certificates that it shows from now on

A message of the wrong side, an unknown word or a malformed one is the end of the connection. A peer that does not read
what we write is not read either: answers to its messages would pile up here. So it counts as silent, and is cut like
any other that is.

All but ``ControlTalk`` and ``hold_fast`` is sans-I/O: nonces and times (in seconds) come in as arguments.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import field
from enum import Enum
from types import MappingProxyType
from typing import cast

from proxy.config.agents import AGENT_KEY_BYTES
from proxy.core.signing.scheme import decode_base64url, encode_base64url
from proxy.errors import HookwardError
from proxy.net.sockets import abort
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


#: Numbers of pings and probes.
MAX_NUMBER = 999_999_999
MAX_CERTIFICATES = 7
_HASH = re.compile(r"[0-9a-f]{64}")
_PATH = re.compile(r"-|/[!-~]{0,255}")
_RESULT = re.compile(r"[a-z0-9_]{1,40}")


class Word(Enum):
    """The words of messages."""

    PING = "PING"
    PONG = "PONG"
    PROBE = "PROBE"
    PROBED = "PROBED"
    WANT = "WANT"
    DRAIN = "DRAIN"
    CERTIFICATES = "CERTIFICATES"


class Side(Enum):
    """Who says it."""

    RELAY = "relay"
    AGENT = "agent"


_BOTH, _RELAY, _AGENT = frozenset(Side), frozenset({Side.RELAY}), frozenset({Side.AGENT})

#: Who says it, and what follows: a number up to so many (0: none), then texts of that form, from so many to so many.
_FORMS: Mapping[Word, tuple[frozenset[Side], int, re.Pattern[str], int, int]] = MappingProxyType(
    {
        Word.PING: (_BOTH, MAX_NUMBER, _RESULT, 0, 0),
        Word.PONG: (_BOTH, MAX_NUMBER, _RESULT, 0, 0),
        Word.PROBE: (_RELAY, MAX_NUMBER, _PATH, 1, 1),
        Word.PROBED: (_AGENT, MAX_NUMBER, _RESULT, 1, 1),
        Word.WANT: (_RELAY, MAX_IDLE, _RESULT, 0, 0),
        Word.DRAIN: (_BOTH, 0, _RESULT, 0, 0),
        Word.CERTIFICATES: (_RELAY, 0, _HASH, 1, MAX_CERTIFICATES),
    }
)
SAYS: Mapping[Word, frozenset[Side]] = MappingProxyType({word: form[0] for word, form in _FORMS.items()})


@frozen
class Message:
    """One of them. ``number`` and ``texts`` are what its word has, else 0 and ()."""

    word: Word
    number: int = 0
    texts: tuple[str, ...] = ()

    def write(self) -> bytes:
        """Its line."""
        numbers = (str(self.number),) if _FORMS[self.word][1] else ()
        return line(self.word.value, *numbers, *self.texts)


def read_message(words: list[str], side: Side) -> Message:
    """What ``side`` says; TalkError where it says nothing that we know."""
    word = next((one for one in Word if one.value == words[0]), None)
    if word is None or side not in SAYS[word]:
        raise TalkError("message_unknown")
    _, most, text, least, longest = _FORMS[word]
    count = 1 if most else 0
    numbers, texts = words[1 : 1 + count], words[1 + count :]
    if len(numbers) < count or not least <= len(texts) <= longest or not all(map(text.fullmatch, texts)):
        raise TalkError("message_malformed")
    return Message(word, read_count(numbers[0], most) if count else 0, tuple(texts))


#: Why a control connection has ended, at either end.
WHY = {
    "closed": "it closed the connection",
    "lost": "the connection was lost",
    "silent": "nothing was heard from it for 9 s",
}
#: Each end says something at least so often.
PING_S = 5.0
#: Two pings missed, and four seconds for what is late: then the other end is dead, within ten seconds of its last word.
SILENCE_S = 9.0
#: A probe that came through to the application counts for so long.
FRESH_S = 15.0


class Pulse:
    """One connection's signs of life."""

    __slots__ = ("_heard", "_number", "_pinged")

    def __init__(self, now: float) -> None:
        self._heard = self._pinged = now
        self._number = 0

    def heard(self, now: float) -> None:
        """Something has come."""
        self._heard = now

    def silent_s(self, now: float) -> float:
        """For how long nothing has come."""
        return now - self._heard

    def is_dead(self, now: float) -> bool:
        """Whether the other end is to be given up."""
        return now - self._heard >= SILENCE_S

    def ping(self, now: float) -> int:
        """The number of the ping that is due, or 0."""
        if now - self._pinged < PING_S:
            return 0
        self._pinged = now
        self._number = self._number % 999_999_999 + 1
        return self._number

    def next_s(self, now: float) -> float:
        """In how many seconds it is to be asked again."""
        return max(0.05, min(self._pinged + PING_S, self._heard + SILENCE_S) - now)


#: The kernel gives a connection up whose other end has acknowledged nothing for so long.
USER_TIMEOUT_MS = 10_000
KEEPALIVE = (("TCP_KEEPIDLE", 5), ("TCP_KEEPINTVL", 2), ("TCP_KEEPCNT", 3))


def hold_fast(transport: asyncio.BaseTransport) -> None:
    """Let the kernel notice within seconds that the other end of a connection is gone."""
    sock = transport.get_extra_info("socket")
    for name, value in (*KEEPALIVE, ("TCP_USER_TIMEOUT", USER_TIMEOUT_MS)):
        with contextlib.suppress(AttributeError, OSError):  # not every system has each of them
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class ControlTalk(asyncio.Protocol):
    """One end of a control connection. ``other`` is the side that it hears, ``now`` gives seconds."""

    def __init__(self, other: Side, now: Callable[[], float]) -> None:
        self.pulse = Pulse(now())
        self._other = other
        self._now = now
        self._lines = LineBuffer()
        self._transport: asyncio.Transport | None = None

    # -- of the side

    def hear(self, message: Message) -> None:
        """Any message but a ping."""
        raise NotImplementedError

    def end(self, why: str, *, cut: bool = False) -> None:
        """It is over; ``cut``: so is all that belongs to it, at once. A second call does nothing."""
        raise NotImplementedError

    # -- asyncio's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        hold_fast(transport)

    def data_received(self, data: bytes) -> None:
        self.pulse.heard(self._now())
        self._lines.feed(data)
        try:
            while (words := self._lines.take()) is not None:
                message = read_message(words, self._other)
                if message.word is Word.PING:
                    self.say(Message(Word.PONG, message.number))
                else:
                    self.hear(message)
        except TalkError as error:
            self.end(error.word, cut=True)

    def eof_received(self) -> bool:
        self.end("closed")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self.end("lost" if exc else "closed")

    def pause_writing(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    # -- for the side

    def say(self, message: Message) -> None:
        """Send one."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(message.write())

    def is_alive_after_ping(self, now: float) -> bool:
        """Ping where that is due. False where the other end was silent for too long: then it is cut."""
        if self.pulse.is_dead(now):
            self.end("silent", cut=True)
            return False
        number = self.pulse.ping(now)
        if number:
            self.say(Message(Word.PING, number))
        return True

    def hang_up(self, *, cut: bool) -> None:
        """Close the connection itself."""
        if self._transport is not None:
            if cut:
                abort(self._transport, self._transport.get_extra_info("socket"))
            else:
                self._transport.close()
