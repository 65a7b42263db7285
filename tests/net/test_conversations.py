"""Any conversation at all: random requests, cuts, answers, pauses, ends and resets on both sides, in all three modes.

Whatever happens:

* the upstream never has a complete request that was not admitted, and none of them twice;
* of what fits the window, or is held, it has not a byte before the verdict;
* every answer that the sender has is the one to its request, whole or visibly broken;
* every exchange ends once, and everything that was borrowed is given back.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from hypothesis import event, given
from hypothesis import strategies as st

from proxy.core.duplicates import DuplicateRule
from proxy.core.policy import BodyMode
from proxy.http1 import CONTINUE
from tests.examples import examples
from tests.net.dialogue import HIGH, End, World, request, route, signed

WINDOW = 4096
ROUTES = (
    route(b"/hook", hold_window=WINDOW),
    route(b"/hold", BodyMode.HOLD, hold_window=WINDOW),
    route(b"/free", BodyMode.FREE, signed=False, hold_window=WINDOW),
    route(b"/watch", observe=True, hold_window=WINDOW),
    route(b"/once", hold_window=WINDOW, duplicates=DuplicateRule(True, 3600.0, patience_s=9.0, hold_s=92.0)),
)
CANNED = b"no\n"
TO_THE_END = b"the application says when"


@dataclass(frozen=True)
class Asked:
    """One request of the sender."""

    data: bytes
    path: bytes
    body: bytes
    admitted: bool
    minor: int = 1

    @property
    def may_begin(self) -> bool:
        """Whether the upstream may see its beginning."""
        return self.admitted or self.path == b"/free" or (self.path != b"/hold" and len(self.body) > WINDOW)


SIZES = st.sampled_from([0, 1, 2, 1000, WINDOW, WINDOW + 1, WINDOW + 16384, 30_000, 70_000, 150_000])
KINDS = ["good", "good", "good", "forged", "unsigned", "nowhere", "framing", "cut chunk"]


@st.composite
def asked(draw: st.DrawFn, number: int) -> Asked:
    path = draw(st.sampled_from([b"/hook", b"/once", b"/hold", b"/free", b"/watch"]))
    kind = draw(st.sampled_from(KINDS))
    body = (b"%d." % number * (draw(SIZES) // 2 + 1))[: draw(SIZES)]
    chunked = draw(st.booleans())
    minor = 1 if chunked else draw(st.sampled_from([1, 1, 1, 0]))
    extra = draw(st.sampled_from([b"", b"", b"Expect: 100-continue\r\n", b"Connection: close\r\n"]))
    extra += b"X-Number: %d\r\n" % number
    more = {"path": path, "extra": extra, "minor": minor, "chunked": chunked}
    unproved = path in {b"/free", b"/watch"}
    if kind == "good":
        return Asked(signed(body, **more), path, body, admitted=True, minor=minor)
    if kind == "forged":
        return Asked(request(body, sign=body + b"!", **more), path, body, unproved, minor)
    if kind == "unsigned":
        return Asked(request(body, **more), path, body, unproved, minor)
    if kind == "nowhere":
        return Asked(signed(body, **(more | {"path": b"/nowhere"})), b"/nowhere", body, admitted=False, minor=minor)
    if kind == "cut chunk":
        whole = signed(body, **(more | {"chunked": True, "minor": 1}))
        return Asked(whole[:-3] + b"X" + whole[-3:], path, body, admitted=False)
    return Asked(b"POST /hook HTTP/1.1\r\nHost : h\r\n\r\n", b"/hook", b"", admitted=False)


@dataclass
class Message:
    head: bytes
    content: bytes
    complete: bool


def read_messages(data: bytes, *, head_only: bool = False) -> list[Message]:
    """Requests or answers, as strictly as they are written."""
    found = []
    while data:
        head, blank, rest = data.partition(b"\r\n\r\n")
        if not blank:
            found.append(Message(head, b"", complete=False))
            break
        length = re.search(rb"\r\nContent-Length: (\d+)", head)
        if b"\r\nTransfer-Encoding: chunked" in head:
            content, complete = b"", False
            while not complete:
                size, line, rest_of = rest.partition(b"\r\n")
                if not line or len(rest_of) < int(size, 16) + 2:
                    content += rest_of[: int(size, 16)] if line else b""
                    rest = b""
                    break
                content += rest_of[: int(size, 16)]
                rest = rest_of[int(size, 16) + 2 :]
                complete = int(size, 16) == 0
            found.append(Message(head, content, complete))
            data = rest
            continue
        if length is None and head.startswith(b"HTTP/") and not head.startswith((b"HTTP/1.1 1", b"HTTP/1.1 204")):
            found.append(Message(head, rest, complete=False))  # ends with the connection
            break
        size_in_all = int(length[1]) if length else 0
        found.append(Message(head, rest[:size_in_all], len(rest) >= size_in_all))
        data = rest[size_in_all:]
    return found


@dataclass
class App:
    """The upstream's side of one connection."""

    end: End
    got: bytes = b""
    answered: int = 0
    rest: bytes = b""  # of an answer that was begun

    def listen(self) -> list[Message]:
        self.got += self.end.hear()
        return read_messages(self.got)


