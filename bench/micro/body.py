"""What a body costs on its way through the gate: ``python -m bench.micro.body`` prints medians in microseconds.

The window is 256 KiB as in the defaults; pieces are as large as a read of the loop. The MAC is HMAC-SHA256 with one
live secret, and with two, as while a secret is rotated; ``hmac.digest`` of the same bytes is the floor. Seconds to run;
compare runs on the same quiet machine only.
"""

import hashlib
import hmac

from bench.micro.timing import tell
from proxy.core.body import BodyGate
from proxy.core.policy import BodyMode
from proxy.core.signing.mac import MacVerification, keyed_hash

KEY = b"It's a Secret to Everybody"
WINDOW = 256 * 1024
SMALL, LARGE = b'{"a":12}' * 1024, bytes(1 << 20)
PIECES = [LARGE[at : at + 65536] for at in range(0, len(LARGE), 65536)]
LIVE = [("new", keyed_hash(KEY, "sha256")), ("old", keyed_hash(b"the one before", "sha256"))]


def proof(body, secrets=1):
    """A verification of the genuine signature of ``body``."""
    return MacVerification(LIVE[:secrets], [SIGNATURES[body]], b"", b"")


SIGNATURES = {body: hmac.digest(KEY, body, "sha256") for body in (SMALL, LARGE)}


def whole(secrets=1):
    gate = BodyGate(BodyMode.TAIL, WINDOW, proof(SMALL, secrets), None)
    gate.keep(SMALL)
    assert gate.finish() == "new"
    return gate.take()


def streamed(mode):
    gate = BodyGate(mode, WINDOW, None if mode is BodyMode.FREE else proof(LARGE), None)
    left = 0
    for piece in PIECES:
        left += sum(map(len, gate.feed(piece)))
    assert gate.finish() == (None if mode is BodyMode.FREE else "new")
    assert left + sum(map(len, gate.take())) == len(LARGE)


CASES = {
    "8 KiB in one piece": whole,
    "  with two live secrets": lambda: whole(2),
    "  its HMAC by hmac.digest": lambda: hmac.digest(KEY, SMALL, "sha256"),
    "1 MiB in 16 pieces, free": lambda: streamed(BodyMode.FREE),
    "1 MiB in 16 pieces, tail": lambda: streamed(BodyMode.TAIL),
    "  its SHA-256 alone": lambda: hashlib.sha256(LARGE).digest(),
}


if __name__ == "__main__":
    tell(CASES)
