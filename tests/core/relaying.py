"""One exchange as values: a shell that answers a relay's wishes by lot, and what must hold whatever it draws.

    python -m tests.core.relaying [--steps 1000000] [--seed N]

The route is drawn too: body mode, signature, observe, duplicates, ``hold``, framing, a spill that may be full, and what
its rule for payloads says. Each
step is one event that the states allow, or now and then one that they do not, which must raise and change nothing. At
the end of each exchange:

* it ended once, with one reason, and every wish was answered or withdrawn;
* the upstream has a complete request only if its verdict was right (or is only observed), and then it is the body to
  the byte; of what is held, or fits the window, it had nothing before, and of what streams not the end;
* what the rule for payloads leaves out or refuses, the upstream has not a byte of, and no memory claims it;
* nothing claims a verdict that was not there when the head was written;
* the client had one answer at most: the upstream's, whole or visibly cut, or none of it.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pytest

from proxy.core.addresses import Peer
from proxy.core.body import WITHHELD_BYTES
from proxy.core.delivery import DuplicateRule
from proxy.core.exchange import Admit
from proxy.core.payload import PayloadRule, Selection
from proxy.core.policy import BodyMode, Endpoint, Route
from proxy.core.record import Arrival, ExchangeRecord
from proxy.core.relay import CLAIM, DIAL, JUDGE, Relay
from proxy.core.request_head import read_request_head
from proxy.core.response_head import read_response_head
from proxy.core.signing.mac import WholeVerification
from proxy.core.states import ANSWER_HEARS, REQUEST_HEARS, AnswerState, Event, IllegalMoveError, RequestState, Then
from proxy.http1 import Framing, RequestHead, ResponseHead
from proxy.reasons import OBSERVABLE, Phase, Reason
from tests.net.dialogue import KEY, route
from tests.policies import HEAD_LIMITS

APP = Endpoint("127.0.0.1", 8000)
PEER = Peer.of("192.0.2.1")
ARRIVAL = Arrival("192.0.2.1", secure=False)
WINDOW = 256
RULE = DuplicateRule(True, 3600.0, patience_s=9.0, hold_s=92.0)
SIZES = (0, 0, 1, 100, WINDOW, WINDOW + 1, WINDOW + WITHHELD_BYTES - 1, WINDOW + WITHHELD_BYTES, 20_000, 40_000)
FRESH = (RequestState.RECEIVING, RequestState.JUDGING, RequestState.CLAIMING)


def _answer(text: bytes, method: bytes = b"POST") -> ResponseHead:
    parsed = read_response_head(text, method)
    assert parsed is not None
    return parsed[0]


ANSWERS = tuple(
    _answer(b"HTTP/1.1 %b\r\n%b\r\n" % (status, framing))
    for status in (b"200 OK", b"202 Accepted", b"500 Internal Server Error")
    for framing in (b"Content-Length: 6\r\n", b"Transfer-Encoding: chunked\r\n", b"")
)


def _routes() -> list[Route]:
    routes = []
    for body in BodyMode:
        for observe in (False, True):
            for duplicates in (None, RULE):
                for hold_s in (0.0, 5.0):
                    more = {"observe": observe, "duplicates": duplicates, "hold_s": hold_s, "hold_window": WINDOW}
                    routes.append(route(b"/hook", body, signed=body is not BodyMode.FREE, **more))
    return routes


ROUTES = _routes()


class DrawnRule(PayloadRule):
    """Says what it was made to say of any body that it may look at."""

    reason: Reason | None = None

    def judge(self, head: RequestHead, body: bytes | None) -> Selection:
        return super().judge(head, None) if body is None else Selection(self.reason, "drawn", "event")


def _rules() -> list[PayloadRule | None]:
    rules: list[PayloadRule | None] = [None] * 5
    for reason in (None, Reason.FILTERED, Reason.PAYLOAD_UNDECIDED, Reason.EVENT_REFUSED):
        for passes in (False, True):
            rule = DrawnRule(passes_undecided=passes)
            object.__setattr__(rule, "reason", reason)
            rules.append(rule)
    return [*rules, DrawnRule(events=frozenset({"paid"}))]


RULES = _rules()


class Spill:
    """A temporary file in memory, which may be full."""

    def __init__(self, room: int) -> None:
        self.room, self.size = room, 0
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.size += len(data)
        if self.size > self.room:
            raise OSError("full")
        self.written.append(data)

    def pieces(self) -> Iterator[bytes]:
        yield from self.written


def _head(body: bytes, *, good: bool, chunked: bool, minor: int) -> RequestHead:
    mac = hmac.new(KEY, body if good else body + b"!", hashlib.sha256).hexdigest().encode()
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(body)
    text = b"POST /hook HTTP/1.%d\r\nHost: h\r\nX-GitHub-Delivery: d-1\r\nX-Hub-Signature-256: sha256=%b\r\n%b\r\n\r\n"
    parsed = read_request_head(text % (minor, mac, framing), HEAD_LIMITS)
    assert parsed is not None
    return parsed[0]


def _requests() -> list[tuple[RequestHead, bytes, bool]]:
    """Heads with their bodies, and whether they are signed right."""
    found = []
    for size in set(SIZES):
        body = (b"%d." % size * (size // 2 + 1))[:size]
        for good in (True, False):
            for minor, chunked in ((1, False), (1, True), (0, False)):
                found.append((_head(body, good=good, chunked=chunked, minor=minor), body, good))
    return found


REQUESTS = _requests()
CONTENT = b"answer"
LATE = (Reason.BODY_TIMEOUT, Reason.UPSTREAM_TIMEOUT, Reason.OVERLOADED, Reason.INTERNAL_ERROR)


@dataclass
class Exchange:
    """One exchange, and the shell around it."""

    rng: random.Random
    seen: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        rng = self.rng
        self.rule = rng.choice(RULES)
        self.route = replace(rng.choice(ROUTES), payload=self.rule)
        self.head, self.body, self.good = rng.choice(REQUESTS)
        self.now = 1000.0
        self.relay = Relay(
            ExchangeRecord("id", 0.0, "192.0.2.1", "192.0.2.1", keep_alive=self.head.keep_alive), ARRIVAL, self.now
        )
        verification = self.route.signature.begin(self.head, 0.0) if self.route.signature else None
        if verification is not None and self.route.body is BodyMode.HOLD and rng.random() < 0.5:
            # A scheme that wants the body in one piece, as documents do.
            verification = WholeVerification(lambda _: "s1" if self.good else Reason.SIGNATURE_MISMATCH, [b"mark"])
        observed = Reason.TOKEN_MISSING if self.route.observe and rng.random() < 0.2 else None
        if observed is not None:
            verification = None
        spill = Spill(rng.choice((10**9, 10**9, WINDOW)))
        admit = Admit(self.route, PEER, b"/hook", verification, observed=observed)
        self.proved = verification is None or self.good
        self.free = verification is None and (self.route.duplicates is None or observed is not None)
        self.free = self.free and self.route.body is not BodyMode.HOLD and self.rule is None
        self.goes_on = self._goes_on()
        self.given = 0
        self.dialing = self.judging = self.asking = self.connected = False
        self.upstream: list[bytes] = []
        self.client: list[bytes] = []
        self.complete = False
        self.answer: ResponseHead | None = None
        self.told: list[bytes] = []
        self.answer_ended = False
        self.relay.admitted(self.head, admit, spill)
        self.take()

    def _goes_on(self) -> bool:
        """Whether the rule for payloads lets the body pass."""
        if not isinstance(self.rule, DrawnRule):
            return True
        if len(self.body) > WINDOW:
            return self.rule.may_pass or (self.rule.events is not None and self.route.observe)
        return self.rule.reason is None or (self.rule.reason in OBSERVABLE and self.route.observe)

    # -- the shell

    def take(self) -> None:
        """Do as the relay wishes, and write what it writes."""
        relay = self.relay
        wishes, relay.wishes = relay.wishes, 0
        if wishes & JUDGE:
            assert not self.judging
            self.judging = True
        if wishes & CLAIM:
            assert not self.asking
            assert self.good, "a forged delivery claims nothing"
            assert self.goes_on, "nor does one that is not passed on"
            self.asking = True
        if wishes & DIAL:
            assert not self.dialing
            assert not self.connected, "one upstream has it, or none"
            self.dialing = True
            assert not relay.may_wait or relay.request is RequestState.ADMITTED
        if relay.to_upstream:
            assert self.connected
            assert not self.complete, "nothing comes behind the end"
            self.upstream += relay.to_upstream
            relay.to_upstream = []
        if self.connected and relay.answer is AnswerState.AWAITING:
            self.complete = True
        self.client += relay.to_client
        relay.to_client = []
        if self.upstream and relay.request in FRESH and not self.free:
            assert self.route.body is not BodyMode.HOLD, "a part of what is held"
            assert self.given > WINDOW, "a part of what fits the window"
            assert len(self._sent()) <= self.given - WITHHELD_BYTES, "a part of the end"

    def _sent(self) -> bytes:
        """The content that the upstream has."""
        head, _, content = b"".join(self.upstream).partition(b"\r\n\r\n")
        return b"".join(_chunks(content)) if b"\r\nTransfer-Encoding: chunked" in head else content

    def events(self) -> list[str]:
        """What may happen now."""
        relay = self.relay
        found = ["late"]
        if relay.request is RequestState.RECEIVING:
            found += ["content"] * 6
        elif relay.request is RequestState.JUDGING:
            found += ["judged"] * 4
        elif relay.request is RequestState.CLAIMING:
            found += ["claimed", "claimed", "duplicate"]
        if relay.answer is AnswerState.DIALING:
            found += ["connected"] * 3 + ["unreachable"]
        if relay.answer in (AnswerState.SENDING, AnswerState.AWAITING):
            found += ["answered", "answered", "failed"]
            found += ["takes"] * 4 * (relay.spilled is not None)
        if relay.may_relay:
            found += ["relay"] * 4
        if relay.answer in (AnswerState.KEPT, AnswerState.RELAYING) and not self.answer_ended:
            found += ["more", "more", "failed"]
        return [*found, "gone", "illegal"] if self.rng.random() < 0.1 else found

    def step(self) -> None:
        self.now += self.rng.random() * 3
        name = self.rng.choice(self.events())
        self.seen[name] += 1
        getattr(self, f"on_{name}")()
        self.take()

    # -- what happens

    def on_content(self) -> None:
        rng, body = self.rng, self.body
        chunked = self.head.framing is Framing.CHUNKED
        if not self.given and not chunked and rng.random() < 0.5:
            self.given = len(body)
            self.relay.whole(body)
            self.relay.content_ended()
        elif self.given < len(body):
            piece = body[self.given : self.given + rng.choice((1, 100, WINDOW, 16_384, 65_536))]
            self.given += len(piece)
            try:
                self.relay.content(piece)
            except OSError:
                self.relay.refuse(Reason.OVERLOADED, "spill")
        else:
            self.relay.content_ended()

    def on_judged(self) -> None:
        self.judging = False
        self.relay.judged(self.relay.gate.finish())

    def on_claimed(self) -> None:
        self.asking = False
        self.relay.claimed()

    def on_duplicate(self) -> None:
        self.asking = False
        reasons = (Reason.DUPLICATE_DELIVERED, Reason.DUPLICATE_IN_FLIGHT, Reason.OVERLOADED, Reason.INTERNAL_ERROR)
        reason = self.rng.choice(reasons)
        self.relay.duplicate(reason, reason.status or 202)

    def on_connected(self) -> None:
        self.dialing, self.connected = False, True
        admitted = self.relay.request is RequestState.ADMITTED
        self.relay.connected(APP, "app", self.now)
        head = self.relay.to_upstream[0]
        claims = b"\r\nWebhook-Verified: " in head
        assert claims == (admitted and self.relay.admit.observed is None and bool(self.route.signature))

    def on_unreachable(self) -> None:
        self.dialing = False
        self.relay.refuse(Reason.UPSTREAM_UNREACHABLE)

    def on_takes(self) -> None:
        self.relay.upstream_takes(self.now)

    def on_answered(self) -> None:
        self.answer = self.rng.choice(ANSWERS)
        content = [CONTENT[:3]] if self.rng.random() < 0.5 else []
        self.told += content
        self.relay.answered(self.answer, content, ended=False, now=self.now)

    def on_more(self) -> None:
        if self.told != [CONTENT[:3]]:
            content = [CONTENT[:3]] if not self.told else []
            self.told += content
            self.relay.more(content, ended=False, now=self.now)
            return
        self.told.append(CONTENT[3:])
        self.answer_ended = True
        self.relay.more([CONTENT[3:]], ended=True, now=self.now)

    def on_relay(self) -> None:
        assert self.free or self.relay.request is RequestState.ADMITTED, "an answer before the verdict"
        self.relay.relay_kept(b"date", persists=self.rng.random() < 0.9)

    def on_failed(self) -> None:
        self.relay.failed(Reason.UPSTREAM_RESET, "eof")

    def on_late(self) -> None:
        if self.rng.random() < 0.05:
            self.relay.refuse(
                self.rng.choice(
                    (Reason.BODY_TIMEOUT, Reason.UPSTREAM_TIMEOUT, Reason.OVERLOADED, Reason.INTERNAL_ERROR)
                )
            )

    def on_gone(self) -> None:
        owns = self.route.duplicates is not None and self.relay.request is RequestState.ADMITTED
        self.relay.client_gone(Reason.SENDER_GONE, owns=owns)

    def on_illegal(self) -> None:
        relay = self.relay
        before = (relay.request, relay.answer, relay.wishes, relay.then)
        calls = {
            Event.CONTENT: relay.content_ended,
            Event.VERDICT: lambda: relay.judged("s1"),
            Event.CLAIM: relay.claimed,
            Event.CONNECTED: lambda: relay.connected(APP, "app", self.now),
            Event.TAKES: lambda: relay.upstream_takes(self.now),
            Event.ANSWER: lambda: relay.answered(ANSWERS[0], [], ended=True, now=self.now),
            Event.MORE: lambda: relay.more([], ended=True, now=self.now),
            Event.FAILED: lambda: relay.failed(Reason.UPSTREAM_RESET, ""),
            Event.RESOLVED: relay.resolved,
        }
        allowed = REQUEST_HEARS[relay.request] | ANSWER_HEARS[relay.answer]
        for event, call in calls.items():
            if event not in allowed:
                with pytest.raises(IllegalMoveError):
                    call()
                assert (relay.request, relay.answer, relay.wishes, relay.then) == before

    # -- the end

    def over(self) -> None:
        relay, record = self.relay, self.relay.record
        assert relay.then is not None
        assert relay.request is RequestState.CLOSED
        assert not relay.wishes
        assert not relay.to_upstream
        if relay.answer is AnswerState.OUTCOME:
            assert relay.then is Then.GONE
            assert self.complete
            relay.resolved()
        assert relay.answer is AnswerState.CLOSED
        assert record.bytes_in == relay.gate.received <= len(self.body)
        self._check_upstream()
        self._check_client()

    def _check_upstream(self) -> None:
        """As a server reads it: by its length, or by its last chunk."""
        sent = b"".join(self.upstream)
        assert self.goes_on or not sent
        if not sent:
            assert not self.complete
            return
        content = self._sent()
        chunked = b"\r\nTransfer-Encoding: chunked\r\n" in sent.partition(b"\r\n\r\n")[0] + b"\r\n"
        complete = sent.endswith(b"\r\n0\r\n\r\n") if chunked else len(content) == len(self.body)
        assert self.body.startswith(content)
        assert complete or not self.complete
        if complete:
            assert content == self.body
            assert self.given == len(self.body)
            assert self.proved or self.route.observe

    def _check_client(self) -> None:
        relay, record, told = self.relay, self.relay.record, b"".join(self.client)
        assert told.count(b"HTTP/1.1 ") <= 1
        if told:
            assert self.answer is not None
            assert told.startswith(b"HTTP/1.1 %d " % self.answer.status)
            assert self.proved or self.route.observe
        if record.reason is Reason.FILTERED:
            assert (relay.then, record.status, record.detail) == (Then.ANSWER, 200, "drawn")
            assert record.verdict == ("admitted" if record.observed is None else "observed")
            assert not self.goes_on
        if relay.then in (Then.GO_ON, Then.CLOSE):
            assert (record.reason, record.phase) == (Reason.DELIVERED, Phase.DONE)
            assert self.answer_ended
            assert record.bytes_out == len(CONTENT)
            assert relay.then is Then.CLOSE or relay.request_read
        elif relay.then is Then.ANSWER:
            assert not told, "two answers"
            assert record.status
        elif relay.then is Then.CUT:
            assert told
        assert (record.reason is Reason.DELIVERED) == (relay.then in (Then.GO_ON, Then.CLOSE))


def _chunks(data: bytes) -> Iterator[bytes]:
    while data:
        size, _, data = data.partition(b"\r\n")
        yield data[: int(size, 16)]
        data = data[int(size, 16) + 2 :]


def converse(rng: random.Random, steps: int) -> tuple[Counter[str], Counter[Reason], int]:
    """Draw exchanges until ``steps`` events have happened: how often each did, each end, and how many exchanges."""
    seen: Counter[str] = Counter()
    ends: Counter[Reason] = Counter()
    exchanges = 0
    while seen.total() < steps:
        one = Exchange(rng, seen)
        while one.relay.then is None:
            one.step()
        one.over()
        ends[one.relay.record.reason] += 1
        exchanges += 1
    return seen, ends, exchanges


def main() -> None:
    """Converse, and say what was seen."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    given = parser.parse_args()
    print(f"seed {given.seed}", file=sys.stderr)
    begun = time.monotonic()
    seen, ends, exchanges = converse(random.Random(given.seed), given.steps)
    print(f"{seen.total()} steps of {exchanges} exchanges in {time.monotonic() - begun:.0f} s")
    print("events:", ", ".join(f"{name} {count}" for name, count in seen.most_common()))
    print("ends:", ", ".join(f"{reason.word} {count}" for reason, count in ends.most_common()))


if __name__ == "__main__":
    main()