@dataclass
class Play:
    """A conversation and what is known of it."""

    world: World
    sender: End
    heard: bytes = b""
    apps: dict[int, App] = field(default_factory=dict)
    sender_ended: bool = False

    def app(self, index: int) -> App:
        return self.apps.setdefault(index, App(self.world.upstreams[index]))

    def check_bounds(self) -> None:
        for transport in self.world.transports:
            assert transport.get_write_buffer_size() <= HIGH + 4 * 64 * 1024
        assert len(self.sender.protocol._buffer) <= 128 * 1024


ANSWERS = [
    b"HTTP/1.1 200 OK\r\nX-Number: %d\r\nContent-Length: 3\r\n\r\nno\n",
    b"HTTP/1.1 200 OK\r\nX-Number: %d\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nno\n\r\n0\r\n\r\n",
    CONTINUE + b"HTTP/1.1 500 Oops\r\nX-Number: %d\r\nContent-Length: 3\r\n\r\nno\n",
    b"HTTP/1.1 200 OK\r\nX-Number: %d\r\nConnection: close\r\nContent-Length: 3\r\n\r\nno\n",
    b"HTTP/1.1 204 No Content\r\nX-Number: %d\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX-Number: %d\r\nContent-Length: 200000\r\n\r\n" + CANNED * 66666 + b"n\n",
    b"HTTP/1.1 200 OK\r\nX-Number: %d\r\nContent-Length: 3\r\n\r\nno\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
    b"HTTP/1.1 200 OK\r\nX-Number: %d\r\n\r\n" + TO_THE_END,
    b"HTTP/1.1 200 OK\r\nX-Number: %d\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"garbage %d",
]


MOVES = ["answer"] * 8 + ["early", "early", "go", "end", "slow", "fast", "fast"]


def act_upstream(data: st.DataObject, play: Play) -> None:
    """One move of one of the applications."""
    if not play.world.upstreams:
        return
    app = play.app(data.draw(st.integers(0, len(play.world.upstreams) - 1), "which upstream"))
    messages = app.listen()
    move = data.draw(st.sampled_from(MOVES), "upstream")
    if app.end.transport.closing:
        return
    if move == "go":
        app.end.vanish()
    elif move == "end":
        app.end.finish()
    elif move in {"slow", "fast"}:
        app.end.take(0 if move == "slow" else None)
    elif app.rest:
        cut = data.draw(st.integers(1, len(app.rest)), "more of an answer")
        said, app.rest = app.rest[:cut], app.rest[cut:]
        app.end >> said
    elif len(messages) > app.answered and (messages[app.answered].complete or move == "early"):
        number = re.search(rb"\r\nX-Number: (\d+)", messages[app.answered].head)
        if number is None:
            return
        app.answered += 1
        answer = data.draw(st.sampled_from(ANSWERS), "answer") % int(number[1])
        cut = data.draw(st.one_of(st.just(len(answer)), st.integers(1, len(answer))), "cut")
        app.rest = answer[cut:]
        app.end >> answer[:cut]


def act_world(data: st.DataObject, play: Play) -> None:
    world = play.world
    move = data.draw(st.sampled_from(["tick", "wait", "connect", "refuse", "slow", "some", "fast", "drain"]), "world")
    if move == "tick":
        world.later(0.5)
    elif move == "wait":
        world.later(data.draw(st.sampled_from([3.0, 20.0, 45.0]), "seconds"))
    elif move == "connect" and world.pool.waiting:
        world.pool.connect()
    elif move == "refuse" and world.pool.waiting:
        world.pool.refuse()
    elif move in {"slow", "some", "fast"}:
        play.sender.take({"slow": 0, "some": 1000, "fast": None}[move])
    elif move == "drain" and data.draw(st.integers(0, 7), "really") == 3:
        world.site.start_drain()
    world.settle()


def act_sender(data: st.DataObject, play: Play, rest: bytes) -> bytes:
    move = data.draw(st.sampled_from(["say", "say", "say", "say", "go", "end"]), "sender")
    really = data.draw(st.integers(0, 15), "really") == 7
    if play.sender.transport.closing or play.sender_ended:
        return rest
    if move == "go" and really:
        play.sender_ended = True
        play.sender.vanish()
    elif move == "end" and really:
        play.sender_ended = True
        play.sender.finish()
    elif rest:
        size = data.draw(st.sampled_from([1, 20, 300, 5000, 65_536, len(rest)]), "size")
        play.sender >> rest[:size]
        return rest[size:]
    return rest


