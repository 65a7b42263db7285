r"""A whole conversation as bytes: what a sender and an upstream say, in which pieces, and how they leave.

The data is cut at ``\n~``; the letter behind it says who does what: ``s`` the sender says the rest of the piece, ``u``
the newest upstream says it, ``e`` and ``E`` the sender and the upstream end their side, ``r`` and ``R`` they reset,
``t`` ten seconds pass, ``w`` and ``W`` the sender takes no more, and takes everything. Both sides of the shell are
real, with all that lies between them; transports and time are staged.

Whatever is said: a complete request that an upstream has of a guarded route carries the right signature over exactly
its content; every exchange ends once; and everything that was borrowed is given back.
"""

from __future__ import annotations

import re

from tests.net.conversation import read_requests
from tests.net.dialogue import HIGH, End, World, signature

MARK = b"\n~"
MAX_MOVES = 24
SENDER = {b"s": "say", b"e": "finish", b"r": "vanish", b"w": "stop", b"W": "go on"}
UPSTREAM = {b"u": "say", b"E": "finish", b"R": "vanish"}
_SIGNATURE = re.compile(rb"\r\nX-Hub-Signature-256: ([^\r]*)", re.IGNORECASE)
_GUARDED = re.compile(rb"[A-Z]+ /(?:hook|hold)[/? ]")


def converse(data: bytes) -> None:
    """Play the conversation to its end."""
    world = World()
    sender = world.sender()
    heard: dict[int, bytes] = {}
    first, *pieces = data.split(MARK)[:MAX_MOVES]
    for move in [b"s" + first, *pieces]:
        kind, said = move[:1], move[1:]
        end = sender if kind in SENDER else world.upstreams[-1] if kind in UPSTREAM and world.upstreams else None
        if end is not None and not end.transport.closing:
            _act(end, SENDER.get(kind) or UPSTREAM[kind], said)
        elif kind == b"t":
            world.later(10.0)
        for transport in world.transports:
            assert transport.get_write_buffer_size() <= HIGH + 4 * 64 * 1024
        _listen(world, heard)
    sender.take(None)
    world.later(900.0)
    _listen(world, heard)
    for got in heard.values():
        _check_requests(got)
    ids = [record.request_id for record in world.records]
    assert len(ids) == len(set(ids))
    world.over(*world.reasons)


def _act(end: End, act: str, said: bytes) -> None:
    if act == "say":
        if said:
            end.say(said)
    elif act == "finish":
        end.finish()
    elif act == "vanish":
        end.vanish()
    else:
        end.take(0 if act == "stop" else None)


def _listen(world: World, heard: dict[int, bytes]) -> None:
    for number, end in enumerate(world.upstreams):
        heard[number] = heard.get(number, b"") + end.hear()


def _check_requests(got: bytes) -> None:
    for message in read_requests(got):
        assert message.head.count(b"\r\nContent-Length:") + message.head.count(b"\r\nTransfer-Encoding:") <= 1
        if message.complete and _GUARDED.match(message.head):
            [given] = _SIGNATURE.findall(message.head)
            assert given.strip() == signature(message.content)
