"""Mutated heads without number, read by us and by h11: needs no fuzzer, so it runs wherever ``make fuzz`` does.

    python -m fuzz.heads 1200000

Heads as senders and applications write them are spoilt in one to three places with what readers of HTTP disagree about.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

from fuzz.readers import request_head, response_head

#: What is put in, mostly in place of up to two bytes.
PIECES = (
    *(bytes([byte]) for byte in b"\r\n \t:\0\1\x0b\x0c\x7f\x80\xa0\xff_,;=/%\\\"'?#@+-.0aA\x85"),
    *(
        b"\r\n",
        b"\r\n ",
        b"\r\n\t",
        b"\n\n",
        b"\r\r\n",
        b"\r\n\r\n",
        b" : ",
        b"\t:",
        b"HTTP/1.0",
        b"HTTP/2.0",
        b"HTTP/1.1 ",
    ),
    *(b"Host: b\r\n", b"Content-Length: 5\r\n", b"Content-Length: 5, 5\r\n", b"Transfer-Encoding: chunked\r\n"),
    *(
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"transfer_encoding: chunked\r\n",
        b"Connection: close\r\n",
        b"+5",
        b"0x5",
    ),
    *(b"Expect: 100-continue\r\n", b"chunked", b"identity", b"http://a", b"%2f", b"/../", b"*", b"keep-alive, close"),
)
FIELDS = (
    *(
        b"Accept: */*",
        b"Content-Type: application/json",
        b"User-Agent: GitHub-Hookshot/044aadd",
        b"X-GitHub-Event: push",
    ),
    *(b"X-Hub-Signature-256: sha256=" + b"0a" * 32, b"Empty:", b"Via: 1.1 a", b"Accept-Encoding: gzip, br", b"X-A:b"),
    *(
        b"Content-Length: 5",
        b"Transfer-Encoding: chunked",
        b"Connection: keep-alive",
        b"Expect: 100-continue",
        b"Date: x",
    ),
)
METHODS = (b"POST", b"POST", b"GET", b"PUT", b"HEAD", b"OPTIONS")
TARGETS = (b"/", b"/hooks/github", b"/a/b?c=d&e", b"http://hooks.example.com/x", b"/%C3%A9", b"*", b"/a;b")
STATUSES = (b"200 OK", b"204 No Content", b"302 Found", b"404 ", b"500 Internal Server Error", b"100 Continue", b"200")


def mutated(draw: random.Random, first: bytes) -> bytes:
    """A head that begins with ``first``, spoilt."""
    lines = [first, b"Host: hooks.example.com", *draw.sample(FIELDS, draw.randrange(5))]
    data = b"\r\n".join(lines) + b"\r\n\r\n"
    for _ in range(draw.randrange(4)):
        at, cut = draw.randrange(len(data)), draw.choice((0, 0, 1, 1, 2))
        data = data[:at] + draw.choice(PIECES) + data[at + cut :]
    return data


def request(draw: random.Random) -> bytes:
    """A request's head."""
    return mutated(draw, b" ".join((draw.choice(METHODS), draw.choice(TARGETS), b"HTTP/1.1")))


def response(draw: random.Random) -> bytes:
    """An answer's head."""
    return mutated(draw, b"HTTP/1.1 " + draw.choice(STATUSES))


KINDS: tuple[tuple[Callable[[random.Random], bytes], Callable[[bytes], None]], ...] = (
    (request, request_head),
    (response, response_head),
)


def play(seed: int, count: int) -> list[tuple[bytes, str]]:
    """Read ``count`` heads; those over which somebody fell, ten at most, and how."""
    draw = random.Random(seed)  # noqa: S311 - drawn to be drawn again
    finds: list[tuple[bytes, str]] = []
    for number in range(count):
        make, read = KINDS[number % 4 == 3]
        data = make(draw)
        try:
            read(data)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a find
            finds.append((data, f"{type(error).__name__}: {error}"))
            if len(finds) == 10:
                break
    return finds


def main(count: int) -> int:
    """Read so many heads on all processors; 1 where something was found."""
    seed, share = random.SystemRandom().randrange(1 << 32), 20_000
    shares = [min(share, count - at) for at in range(0, count, share)]
    with ProcessPoolExecutor() as pool:
        finds = [find for some in pool.map(play, range(seed, seed + len(shares)), shares) for find in some]
    print(f"{count} mutated heads: {len(finds)} were not read alike")
    for data, what in finds[:10]:
        print(f"\n{data!r}\n{what}")
    return int(bool(finds))


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