def come_to_an_end(play: Play, rest: bytes) -> None:
    """Everybody says what is left to say; then time does the rest."""
    world = play.world
    play.sender.take(None)
    for _ in range(6):
        while world.pool.waiting:
            world.pool.connect()
            world.settle()
        for index in range(len(world.upstreams)):
            app = play.app(index)
            app.end.take(None)
            messages = app.listen()
            if not app.rest and len(messages) > app.answered and messages[app.answered].complete:
                number = re.search(rb"\r\nX-Number: (\d+)", messages[app.answered].head)
                assert number is not None
                app.answered += 1
                app.rest = ANSWERS[0] % int(number[1])
            if app.rest and not app.end.transport.closing:
                app.end >> app.rest
                app.rest = b""
        if rest and not play.sender.transport.closing and not play.sender_ended:
            play.sender >> rest
        rest = b""
    world.later(900.0)
    assert play.sender.transport.lost
    while world.pool.waiting:
        world.pool.refuse()


@examples(80)
@given(st.data())
def test_any_conversation(data: st.DataObject) -> None:
    requests = [data.draw(asked(number), "request") for number in range(data.draw(st.integers(1, 4), "requests"))]
    budget = data.draw(st.sampled_from([16 << 20, WINDOW, 3 * WINDOW]), "budget")
    world = World(*ROUTES, buffer_budget=budget)
    try:
        converse(data, world, requests)
    finally:
        world.abandon()  # hypothesis may end an example in the middle


def converse(data: st.DataObject, world: World, requests: list[Asked]) -> None:
    world.pool.connects = data.draw(st.booleans(), "dials succeed at once")
    rivals = [world.sender() for _ in range(2)] if world.site.budget.limit < 16 << 20 else []
    for rival in rivals:  # they hold some of the budget, or wait for it, and go at some time
        rival >> signed(b"r" * WINDOW)[:-1]
    play = Play(world, world.sender())
    rest = b"".join(one.data for one in requests)
    for _ in range(data.draw(st.integers(10, 60), "moves")):
        who = data.draw(st.sampled_from(["sender"] * 3 + ["upstream"] * 3 + ["world"]), "who")
        if who == "sender":
            rest = act_sender(data, play, rest)
        elif who == "upstream":
            act_upstream(data, play)
        else:
            act_world(data, play)
        play.check_bounds()
    for rival in rivals:
        rival.vanish()
    come_to_an_end(play, rest)
    check_upstreams(play, requests)
    check_sender(play, requests)
    ids = [record.request_id for record in world.records]
    assert len(ids) == len(set(ids))
    for reason in set(world.reasons):
        event(reason.word)
    world.over(*world.reasons)


def check_upstreams(play: Play, requests: list[Asked]) -> None:
    complete: list[int] = []
    for index in range(len(play.world.upstreams)):
        app = play.app(index)
        messages = app.listen()
        for message in messages:
            number = re.search(rb"\r\nX-Number: (\d+)", message.head)
            assert number is not None, message.head
            one = requests[int(number[1])]
            assert one.may_begin
            assert one.body.startswith(message.content)
            if message.complete:
                assert one.admitted
                assert one.body == message.content
                complete.append(int(number[1]))
        if messages and not messages[-1].complete:
            assert app.end.transport.end in {"reset", None}  # never a tidy end of half a request
    assert len(complete) == len(set(complete)), "nothing is sent twice"


def check_sender(play: Play, requests: list[Asked]) -> None:
    heard = play.sender.hear()
    answers = [one for one in read_messages(heard) if not one.head.startswith(b"HTTP/1.1 100")]
    assert len(answers) <= len(requests) + 1  # the last may be about what came after them
    for position, answer in enumerate(answers):
        last = position == len(answers) - 1
        number = re.search(rb"\r\nX-Number: (\d+)", answer.head)
        if number is None:
            assert b"Content-Type: text/plain" in answer.head or not answer.head.endswith(b"\r\n")
            assert b"X-Number" not in answer.head
        else:
            assert int(number[1]) == position
            # Where nothing is to be proved, an early answer may come before the framing breaks.
            assert requests[position].admitted or requests[position].path == b"/free"
        if not answer.complete:
            assert last
            by_eof = b"Content-Length" not in answer.head and b"chunked" not in answer.head
            if by_eof and play.sender.transport.end == "fin":
                # Content that ends with the connection, ended tidily: then it is all there was.
                assert requests[position].minor == 0
                assert answer.content == CANNED or TO_THE_END.startswith(answer.content)
