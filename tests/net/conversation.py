"""What a random conversation is made of: routes, deliveries, requests, answers, and applications that give them.

A ``Way`` is a route as it was drawn, a ``Asked`` one request and what may become of it. They say what is *allowed*; how
it comes about is hookward's. ``read_messages`` reads what either side has heard as strictly as it was written.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from hypothesis import strategies as st

from proxy.core.delivery import Claim, DuplicateRule, DuplicateTable, Found, Keys, TurnRule
from proxy.core.policy import BodyMode, Endpoint, Route
from proxy.core.signing.proof import TokenCheck, TokenKind
from proxy.core.signing.scheme import Secret
from proxy.http1 import CONTINUE
from proxy.net.duplicates import StoreError
from tests.net.dialogue import End, World, chunks, route, signature
from tests.policies import APP

WINDOWS = [1024, 4096, 20_000]
MAX_BODY = 120_000
TOKEN = TokenCheck(TokenKind.HEADER, b"x-token", (Secret("t", b"word"),))
#: An upstream that is told the client, connection by connection.
TOLD = Endpoint("127.0.0.1", 8001, send_proxy=True)
#: Claims and memories end by a release alone, never by themselves.
FOR_EVER_S = 1e9
TO_THE_END = b"the application says when"
POISON = b"HTTP/1.1 200 OK\r\nX-Number: 999\r\nContent-Length: 6\r\n\r\npoison"


# -- routes


@dataclass(frozen=True)
class Way:
    """A route, as it was drawn."""

    path: bytes
    body: BodyMode
    proof: str  # "signature", "token", "none"
    observe: bool
    window: int
    hold_s: float
    told: bool
    duplicates: DuplicateRule | None
    turns: TurnRule | None

    @cached_property
    def route(self) -> Route:
        return route(
            self.path,
            self.body,
            signed=self.proof == "signature",
            token=TOKEN if self.proof == "token" else None,
            observe=self.observe,
            hold_window=self.window,
            max_body=MAX_BODY,
            hold_s=self.hold_s,
            upstream=(TOLD if self.told else APP,),
            duplicates=self.duplicates,
            turns=self.turns,
        )


@st.composite
def ways(draw: st.DrawFn, number: int) -> Way:
    if draw(st.booleans()):  # one that has plans
        body = draw(st.sampled_from([BodyMode.TAIL, BodyMode.HOLD]))
        window, hold_s = draw(st.sampled_from(WINDOWS)), draw(st.sampled_from([0.0, 5.0]))
        return Way(b"/%d" % number, body, "signature", False, window, hold_s, False, None, None)
    proof = draw(st.sampled_from(["signature"] * 4 + ["token", "none"]))
    rule = DuplicateRule(
        remembers=draw(st.booleans()),
        window_s=FOR_EVER_S,
        patience_s=draw(st.sampled_from([0.0, 9.0])),
        hold_s=FOR_EVER_S,
    )
    return Way(
        b"/%d" % number,
        draw(st.sampled_from([*[BodyMode.TAIL if proof == "signature" else BodyMode.FREE] * 2, BodyMode.HOLD])),
        proof,
        observe=draw(st.sampled_from([False, False, True])),
        window=draw(st.sampled_from(WINDOWS)),
        hold_s=draw(st.sampled_from([0.0, 5.0])),
        told=draw(st.sampled_from([False, False, True])),
        duplicates=draw(st.sampled_from([None, rule])),
        turns=draw(st.sampled_from([None, None, TurnRule(concurrency=1), TurnRule(pace_per_s=5.0)])),
    )


# -- requests


@dataclass(frozen=True)
class Delivery:
    """What a sender has to say; it may say it more than once."""

    number: int
    way: Way
    body: bytes = field(repr=False)


@dataclass(frozen=True)
class Asked:
    """One request."""

    number: int
    data: bytes = field(repr=False)
    delivery: Delivery
    flaw: str
    method: bytes = b"POST"
    minor: int = 1

    @property
    def body(self) -> bytes:
        return self.delivery.body if self.method == b"POST" else b""

    @property
    def proved(self) -> bool:
        """Whether everything that the route asks for is there."""
        return self.flaw == "" or (self.flaw in {"forged", "unproved"} and self.delivery.way.proof == "none")

    @property
    def has_token(self) -> bool:
        """Whether its token is right: that is known from the head, and holds whatever the body turns out to be."""
        return self.flaw in {"", "framing"}

    @property
    def admitted(self) -> bool:
        """Whether the upstream may have it whole."""
        passes = self.flaw in {"", "forged", "unproved"} and len(self.body) <= MAX_BODY
        return passes and (self.proved or self.delivery.way.observe)

    @property
    def claims(self) -> bool:
        """Whether it must not be in work beside another of the same delivery."""
        return self.method == b"POST" and self.delivery.way.duplicates is not None and not self.delivery.way.observe

    @property
    def passes_its_head(self) -> bool:
        """Whether nothing in its head has it refused; the body's signature is another matter."""
        way = self.delivery.way
        if self.flaw in {"nowhere", "head"}:
            return False
        return way.observe or way.proof == "none" or (way.proof == "token" and self.has_token) or self.has_signature

    @property
    def has_signature(self) -> bool:
        """Whether it has one, right or wrong."""
        return self.delivery.way.proof == "signature" and self.flaw != "unproved"

    @property
    def free(self) -> bool:
        """Whether its head was all there is to prove: then it streams, and its answer may come at any time."""
        way = self.delivery.way
        if way.body is BodyMode.HOLD or not self.passes_its_head:
            return False
        if way.observe and not self.has_token and not self.has_signature and way.proof != "none":
            return True
        return way.proof != "signature" and way.duplicates is None

    @property
    def streams(self) -> bool:
        """Whether the upstream may have the beginning of it before its end is here."""
        way = self.delivery.way
        beyond = way.body is not BodyMode.HOLD and len(self.body) > way.window
        return self.free or (self.passes_its_head and beyond)


SIZES = st.sampled_from([0, 1, 1000, 1024, 4097, 20_480, 30_000, 30_000, 70_000, 70_000, MAX_BODY, MAX_BODY + 1])
FLAWS = [""] * 16 + ["forged"] * 4 + ["unproved", "nowhere", "head", "framing", "framing"]


@st.composite
def deliveries(draw: st.DrawFn, number: int, drawn: list[Way]) -> Delivery:
    size = draw(SIZES)
    return Delivery(number, draw(st.sampled_from(drawn)), (b"%d." % number * (size // 2 + 1))[:size])


@st.composite
def asked(draw: st.DrawFn, number: int, drawn: list[Delivery], flaws: list[str] = FLAWS) -> Asked:
    delivery = draw(st.sampled_from(drawn))
    flaw = draw(st.sampled_from(flaws))
    methods = [b"POST"] * 6 + [b"HEAD", b"GET"] if flaws is FLAWS and flaw != "framing" else [b"POST"]
    method = draw(st.sampled_from(methods))
    body = delivery.body if method == b"POST" else b""
    chunked = method == b"POST" and (flaw == "framing" or draw(st.booleans()))
    minor = 1 if chunked else draw(st.sampled_from([1, 1, 1, 0]))
    path = b"/nowhere" if flaw == "nowhere" else delivery.way.path
    lines = [b"%b %b HTTP/1.%d" % (method, path, minor), b"Host: h", b"User-Agent: n-%d" % number]
    lines += [b"X-Number: %d" % number, b"X-GitHub-Delivery: d-%d" % delivery.number]
    if flaw != "unproved":
        lines.append(b"X-Hub-Signature-256: %b" % signature(body + (b"!" if flaw == "forged" else b"")))
        lines.append(b"X-Token: %b" % (b"guess" if flaw == "forged" else b"word"))
    if flaw == "head":
        lines.append(b"X-Odd : x")
    lines += draw(st.sampled_from([[], [], [b"Expect: 100-continue"], [b"Connection: close"]]))
    if chunked:
        lines.append(b"Transfer-Encoding: chunked")
        body = chunks(body, draw(st.sampled_from([700, 40_000])))
        if flaw == "framing":
            body = body[:-3] + b"X" + body[-3:]
    elif method == b"POST":
        lines.append(b"Content-Length: %d" % len(body))
    return Asked(number, b"\r\n".join(lines) + b"\r\n\r\n" + body, delivery, flaw, method, minor)


# -- what was heard


@dataclass
class Message:
    head: bytes
    content: bytes
    complete: bool

    @property
    def number(self) -> int | None:
        found = re.search(rb"\r\nX-Number: (\d+)", self.head)
        return int(found[1]) if found else None

    @property
    def status(self) -> int:
        return int(self.head[9:12])


def read_requests(data: bytes) -> list[Message]:
    """What an upstream has got on one connection."""
    found = []
    while data:
        message, data = _read(data, bare=False)
        found.append(message)
    return found


def read_answers(data: bytes, methods: list[str]) -> list[Message]:
    """What a sender has got on one connection, to requests with these methods; interim answers are left out."""
    found: list[Message] = []
    while data:
        asked_head = methods[len(found) : len(found) + 1] == ["HEAD"]
        bare = asked_head or data.startswith((b"HTTP/1.1 1", b"HTTP/1.1 204", b"HTTP/1.1 304"))
        message, data = _read(data, bare=bare)
        if not message.head.startswith(b"HTTP/1.1 1"):
            found.append(message)
    return found


def _read(data: bytes, *, bare: bool) -> tuple[Message, bytes]:
    head, blank, rest = data.partition(b"\r\n\r\n")
    if not blank or bare:
        return Message(head, b"", complete=bool(blank)), rest
    if b"\r\nTransfer-Encoding: chunked" in head:
        content, complete, rest = _read_chunks(rest)
        return Message(head, content, complete), rest
    length = re.search(rb"\r\nContent-Length: (\d+)", head)
    if length is None and head.startswith(b"HTTP/"):
        return Message(head, rest, complete=False), b""  # ends with the connection
    size = int(length[1]) if length else 0
    return Message(head, rest[:size], len(rest) >= size), rest[size:]


def _read_chunks(data: bytes) -> tuple[bytes, bool, bytes]:
    pieces: list[bytes] = []
    while True:
        line, end, rest = data.partition(b"\r\n")
        size = int(line, 16) if end else 0
        if not end or len(rest) < size + 2:
            return b"".join([*pieces, rest[:size]]), False, b""
        assert rest[size : size + 2] == b"\r\n"
        if not size:
            return b"".join(pieces), True, rest[2:]
        pieces.append(rest[:size])
        data = rest[size + 2 :]


# -- applications


@dataclass(frozen=True)
class Said:
    """An answer, as bytes with a place for the request's number, and what it says."""

    data: bytes = field(repr=False)
    status: int
    content: bytes = b"no\n"
    good: bool = True


LONG = b"no\n" * 66_667
HEADED = b"\r\nX-Number: %d\r\n"
FINE = Said(b"HTTP/1.1 200 OK" + HEADED + b"Content-Length: 3\r\n\r\nno\n", 200)
ANSWERS = [
    FINE,
    FINE,
    Said(b"HTTP/1.1 201 Created" + HEADED + b"Transfer-Encoding: chunked\r\n\r\n3\r\nno\n\r\n0\r\n\r\n", 201),
    Said(CONTINUE + b"HTTP/1.1 500 Oops" + HEADED + b"Content-Length: 3\r\n\r\nno\n", 500),
    Said(b"HTTP/1.1 103 Hints\r\nLink: a\r\n\r\n" * 3 + FINE.data, 200),
    Said(b"HTTP/1.1 103 Hints\r\nLink: a\r\n\r\n" * 9 + FINE.data, 200, good=False),
    Said(b"HTTP/1.1 200 OK" + HEADED + b"Connection: close\r\nContent-Length: 3\r\n\r\nno\n", 200),
    Said(b"HTTP/1.1 204 No Content" + HEADED + b"\r\n", 204, b""),
    Said(b"HTTP/1.1 304 Not Modified" + HEADED + b"Content-Length: 3\r\n\r\n", 304, b""),
    Said(b"HTTP/1.1 200 OK" + HEADED + b"Content-Length: %d\r\n\r\n" % len(LONG) + LONG, 200, LONG),
    Said(FINE.data + b"HTTP/1.1 200 OK\r\nX-Number: 999\r\nContent-Length: 1\r\n\r\nx", 200),
    Said(b"HTTP/1.1 200 OK" + HEADED + b"\r\n" + TO_THE_END, 200, TO_THE_END),
    Said(b"HTTP/1.1 200 OK" + HEADED + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 200, good=False),
    Said(b"garbage %d", 0, good=False),
]


@dataclass
class App:
    """The upstream's side of one connection."""

    end: End
    got: bytes = b""
    answered: int = 0
    rest: bytes = b""  # of an answer that was begun
    said: dict[int, Said] = field(default_factory=dict)  # by the number of the request
    _messages: list[Message] = field(default_factory=list)

    def listen(self) -> list[Message]:
        """The requests that have come."""
        heard = self.end.hear()
        if heard:
            self.got += heard
            self._messages = read_requests(self.got)
        return self._messages

    @property
    def stands(self) -> bool:
        return not self.end.transport.closing

    @property
    def is_done(self) -> bool:
        """Whether all that was asked is answered to its end, so that whatever it says now is no answer."""
        to_the_end = any(said.content is TO_THE_END for said in self.said.values())
        unheard = self.end.transport.get_write_buffer_size()  # what a slow one has not read may be the next request
        return not (self.rest or to_the_end or unheard) and len(self.listen()) == self.answered

    def waiting(self, *, early: bool = False) -> int | None:
        """The number of the request that it may answer now; before its end where it is ``early``."""
        messages = self.listen()
        if self.rest or len(messages) <= self.answered:
            return None
        message = messages[self.answered]
        return message.number if message.complete or early else None

    def begin(self, number: int, answer: Said, *, head_only: bool = False) -> None:
        """Answer the next request; ``more`` says it. ``head_only`` leaves out the content, as for HEAD."""
        self.answered += 1
        self.said[number] = answer
        self.rest = answer.data % number
        if head_only:
            self.rest = self.rest[: self.rest.rindex(b"\r\n\r\n") + 4] if b"\r\n\r\n" in self.rest else self.rest

    def more(self, size: int) -> None:
        """Say so much of the answer."""
        piece, self.rest = self.rest[:size], self.rest[size:]
        self.end >> piece

    def in_work(self) -> list[int]:
        """The whole requests that it has not answered yet."""
        if not self.stands:
            return []
        return [message.number or 0 for message in self.listen()[self.answered :] if message.complete]


# -- a store of duplicates that others share


class Store:
    """Answers, fails, or keeps everybody waiting, as its ``mood`` says."""

    def __init__(self, world: World) -> None:
        self.mood = "answers"
        self.table = DuplicateTable(1000)
        self._world = world
        self._waiting: list[Any] = []

    def go_on(self) -> None:
        """Everybody has waited enough."""
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            if not one.done():
                one.set_result(None)
        self._world.settle()

    async def claim(self, keys: Keys, owner: str, *, hold_s: float, past: bool) -> Claim:
        await self._answer()
        if self.mood == "elsewhere":
            return Claim(Found.IN_FLIGHT)
        if self.mood == "known":
            return Claim(Found.DELIVERED, 201)
        return self.table.claim(keys, owner, self._world.loop.now, hold_s=hold_s, past=past)

    async def delivered(self, keys: Keys, owner: str, status: int, keep_s: float) -> None:
        await self._answer()
        self.table.delivered(keys, owner, status, self._world.loop.now, keep_s)

    async def released(self, keys: Keys, owner: str) -> None:
        await self._answer()
        self.table.released(keys, owner)

    async def close(self) -> None:
        """Nothing is to be closed."""

    async def _answer(self) -> None:
        if self.mood == "slow":
            self._waiting.append(self._world.loop.create_future())
            await self._waiting[-1]
        if self.mood == "fails":
            raise StoreError("it fails")
